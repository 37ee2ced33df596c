"""Changes: lets tests wait for a condition of a server, without polling."""

import asyncio
from collections.abc import Callable


class Changes:
    """Wakes its waiters after every change. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    def happened(self) -> None:
        """Something has changed: every waiter checks its condition again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def until(self, condition: Callable[[], bool], timeout: float | None = None) -> None:
        """Wait until ``condition`` holds. Raises TimeoutError after ``timeout`` seconds.

        A change that is reversed before the waiters run is not seen.
        """
        async with asyncio.timeout(timeout):
            while not condition():
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                await waiter

    def cancel(self) -> None:
        """Cancel all waiters, at the end of what they wait for."""
        for waiter in self._waiters:
            waiter.cancel()
