"""Wait for a future that another thread completes."""

import asyncio
import concurrent.futures
from typing import Any, Final

from ..errors import LocalMistake

_LOOK_SECONDS: Final = 1.0


async def until_done(future: "concurrent.futures.Future[Any]") -> None:
    """Wait without raising, and without cancelling ``future`` when the waiter is cancelled."""
    # ``wrap_future`` passes a cancellation on, hence a second future that only follows the first.
    follower: concurrent.futures.Future[None] = concurrent.futures.Future()

    def end(_: "concurrent.futures.Future[Any]") -> None:
        if follower.set_running_or_notify_cancel():
            follower.set_result(None)

    future.add_done_callback(end)
    await asyncio.wait([asyncio.wrap_future(follower)])


async def until_ended(
    future: "concurrent.futures.Future[Any]", loop: asyncio.AbstractEventLoop | None
) -> None:
    """``until_done``, for a future that is done only if ``loop`` runs.

    Raises LocalMistake when ``loop`` is another one than the caller's, and stands still.
    """
    if loop is None or loop is asyncio.get_running_loop():
        await until_done(future)
        return
    waiting = asyncio.ensure_future(until_done(future))
    stood_still = False
    try:
        while not future.done():
            await asyncio.wait([waiting], timeout=_LOOK_SECONDS)
            stood_still = _stands_still(future, loop, stood_still)
    finally:
        waiting.cancel()


def block_until_ended(
    future: "concurrent.futures.Future[Any]",
    loop: asyncio.AbstractEventLoop | None,
    timeout: float | None,
) -> bool:
    """Block this thread, for ``timeout`` seconds at most; returns whether ``future`` is done.

    Raises LocalMistake when ``loop``, without which it is never done, stands still, or stands still
    because of this call.
    """
    if timeout == 0 or future.done():
        return future.done()
    if loop is not None and asyncio._get_running_loop() is loop:
        raise LocalMistake(
            "close_sync() waits for the end of the worker, on the thread of the event loop that "
            "has to run until then. There use await close(wait=True), or close_sync(0), which "
            "does not wait, in a signal handler for example"
        )
    stood_still = False
    left = timeout
    while not future.done() and (left is None or left > 0):
        step = _LOOK_SECONDS if left is None else min(left, _LOOK_SECONDS)
        concurrent.futures.wait([future], step)
        left = None if left is None else left - step
        stood_still = _stands_still(future, loop, stood_still)
    return future.done()


def _stands_still(
    future: "concurrent.futures.Future[Any]",
    loop: asyncio.AbstractEventLoop | None,
    already: bool,
) -> bool:
    """Looks twice: between two ``run_until_complete`` a loop stands still for a moment."""
    if future.done() or loop is None or loop.is_running():
        return False
    if already:
        here = asyncio._get_running_loop()
        raise LocalMistake(
            f"the worker cannot close: {loop!r}, the event loop that start() was awaited on, does "
            f"not run while this code{f' on {here!r}' if here else ''} waits for it. Let that loop "
            "run until start() has returned; with pytest-asyncio give the fixture and the test the "
            "same one (loop_scope)"
        )
    return True
