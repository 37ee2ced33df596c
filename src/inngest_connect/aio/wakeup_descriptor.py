"""The descriptor to which the interpreter writes each signal, also while native code runs."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable


class WakeupDescriptor:
    """One for the process, and the thread that reads it.

    Every byte is passed on to the descriptor that was there before, usually that of an asyncio or
    uvloop event loop, which would otherwise not notice its own signals.
    """

    def __init__(self, receive: Callable[[int], None]) -> None:
        """On the main thread only. Raises RuntimeError when there can be no thread."""
        self._receive = receive
        self._reading, self._writing = socket.socketpair()
        self._writing.setblocking(False)
        self.descriptor = self._writing.fileno()
        thread = threading.Thread(target=self._read, name="inngest-connect-signals", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._reading.close()
            self._writing.close()
            raise
        self._before = signal.set_wakeup_fd(self.descriptor, warn_on_full_buffer=False)
        self._before_is = _identity(self._before)

    def _read(self) -> None:
        with self._reading:
            while data := self._reading.recv(64):
                self._pass_on(data)
                for number in data:
                    self._receive(number)

    def _pass_on(self, data: bytes) -> None:
        # The number may belong to another file by now: its loop was closed without putting back.
        if self._before >= 0 and _identity(self._before) == self._before_is:
            with contextlib.suppress(OSError):
                os.write(self._before, data)

    def close(self) -> None:
        """On the main thread only."""
        current = signal.set_wakeup_fd(-1)
        mine = current == self.descriptor
        back = self._before if mine else current
        if back >= 0 and not (mine and _identity(back) != self._before_is):
            with contextlib.suppress(ValueError, OSError):
                signal.set_wakeup_fd(back, warn_on_full_buffer=False)
        self._writing.close()  # which ends the thread

    def forget(self) -> None:
        """In a forked child: the socket pair would report its signals to the parent."""
        current = signal.set_wakeup_fd(-1)
        if current not in (self.descriptor, self._before):
            signal.set_wakeup_fd(current, warn_on_full_buffer=False)
        self._writing.close()
        self._reading.close()


def _identity(descriptor: int) -> tuple[int, int] | None:
    """Which open file the number stands for; None for none."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino
