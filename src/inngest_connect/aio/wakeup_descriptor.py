"""WakeupDescriptor: sees signals also while native code keeps the main thread busy.

A Python signal handler runs on the main thread, between two instructions of Python. The interpreter
also writes each signal as one byte to a descriptor, in the C handler, immediately. A thread that
reads from it sees the signal however long the main thread is in native code that has released the
interpreter lock.

There is one such descriptor for the process, and asyncio and uvloop use it for their own signals.
So every byte is passed on to the descriptor that was there before.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable


class WakeupDescriptor:
    """``receive`` is called with each signal, on a daemon thread that does nothing else."""

    def __init__(self, receive: Callable[[int], None]) -> None:
        """On the main thread only. Raises RuntimeError when the process cannot start a thread."""
        self._receive = receive
        self._closed = False
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
                # The number belongs to another file if its event loop was closed without putting
                # back what was there before it.
                if self._before >= 0 and _identity(self._before) == self._before_is:
                    with contextlib.suppress(OSError):
                        os.write(self._before, data)
                for number in data:
                    # A worker that has begun since the close must not take a signal before it for
                    # its own: this thread can be late.
                    if not self._closed:
                        self._receive(number)

    def close(self) -> None:
        """Put back the descriptor that was there before, unless other code has replaced this one.

        On the main thread only.
        """
        self._closed = True
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
    """Which open file the number refers to; None if it refers to none."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino
