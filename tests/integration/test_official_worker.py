"""The test kit against the official SDK's own worker: it is a gateway to others too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from inngest_connect.testing import EmbeddedGateway
from tests.integration.demo_apps import App, make_app

official = pytest.importorskip("inngest.connect")
pytestmark = pytest.mark.integration


@asynccontextmanager
async def official_worker(app: App, gateway: EmbeddedGateway) -> AsyncIterator[None]:
    worker = official.connect([app.pair], shutdown_signals=[])
    started = asyncio.create_task(worker.start())
    await gateway.wait_for_worker()
    try:
        yield
    finally:
        await worker.close(wait=True)
        await started


async def test_the_official_worker_is_served_as_ours_is() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with official_worker(app, gateway):
            results = {
                name: await gateway.invoke(f"app-{name}")
                for name in ("echo", "sync", "steps", "flaky", "hopeless", "final")
            }

    assert {name: (r.status, r.attempts) for name, r in results.items()} == {
        "echo": ("completed", 1),
        "sync": ("completed", 1),
        "steps": ("completed", 1),
        "flaky": ("completed", 3),
        "hopeless": ("failed", 2),
        "final": ("failed", 1),
    }
    assert results["steps"].output == [2, 4, 8]
    assert gateway.store.model.protocol_errors == []
