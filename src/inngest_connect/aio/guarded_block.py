"""GuardedBlock: the body of an ``async with``, which the failure of its worker cancels."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ..errors import ConnectError, NotConnectedError


class GuardedBlock:
    """The task that runs the body calls ``enter`` and ``leave``.

    ``is_closing`` returns whether the body, or other code, has asked the worker to close.
    """

    def __init__(self, is_closing: Callable[[], bool]) -> None:
        self._is_closing = is_closing
        self._starting: asyncio.Task[None]
        self._body: asyncio.Task[Any] | None = None
        self._cancelled = False
        """Whether the body was cancelled from here."""

    async def enter(
        self, start: Coroutine[Any, Any, None], ready: Coroutine[Any, Any, None] | None
    ) -> None:
        """Run ``start`` in the background, and return when ``ready`` does.

        Raises what ``start`` raises before that.
        """
        starting = self._starting = asyncio.create_task(start)
        if ready is not None:
            waiting = asyncio.create_task(ready)
            try:
                await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    await starting
                    raise NotConnectedError("the connection was closed before it became ACTIVE")
            except BaseException:
                await _cancel(starting)
                raise
            finally:
                await _cancel(waiting)
        self._body = asyncio.current_task()
        starting.add_done_callback(self._ended)

    def _ended(self, starting: "asyncio.Task[None]") -> None:
        failed = not starting.cancelled() and starting.exception() is not None
        # A body that has asked for the close expects the end: ``leave`` raises the error then.
        if failed and self._body is not None and not self._is_closing():
            self._cancelled = True
            self._body.cancel()

    async def leave(
        self, error: BaseException | None, close: Callable[[], Awaitable[None]]
    ) -> None:
        """Close the worker and wait for its end. ``error`` is what the body raised.

        Raises the worker's own error unless the body raised another one, which gets a note.
        """
        # First, so that a failure from now on no longer cancels the task, which has left the body.
        body, self._body = self._body, None
        assert body is not None
        if self._cancelled:
            # As TaskGroup does: ``uncancel`` takes back the cancellation from here, and what is
            # left came from outside and wins over the worker's error.
            from_outside = body.uncancel() > 0
            if isinstance(error, asyncio.CancelledError) and not from_outside:
                self._starting.result()
        await close()
        try:
            await self._starting
        except ConnectError as failure:
            if error is None:
                raise
            error.add_note(f"The worker ended with {type(failure).__name__}: {failure}")


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])
