"""Many concurrent requests and connections."""

import asyncio
import threading
from typing import Any, Literal

import pytest

from inngest_connect import ConnectionState, FixedRetry, connect
from inngest_connect.testing import QUICK_TIMING, EmbeddedGateway
from tests.integration.demo_apps import make_app

pytestmark = pytest.mark.concurrency


async def test_hundreds_of_concurrent_runs_all_end_well() -> None:
    async with EmbeddedGateway(record=False) as gateway:
        app = make_app(gateway)
        async with connect([app.pair], wait=True):
            runs = [gateway.invoke("app-steps") for _ in range(200)]
            results = await asyncio.gather(*runs)

    assert {tuple(r.output) for r in results} == {(2, 4, 8)}
    assert gateway.ledger.answered == 800
    assert gateway.ledger.lost == gateway.ledger.duplicates == 0


async def test_a_hundred_connections_in_one_process() -> None:
    async with EmbeddedGateway(record=False) as gateway:
        app = make_app(gateway)
        workers = [
            connect([app.pair], instance_id=f"w{n}", isolation="none", shutdown_signals=[])
            for n in range(100)
        ]
        started = [asyncio.create_task(worker.start()) for worker in workers]
        for worker in workers:
            await worker.wait_for_state(ConnectionState.ACTIVE)
        await gateway.wait_for_worker(100)
        results = await asyncio.gather(*(gateway.invoke("app-echo") for _ in range(300)))
        served = {n for r in gateway.ledger.records.values() for n in r.forwards}
        for worker in workers:
            await worker.close()
        await asyncio.gather(*started)

    assert {r.status for r in results} == {"completed"}
    assert len(served) == 100


async def test_drains_one_after_another_under_load_lose_nothing() -> None:
    async with EmbeddedGateway(lease=1.0, extend_lease_interval="200ms", record=False) as gateway:
        app = make_app(gateway)
        retry = FixedRetry(0.05)  # each connection is young when it is drained
        async with connect([app.pair], timing=QUICK_TIMING, retry=retry, wait=True) as worker:
            stop = asyncio.Event()
            failed: list[object] = []

            async def traffic() -> None:
                while not stop.is_set():
                    result = await gateway.invoke("app-steps")
                    if result.output != [2, 4, 8]:
                        failed.append(result)

            users = [asyncio.create_task(traffic()) for _ in range(20)]
            for _ in range(5):
                moved = asyncio.Event()
                remove = worker.add_event_listener("connected", lambda _: moved.set())  # noqa: B023
                await gateway.drain()
                await moved.wait()
                remove()
            stop.set()
            await asyncio.gather(*users)

    assert failed == []
    assert len(gateway.gateways) == 6
    assert gateway.ledger.lost == gateway.ledger.duplicates == 0


@pytest.mark.scenario("V")
@pytest.mark.parametrize("isolation", ["thread", "none"])
async def test_rapid_connecting_and_closing_leaves_nothing_behind(
    isolation: Literal["thread", "none"],
) -> None:
    async with EmbeddedGateway(record=False) as gateway:
        app = make_app(gateway)
        threads = threading.active_count()
        for _ in range(20):
            async with connect([app.pair], shutdown_signals=[], isolation=isolation, wait=True):
                pass
        await gateway.store.until(lambda model: not model.connections)
        left = [task for task in asyncio.all_tasks() if belongs_to_the_worker(task)]
        more = threading.active_count() - threads

    assert left == []
    assert more < 10  # the SDK's thread pool and httpx may keep a few


def belongs_to_the_worker(task: "asyncio.Task[Any]") -> bool:
    """By the file of its code: a name says nothing about who made a task."""
    code = getattr(task.get_coro(), "cr_code", None)
    file = code.co_filename.replace("\\", "/") if code is not None else ""
    return "/inngest_connect/" in file and "/testing/" not in file


@pytest.mark.scenario("W")
async def test_a_gateway_that_flaps_is_survived() -> None:
    async with EmbeddedGateway(record=False) as gateway:
        app = make_app(gateway)
        retry = FixedRetry(0.05)
        async with connect([app.pair], timing=QUICK_TIMING, retry=retry, wait=True) as worker:
            running = asyncio.create_task(gateway.invoke("app-wait"))
            await app.seen.started.wait()
            for _ in range(20):
                lost = asyncio.Event()
                remove = worker.add_event_listener("disconnected", lambda _: lost.set())  # noqa: B023
                gateway.gateways[0].connection.drop()
                await lost.wait()
                remove()
                await worker.wait_for_state(ConnectionState.ACTIVE)
                await gateway.wait_for_worker()
            app.seen.release.set()
            result = await running

    assert result.output == "released"
    assert app.seen.calls["wait"] == 1
