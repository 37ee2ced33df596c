"""A worker with the demo app behind fault proxies, and the outage that many tests need."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from inngest_connect import WebSocketWorkerConnection
from inngest_connect.testing import ConnectionTestHarness, EmbeddedGateway, FaultProxy, RunResult
from tests.integration.demo_apps import App, make_app


@dataclass
class Faulty:
    harness: ConnectionTestHarness
    app: App

    @property
    def gateway(self) -> EmbeddedGateway:
        return self.harness.gateway

    @property
    def api(self) -> FaultProxy:
        return self.harness.api_proxy

    @property
    def socket(self) -> FaultProxy:
        return self.harness.proxies[0]

    async def run_through_an_outage(self) -> RunResult:
        """A function returns while its gateway is down, so that its reply has to be flushed."""
        running = asyncio.create_task(self.gateway.invoke("app-wait"))
        await self.app.seen.started.wait()
        await self.socket.refuse()
        self.socket.reset()
        await self.gateway.store.until(lambda model: not model.connections)
        self.app.seen.release.set()
        return await running

    def worker(self, **options: Any) -> WebSocketWorkerConnection:
        return self.harness.make_worker([self.app.pair], **{"wait": True, **options})


@contextlib.asynccontextmanager
async def faulty(**options: Any) -> AsyncIterator[Faulty]:
    """Leases are extended often; heartbeats come once a second, lest a busy machine miss two."""
    intervals = {"heartbeat_interval": "1s", "extend_lease_interval": "100ms", "lease": 2.0}
    app_options = options.pop("app_options", {})
    async with ConnectionTestHarness(**{**intervals, **options}) as harness:
        yield Faulty(harness, make_app(harness.api_origin, **app_options))
