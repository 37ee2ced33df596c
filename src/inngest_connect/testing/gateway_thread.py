"""GatewayThread: an EmbeddedGateway on its own thread, for programs that block their event loop."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from .embedded_gateway import EmbeddedGateway

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
