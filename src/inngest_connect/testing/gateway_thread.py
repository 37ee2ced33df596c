"""GatewayThread: an EmbeddedGateway on its own thread, for tests without an event loop."""

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..aio.clock import keep_time
from ..connection import WebSocketWorkerConnection
from ..sdk.apps import Apps
from .embedded_gateway import EmbeddedGateway
from .run_driver import Event, RunResult

if TYPE_CHECKING:
    import inngest

Result = TypeVar("Result")


class GatewayThread:
    """``with GatewayThread(lease=2.0) as thread: thread.call(lambda g: g.invoke("app-fn"))``.

    The event loop is created on the thread of the program and runs on its own. ``call`` may be used
    from any thread inside the ``with`` block; work that has not ended there is cancelled.
    """

    def __init__(self, **options: Any) -> None:
        """``options`` are those of ``EmbeddedGateway``."""
        self._options = options
        self._ready: concurrent.futures.Future[EmbeddedGateway] = concurrent.futures.Future()
        self._loop = asyncio.new_event_loop()
        keep_time(self._loop)
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="embedded-gateway", daemon=True)

    @property
    def gateway(self) -> EmbeddedGateway:
        """The gateway, which only its own thread may use: see ``call``."""
        return self._ready.result()

    @property
    def api_origin(self) -> str:
        """The address of the API, for clients."""
        return self.gateway.api_origin

    def call(
        self, work: Callable[[EmbeddedGateway], Awaitable[Result]]
    ) -> "concurrent.futures.Future[Result]":
        """Run ``work`` on the gateway's event loop; the future has its result or exception."""

        async def run() -> Result:
            return await work(self.gateway)

        return asyncio.run_coroutine_threadsafe(run(), self._loop)

    @contextlib.contextmanager
    def connect(self, apps: Apps, **options: Any) -> Iterator[WebSocketWorkerConnection]:
        """``with thread.connect(apps)``: ``EmbeddedGateway.connect`` without an event loop.

        The worker and its async functions run on the thread of the gateway.
        """
        ended = asyncio.Event()
        ready: concurrent.futures.Future[WebSocketWorkerConnection] = concurrent.futures.Future()

        async def serve(gateway: EmbeddedGateway) -> None:
            async with gateway.connect(apps, **options) as worker:
                ready.set_result(worker)
                await ended.wait()

        serving = self.call(serve)
        # When it fails before it is ready, ``result()`` raises why.
        either: list[concurrent.futures.Future[Any]] = [serving, ready]
        concurrent.futures.wait(either, return_when=concurrent.futures.FIRST_COMPLETED)
        if not ready.done():
            serving.result()
        try:
            yield ready.result()
        finally:
            self._loop.call_soon_threadsafe(ended.set)
            serving.result()

    def invoke(
        self,
        function: "inngest.Function[Any] | str",
        event: "Event | inngest.Event | None" = None,
        *,
        steps: Mapping[str, Any] | None = None,
    ) -> RunResult:
        """``EmbeddedGateway.invoke``, which this call waits for."""
        return self.call(lambda gateway: gateway.invoke(function, event, steps=steps)).result()

    def provide_event(self, name: str, data: dict[str, Any]) -> None:
        """``EmbeddedGateway.provide_event``."""
        self._loop.call_soon_threadsafe(self.gateway.provide_event, name, data)

    @property
    def sent_events(self) -> list[Event]:
        """The events that were sent to the API so far, as JSON objects."""
        return list(self.gateway.sent_events)

    @property
    def published(self) -> list[dict[str, Any]]:
        """What functions published so far, as ``EmbeddedGateway.published``."""
        return list(self.gateway.published)

    def __enter__(self) -> "GatewayThread":
        self._thread.start()
        self._ready.result()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        # The gateway is created and stopped here, on its own thread, as all its parts belong to the
        # running event loop. _ready hands it over, or the reason why it could not start.
        async def serve() -> None:
            try:
                async with EmbeddedGateway(**self._options) as gateway:
                    self._ready.set_result(gateway)
                    await self._stop.wait()
            except Exception as error:
                if self._ready.done():
                    raise
                self._ready.set_exception(error)  # raised by __enter__

        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(serve())
