"""Figures with generous limits. They find disasters, not regressions."""

import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from inngest_connect import ConnectionState, FixedRetry, connect
from inngest_connect.testing import EmbeddedGateway
from tests.integration.demo_apps import make_app

pytestmark = pytest.mark.performance


async def test_a_connection_takes_less_than_two_seconds() -> None:
    """Below 2 s."""
    async with EmbeddedGateway() as gateway:
        worker = connect([make_app(gateway).pair], shutdown_signals=[])
        begun = time.perf_counter()
        started = asyncio.create_task(worker.start())
        await worker.wait_for_state(ConnectionState.ACTIVE)
        seconds = time.perf_counter() - begun
        await worker.close(wait=True)
        await started

    assert seconds < 2.0


async def test_an_execution_costs_less_than_a_hundred_milliseconds() -> None:
    """Below 100 ms."""
    async with EmbeddedGateway(record=False) as gateway:
        async with connect([make_app(gateway).pair], wait=True):
            for _ in range(50):
                await gateway.invoke("app-echo")
        latencies = gateway.ledger.latencies()

    assert statistics.median(latencies) < 0.1


@pytest.mark.parametrize(
    ("options", "limit"), [({"retry": FixedRetry(0.0)}, 0.25), ({}, 1.2)], ids=["alone", "default"]
)
async def test_reconnecting_is_quick(options: dict[str, Any], limit: float) -> None:
    """From socket loss to ACTIVE on loopback, best of five: without jitter, and with up to 1 s.

    A connection is lost only after it has lived for two heartbeat intervals: a younger one would
    count as a failure.
    """
    taken: list[float] = []
    async with (
        EmbeddedGateway(record=False, heartbeat_interval="100ms") as gateway,
        connect([make_app(gateway).pair], **options) as worker,
    ):
        back: asyncio.Queue[float | None] = asyncio.Queue()
        beats: asyncio.Queue[None] = asyncio.Queue()
        worker.add_event_listener("connected", lambda event: back.put_nowait(event.outage_seconds))
        worker.add_event_listener("heartbeat", lambda _: beats.put_nowait(None))
        for _ in range(5):
            for _ in range(4):
                await beats.get()
            gateway.gateways[0].connection.drop()
            while (outage := await back.get()) is None:
                pass  # that was the first connection, reported a little late
            taken.append(outage)
            while not beats.empty():
                beats.get_nowait()

    assert min(taken) < limit


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_age_and_a_hundred_connections_are_few() -> None:
    """``make scale`` measures ten times as much."""
    script = Path(__file__).parents[2] / "scripts" / "scale_figures.py"
    sizes = ["--executions", "5000", "--reconnects", "60", "--connections", "100"]

    ended = subprocess.run(
        [sys.executable, str(script), *sizes], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "growth over 5000 executions" in ended.stdout
