"""Host: runs one orchestrator, on a separate thread or on the application's event loop.

With ``isolation="thread"`` the orchestrator has the event loop of an ``IoThread``, which user code
cannot block; with ``"none"`` it is a task on the loop that ``start()`` runs on. In both cases
``run`` returns when the worker is CLOSED, and not before: a socket or a task that is left would
leak.
"""

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from .aio.io_thread import IoThread
from .aio.waiters import until_done
from .core import inputs

if TYPE_CHECKING:
    from .orchestrator import Orchestrator


class Host:
    """``run`` belongs to the application's event loop; ``post`` may be called from any thread."""

    def __init__(
        self,
        create: Callable[[asyncio.AbstractEventLoop], "Orchestrator"],
        main: Callable[["Orchestrator"], Coroutine[Any, Any, None]],
        on_end: Callable[[BaseException | None], None],
        closed: "concurrent.futures.Future[None]",
    ) -> None:
        """``main`` runs the orchestrator; ``on_end`` records its end, which sets ``closed``."""
        self._create = create
        self._main = main
        self._on_end = on_end
        self._closed = closed
        self._orchestrator: Orchestrator | None = None
        self._thread: IoThread | None = None

    def post(self, input: inputs.Input) -> None:
        """Hand ``input`` to the orchestrator; dropped while there is none yet."""
        if self._orchestrator is not None:
            self._orchestrator.post(input)

    async def run(self, *, on_thread: bool, begun: Callable[[], None]) -> None:
        """Run until CLOSED. ``begun`` is called when ``post`` has an effect.

        Raises what ends the worker, or the cancellation that hastened its end.
        """
        if on_thread:
            thread = self._thread = IoThread("inngest-connect-io", self._on_end)
            self._orchestrator = self._create(thread.loop)
            thread.start(self._main(self._orchestrator))
            ended = self._closed  # set by the thread as its last act
        else:
            loop = asyncio.get_running_loop()
            self._orchestrator = self._create(loop)
            running = loop.create_task(self._main(self._orchestrator))
            ended = concurrent.futures.Future()
            running.add_done_callback(lambda _: ended.set_result(None))
        begun()
        cancelled = await self._until(ended)
        if on_thread:
            thread.join()  # this waits for milliseconds
        else:
            self._on_end(None if running.cancelled() else running.exception())
        if cancelled is not None:
            raise cancelled
        self._closed.result()

    async def _until(
        self, ended: "concurrent.futures.Future[None]"
    ) -> asyncio.CancelledError | None:
        """Wait for the end of the worker, which a cancellation hastens and cannot skip.

        To return while a socket or a task is left would leak it, and to wait for the thread in a
        blocking way would stop the application's loop. The first cancellation aborts: replies that
        are ready get a last moment. A second one drops everything. Returns the first, to be raised.
        """
        cancelled: asyncio.CancelledError | None = None
        while not ended.done():
            try:
                await until_done(ended)
            except asyncio.CancelledError as error:
                if cancelled is None:
                    self.post(inputs.AbortRequested("start() was cancelled"))
                elif self._orchestrator is not None:
                    self._orchestrator.drop()
                cancelled = cancelled or error
        return cancelled

    def abandon_descriptors(self) -> None:
        """In a forked child: leave the sockets to the parent."""
        if self._thread is not None:
            self._thread.abandon_descriptors()
