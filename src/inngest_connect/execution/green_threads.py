"""Recognizes a process whose threads were replaced by gevent or eventlet.

A thread is then a greenlet of the thread that created it. A connection "on its own thread" would
share that thread with the functions, and its event loop would wait in a patched ``select``.
"""

import _thread
import select
import socket
from types import ModuleType
from typing import Final

from ..errors import ConfigurationError

_PRIMITIVES: Final = ((_thread, "start_new_thread"), (select, "select"), (socket, "socket"))
"""What monkey patching replaces; gevent can leave some of it out."""
_WITHOUT_SIGNALS: Final = ("eventlet",)
"""Libraries with which ``threading`` does not recognize the main thread any more, so no handler for
SIGTERM can be installed, and work in flight would be lost."""


def _library(module: ModuleType, name: str) -> str | None:
    """Which of the libraries has replaced this function, if one has."""
    package = str(getattr(getattr(module, name), "__module__", "")).partition(".")[0]
    return package if package in ("gevent", "eventlet") else None


_at_import: Final = _library(_thread, "start_new_thread")


def check_threads(isolation: str) -> None:
    """Raises ConfigurationError, naming the library, for one that ``isolation`` does not suit.

    Called when a worker is created and again when it starts: the program may patch in between.
    """
    threads = _library(_thread, "start_new_thread")
    library = threads or next(filter(None, (_library(*each) for each in _PRIMITIVES)), None)
    if library is None:
        return
    if library in _WITHOUT_SIGNALS:
        raise ConfigurationError(
            f"{library} has replaced the threads and the signals of this process, where no worker "
            f"can shut down without losing work, with isolation={isolation!r} or another: run the "
            "worker in a separate process, without monkey patching"
        )
    if isolation == "thread":
        raise ConfigurationError(
            f"{library} has replaced the threads of this process, so a connection cannot run on "
            'its own thread: pass isolation="none", set INNGEST_CONNECT_ISOLATE_EXECUTION=0, or '
            "run the worker in a process without monkey patching"
        )
    if threads is not None and _at_import is None:
        raise ConfigurationError(
            f"{library} has replaced the threads of this process after inngest_connect was "
            "imported, whose locks are those of real threads: patch first, before any other import"
        )
    if threads is not None and _library(select, "select") is None:
        raise ConfigurationError(
            f"{library} has replaced the threads of this process and not select, in which the "
            "event loop waits: none of these threads would run meanwhile. Patch both, as "
            "patch_all() does, or neither"
        )
