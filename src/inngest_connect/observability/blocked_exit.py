"""``release``: let the interpreter exit although threads of this package block in a log handler.

A thread that is blocked in ``write`` holds the lock of its handler, for which ``logging.shutdown``
waits at exit, and the lock of the stream, without which the interpreter aborts when it flushes the
standard streams. Called last, when nothing else of the program runs.
"""

import contextlib
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

_STANDARD: Final = (1, 2)
_SECONDS: Final = 0.5


def release(threads: Sequence[threading.Thread]) -> None:
    """On the main thread. Takes half a second at most."""
    blocked = [descriptor for descriptor in _STANDARD if _is_blocked(descriptor)]
    for descriptor in blocked:
        with contextlib.suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)
    if blocked:
        _interrupt(threads)
    handlers: Any = getattr(logging, "_handlerList", [])  # what logging.shutdown goes through
    for reference in list(handlers):
        handler = reference()
        lock = handler.lock if handler is not None else None
        if lock is None:
            continue
        if lock.acquire(blocking=False):
            lock.release()
            continue
        # Its thread never returns it. Flushing would wait for the stream that is blocked.
        handler.createLock()
        handler.flush = handler.close = lambda: None


def _is_blocked(descriptor: int) -> bool:
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        return not poll.poll(0)
    except (AttributeError, OSError, ValueError):  # no poll on Windows; a closed descriptor
        return False


def _interrupt(threads: Sequence[threading.Thread]) -> None:
    """A signal interrupts their ``write``, which Python repeats: now to the null device."""
    try:
        previous = signal.signal(signal.SIGURG, lambda *_: None)
    except (AttributeError, ValueError):  # Windows; not the main thread
        return
    deadline = time.monotonic() + _SECONDS
    for thread in threads:
        while thread.is_alive() and time.monotonic() < deadline:
            if thread.ident is not None:
                signal.pthread_kill(thread.ident, signal.SIGURG)
            thread.join(0.02)
    signal.signal(signal.SIGURG, previous or signal.SIG_DFL)
