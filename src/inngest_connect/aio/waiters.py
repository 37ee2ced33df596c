"""Waiting, from any event loop, for what happens on the connection's thread."""

import asyncio
import concurrent.futures
from collections.abc import Callable

from ..errors import NotConnectedError
from ..state_machine import ConnectionState

Waiter = tuple[ConnectionState, "concurrent.futures.Future[None]"]


class StateWaiters:
    """Those who wait for a state. ``wake`` may be called from any thread."""

    def __init__(self) -> None:
        self._waiters: list[Waiter] = []

    async def wait_for(self, wanted: ConnectionState, now: Callable[[], ConnectionState]) -> None:
        """Return when the state is, or was for a moment, ``wanted``.

        Raises NotConnectedError when the connection closes first.
        """
        waiter: Waiter = (wanted, concurrent.futures.Future())
        self._waiters.append(waiter)
        reached = waiter[1]
        try:
            while now() is not wanted and not reached.done():
                if now() is ConnectionState.CLOSED:
                    raise NotConnectedError(f"the connection closed before it was {wanted.value}")
                await until_done(reached)
                if reached.exception() is not None:
                    raise NotConnectedError(f"the connection closed before it was {wanted.value}")
        finally:
            self._waiters.remove(waiter)

    def wake(self, state: ConnectionState) -> None:
        """The state has become ``state``."""
        for wanted, reached in tuple(self._waiters):
            if reached.done():
                continue
            if wanted is state:
                reached.set_result(None)
            elif state is ConnectionState.CLOSED:
                reached.set_exception(NotConnectedError("closed"))


async def until_done(future: "concurrent.futures.Future[None]") -> None:
    """Wait without raising, and without cancelling ``future`` when the waiter is cancelled."""
    await asyncio.wait([asyncio.wrap_future(_follower(future))])


def _follower(future: "concurrent.futures.Future[None]") -> "concurrent.futures.Future[None]":
    """A future of our own that ends with ``future``; cancelling it leaves the other alone."""
    follower: concurrent.futures.Future[None] = concurrent.futures.Future()

    def end(_: "concurrent.futures.Future[None]") -> None:
        if follower.set_running_or_notify_cancel():
            follower.set_result(None)

    future.add_done_callback(end)
    return follower
