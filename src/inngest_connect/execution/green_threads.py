"""Recognizes a process whose threads were replaced by gevent or eventlet.

A thread is then a greenlet of the thread that created it. A connection "on its own thread" would
share that thread with the functions, and its event loop would wait in a patched ``select``.
"""

import _thread
import select
import socket
from typing import Final

from ..errors import ConfigurationError

_PRIMITIVES: Final = ((_thread, "start_new_thread"), (select, "select"), (socket, "socket"))
"""What monkey patching replaces; gevent can leave some of it out."""
_WITHOUT_SIGNALS: Final = ("eventlet",)
"""Libraries with which ``threading`` does not recognize the main thread any more, so no handler for
SIGTERM can be installed, and work in flight would be lost."""


def check_threads(isolation: str) -> None:
    """Raises ConfigurationError, naming the library, for one that ``isolation`` does not suit."""
    library = None
    for module, name in _PRIMITIVES:
        home = str(getattr(getattr(module, name), "__module__", ""))
        if (package := home.partition(".")[0]) in ("gevent", "eventlet"):
            library = package
            break
    if library in _WITHOUT_SIGNALS:
        raise ConfigurationError(
            f"{library} has replaced the threads and the signals of this process, where no worker "
            f"can shut down without losing work, with isolation={isolation!r} or another: run the "
            "worker in a separate process, without monkey patching"
        )
    if library is not None and isolation == "thread":
        raise ConfigurationError(
            f"{library} has replaced the threads of this process, so a connection cannot run on "
            'its own thread: pass isolation="none", set INNGEST_CONNECT_ISOLATE_EXECUTION=0, or '
            "run the worker in a process without monkey patching"
        )
