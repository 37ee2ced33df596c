"""Wait on an event loop for a future that another thread completes."""

import asyncio
import concurrent.futures
from typing import Any


async def until_done(future: "concurrent.futures.Future[Any]") -> None:
    """Wait without raising, and without cancelling ``future`` when the waiter is cancelled."""
    # ``wrap_future`` passes a cancellation on, hence a second future that only follows the first.
    follower: concurrent.futures.Future[None] = concurrent.futures.Future()

    def end(_: "concurrent.futures.Future[Any]") -> None:
        if follower.set_running_or_notify_cancel():
            follower.set_result(None)

    future.add_done_callback(end)
    await asyncio.wait([asyncio.wrap_future(follower)])
