"""Name resolution that nothing has to wait for.

``socket.getaddrinfo`` blocks, cannot be cancelled, and has no time limit. asyncio runs it on a pool
whose threads are joined when the loop is closed and when the interpreter exits, so a resolver that
hangs would hold back the end of the worker. Here each lookup has a daemon thread that nothing
joins. If it never returns, it costs one thread until the process ends, and nothing else.
"""

import asyncio
import concurrent.futures
import os
import socket
import threading
import time
from typing import Any, Final

_SHARED_FOR: Final = 5.0
"""Seconds in which the same question waits for the same lookup. A later question starts another
one, because the first may never end although the name server is back."""

_MOST_LOOKUPS: Final = 4
"""Threads for one question. A resolver that never answers would get one more for each attempt."""

# Lookups whose thread has not ended, oldest first, each with its question and when it began. Used
# by the I/O threads of all workers and by the lookup threads, without a lock, which a fork could
# copy while it is held: each access is one operation of a dict. Two threads that ask at the same
# time may both start a lookup, which is harmless.
_running: dict["concurrent.futures.Future[list[Any]]", tuple[tuple[str, int], float]] = {}


async def getaddrinfo(host: str, port: int) -> list[Any]:
    """The addresses of ``host`` for TCP, in the form of ``socket.getaddrinfo``. Raises OSError."""
    question, now = (host, port), time.monotonic()
    same = [(lookup, at) for lookup, (asked, at) in tuple(_running.items()) if asked == question]
    if same and (now - same[-1][1] <= _SHARED_FOR or len(same) >= _MOST_LOOKUPS):
        return await asyncio.wrap_future(same[-1][0])
    lookup: concurrent.futures.Future[list[Any]] = concurrent.futures.Future()
    # A running future cannot be cancelled, and wrap_future() passes a cancellation on. So a caller
    # that gives up leaves the lookup to the others that wait for it.
    lookup.set_running_or_notify_cancel()
    _running[lookup] = question, now
    try:
        threading.Thread(
            target=_look_up, args=(question, lookup), name="inngest-connect-resolver", daemon=True
        ).start()
    except RuntimeError as error:  # the process may not have another thread
        _running.pop(lookup, None)
        raise OSError(f"the name could not be resolved: {error}") from error
    return await asyncio.wrap_future(lookup)


def _look_up(question: tuple[str, int], lookup: "concurrent.futures.Future[list[Any]]") -> None:
    # Removed before the result is set, so that a question after the answer starts another lookup.
    # The event loop of a caller that gave up may be closed; wrap_future() allows for that.
    try:
        answer = socket.getaddrinfo(*question, type=socket.SOCK_STREAM)
    except BaseException as error:  # noqa: BLE001 - libraries replace getaddrinfo, and may exit
        _running.pop(lookup, None)
        text = f"the name could not be resolved: {type(error).__name__}: {error}"
        lookup.set_exception(error if isinstance(error, OSError) else OSError(text))
    else:
        _running.pop(lookup, None)
        lookup.set_result(answer)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_running.clear)  # the threads are the parent's
