"""A gateway and an API behind fault proxies, and a worker that goes through both."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from inngest_connect import FixedRetry, Timing, WebSocketWorkerConnection, connect
from inngest_connect.testing import EmbeddedGateway, FaultProxy, GatewayAddress, RunResult
from tests.integration.demo_apps import App, make_app

QUICK = Timing(
    start_timeout=1.0,
    open_timeout=0.5,
    hello_timeout=0.5,
    ready_timeout=0.5,
    reply_ack_timeout=0.3,
    drain_ack_timeout=0.3,
    pause_delay=0.05,
    close_timeout=0.3,
    final_flush_timeout=0.5,
)


@dataclass
class Faulty:
    gateway: EmbeddedGateway
    api: FaultProxy
    socket: FaultProxy
    app: App

    async def run_through_an_outage(self) -> RunResult:
        """A function returns while its gateway is gone, so that its reply has to be flushed."""
        running = asyncio.create_task(self.gateway.invoke("app-wait"))
        await self.app.seen.started.wait()
        await self.socket.refuse()
        self.socket.reset()
        await self.gateway.store.until(lambda model: not model.connections)
        self.app.seen.release.set()
        return await running

    def worker(self, **options: Any) -> WebSocketWorkerConnection:
        defaults: dict[str, Any] = {
            "timing": QUICK,
            "retry": FixedRetry(0.05),
            "shutdown_signals": [],
            # A test that fails must not wait for the function it did not release.
            "shutdown_timeout": 5.0,
        }
        return connect([self.app.pair], **{**defaults, **options})


@contextlib.asynccontextmanager
async def faulty(**options: Any) -> AsyncIterator[Faulty]:
    """Leases are extended often; heartbeats come once a second, lest a busy machine miss two."""
    intervals = {"heartbeat_interval": "1s", "extend_lease_interval": "100ms", "lease": 2.0}
    app_options = options.pop("app_options", {})
    async with EmbeddedGateway(**{**intervals, **options}) as gateway:
        address = gateway.gateways[0]
        async with (
            FaultProxy("127.0.0.1", gateway.http.port) as api,
            FaultProxy("127.0.0.1", address.port) as socket,
        ):
            url = f"ws://127.0.0.1:{socket.port}/v0/connect"
            gateway.http.gateways = [GatewayAddress(address.name, url)]
            app = make_app(f"http://127.0.0.1:{api.port}", **app_options)
            yield Faulty(gateway, api, socket, app)
