"""Keeps sockets out of processes that user code forks.

A forked process inherits every descriptor. It would keep the connection to a gateway or to a parent
open after this process has ended, so that the peer waits instead of noticing the end.
"""

import contextlib
import os
import weakref
from typing import Any, Final

_sockets: Final[weakref.WeakKeyDictionary[object, Any]] = weakref.WeakKeyDictionary()


def keep_from_forks(owner: object, connection: Any) -> None:
    """A process that is forked while ``owner`` exists does not have its socket."""
    _sockets[owner] = connection


def _release() -> None:
    """In the forked process, before any other code of it runs."""
    # Not close(): the objects still hold the numbers, and would close whatever gets them next.
    # Closing would also reach the parent's event loop, whose epoll both processes share.
    null = os.open(os.devnull, os.O_RDWR)
    for connection in tuple(_sockets.values()):
        number = connection.fileno()
        if number >= 0:
            with contextlib.suppress(OSError):
                os.dup2(null, number, inheritable=False)
    os.close(null)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release)
