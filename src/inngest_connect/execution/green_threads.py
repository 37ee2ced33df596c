"""Recognizes a process whose threads were replaced by gevent, eventlet or the like.

A thread is then a greenlet of the thread that created it. A connection "on a thread of its own"
would share that thread with the functions, and its event loop would wait in a patched ``select``.
"""

import _thread
import select
import socket
from typing import Any, Final

from ..errors import ConfigurationError

_WITHOUT_SIGNALS: Final = ("eventlet",)
"""Where ``threading`` does not recognize the main thread any more, so that no handler for SIGTERM
can be installed and work in flight would be lost."""


def check_threads(isolation: str) -> None:
    """Raises ConfigurationError, naming the library, for one that ``isolation`` does not suit."""
    library = _patched_by()
    if library in _WITHOUT_SIGNALS:
        raise ConfigurationError(
            f"{library} has replaced the threads and the signals of this process, where no worker "
            f"can shut down without losing work, with isolation={isolation!r} or another: run the "
            "worker in a process of its own, without monkey patching"
        )
    if library is not None and isolation == "thread":
        raise ConfigurationError(
            f"{library} has replaced the threads of this process, so a connection cannot run on a "
            'thread of its own: pass isolation="none", set INNGEST_CONNECT_ISOLATE_EXECUTION=0, or '
            "run the worker in a process without monkey patching"
        )


def _patched_by() -> str | None:
    """The package that replaced a primitive of the standard library; gevent can leave out some."""
    primitives: tuple[Any, ...] = (_thread.start_new_thread, select.select, socket.socket)
    for primitive, home in zip(primitives, ("_thread", "select", "socket"), strict=True):
        package = str(getattr(primitive, "__module__", home)).partition(".")[0]
        if package in ("gevent", "eventlet"):
            return package
    return None
