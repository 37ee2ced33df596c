"""Name resolution that nothing has to wait for.

``getaddrinfo`` blocks, cannot be cancelled, and takes as long as the resolver likes. asyncio runs
it on a pool whose threads are joined when the loop is closed and when the interpreter exits, so a
resolver that hangs would hold back the end of the worker. Here each lookup has a daemon thread that
nothing joins.
"""

import asyncio
import concurrent.futures
import os
import socket
import threading
import time
from collections import defaultdict
from typing import Any, Final

_SHARED_FOR: Final = 5.0
"""Seconds in which the same question waits for the same lookup: retries while a resolver hangs must
not make threads pile up. A later question asks again, because that lookup may never end."""

_MOST_LOOKUPS: Final = 4
"""Threads for one question. A resolver that never answers would get another for each attempt."""

_Lookup = tuple[float, "concurrent.futures.Future[list[Any]]"]
_lookups: dict[tuple[Any, ...], _Lookup] = {}
# Without a lock, which a fork could copy while it is held. A race costs one lookup more.
_running: defaultdict[tuple[Any, ...], set[object]] = defaultdict(set)


async def getaddrinfo(
    host: Any,
    port: Any,
    *,
    family: int = 0,
    type: int = 0,  # noqa: A002 - the name that callers use
    proto: int = 0,
    flags: int = 0,
) -> list[Any]:
    """Like ``loop.getaddrinfo``. Raises OSError."""
    question = (host, port, family, type, proto, flags)
    begun, lookup = _lookups.get(question, (0.0, None))
    is_old = time.monotonic() - begun > _SHARED_FOR and len(_running[question]) < _MOST_LOOKUPS
    if lookup is None or is_old:
        lookup = _start(question)
    return await asyncio.wrap_future(lookup)


def _start(question: tuple[Any, ...]) -> "concurrent.futures.Future[list[Any]]":
    lookup: concurrent.futures.Future[list[Any]] = concurrent.futures.Future()
    # A running future cannot be cancelled: a caller that gives up leaves it to others.
    lookup.set_running_or_notify_cancel()
    _lookups[question] = (time.monotonic(), lookup)
    _running[question].add(lookup)
    try:
        threading.Thread(
            target=_look_up, args=(question, lookup), name="inngest-connect-resolver", daemon=True
        ).start()
    except RuntimeError as error:  # the process may not have another thread
        _ended(question, lookup)
        raise OSError(f"the name could not be resolved: {error}") from error
    return lookup


def _look_up(question: tuple[Any, ...], lookup: "concurrent.futures.Future[list[Any]]") -> None:
    try:
        answer = socket.getaddrinfo(*question)
    except OSError as error:
        outcome: BaseException | None = error
    except BaseException as error:  # noqa: BLE001 - libraries replace getaddrinfo; see the caller
        outcome = OSError(f"the name could not be resolved: {type(error).__name__}: {error}")
    else:
        outcome = None
    _ended(question, lookup)
    if outcome is None:
        lookup.set_result(answer)
    else:
        lookup.set_exception(outcome)


def _ended(question: tuple[Any, ...], lookup: object) -> None:
    _running[question].discard(lookup)
    if _lookups.get(question, (0.0, None))[1] is lookup:
        _lookups.pop(question, None)


def _forget() -> None:
    """In a forked process, which has none of the threads."""
    _lookups.clear()
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
