"""Keeps sockets out of processes that user code forks.

A forked process inherits every descriptor. It would keep the connection to a gateway or to a parent
open after this process has ended, so that the peer waits instead of noticing the end.
"""

import contextlib
import os
import weakref
from collections.abc import Iterable
from typing import Any, Final

_sockets: Final[weakref.WeakKeyDictionary[object, Any]] = weakref.WeakKeyDictionary()


def keep_from_forks(owner: object, connection: Any) -> None:
    """A process that is forked while ``owner`` exists does not have its socket."""
    _sockets[owner] = connection


def point_at_null(numbers: Iterable[int]) -> None:
    """In a forked process: leave these descriptors to the parent.

    Each is pointed at the null device, not closed: the objects that hold the numbers close them
    later, when they must not be those of another file. Nothing is shut down or unregistered either:
    the parent shares the sockets, and the set of its event loop's selector.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for number in numbers:
        if number >= 0:
            with contextlib.suppress(OSError):
                os.dup2(null, number, inheritable=False)
    os.close(null)


if hasattr(os, "register_at_fork"):
    # Called in the forked process before any other code of it, on the thread that forked; there is
    # no other thread.
    os.register_at_fork(
        after_in_child=lambda: point_at_null(each.fileno() for each in tuple(_sockets.values()))
    )
