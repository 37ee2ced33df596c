"""A worker runs once: whatever is called on one that was used is an error that says so."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import inngest
import pytest

from inngest_connect import ConnectionState, WebSocketWorkerConnection, connect
from inngest_connect.errors import LocalMistake
from inngest_connect.testing import EmbeddedGateway

pytestmark = pytest.mark.field
REMEDY = r"create a new one with connect\(\)"


def _worker(client: inngest.Inngest | None = None, **options: Any) -> WebSocketWorkerConnection:
    client = client or inngest.Inngest(
        app_id="app", api_base_url="http://127.0.0.1:1", is_production=False
    )

    @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="e"), retries=0)
    async def function(ctx: inngest.Context) -> int:
        return 1

    return connect([(client, [function])], shutdown_signals=[], logger=False, **options)


async def _start(worker: WebSocketWorkerConnection) -> None:
    await worker.start()


async def _run(worker: WebSocketWorkerConnection) -> None:
    await asyncio.to_thread(worker.run)


async def _enter(worker: WebSocketWorkerConnection) -> None:
    async with worker:
        pytest.fail("the body was entered")


USES = pytest.mark.parametrize("use", [_start, _run, _enter])
Use = Callable[[WebSocketWorkerConnection], Awaitable[None]]


@USES
async def test_a_worker_closed_before_its_start_cannot_be_used(use: Use) -> None:
    worker = _worker()
    await worker.close()

    with pytest.raises(LocalMistake, match=f"was closed before it was started.*{REMEDY}"):
        await use(worker)

    assert worker.state is ConnectionState.CLOSED
    await asyncio.wait_for(worker.closed(), 10)


@USES
async def test_a_worker_that_has_run_cannot_be_used_again(use: Use) -> None:
    async with EmbeddedGateway() as gateway:
        worker = _worker(gateway.client("app"))
        async with worker:
            await worker.wait_for_state(ConnectionState.ACTIVE)

        with pytest.raises(LocalMistake, match=f"has run and is closed.*{REMEDY}"):
            await use(worker)


@USES
async def test_a_second_use_leaves_the_first_one_alone(use: Use) -> None:
    async with EmbeddedGateway() as gateway, _worker(gateway.client("app"), wait=True) as worker:
        with pytest.raises(LocalMistake, match=f"started already.*{REMEDY}"):
            await use(worker)
        result = await asyncio.wait_for(gateway.invoke("app-f"), 10)

    assert result.output == 1
    assert worker.state is ConnectionState.CLOSED


async def test_of_two_starts_in_one_turn_the_second_is_the_mistake() -> None:
    async with EmbeddedGateway() as gateway:
        worker = _worker(gateway.client("app"))
        first, second = (asyncio.create_task(worker.start()) for _ in "ab")
        await worker.wait_for_state(ConnectionState.ACTIVE)
        await worker.close()
        ends = await asyncio.gather(first, second, return_exceptions=True)

    assert ends[0] is None
    assert isinstance(ends[1], LocalMistake)


async def test_a_close_between_the_call_of_start_and_its_first_turn_is_a_shutdown() -> None:
    worker = _worker()
    running = asyncio.create_task(worker.start())
    await worker.close()

    await asyncio.wait_for(running, 10)

    assert worker.state is ConnectionState.CLOSED


async def test_run_in_a_running_loop_names_what_to_do_and_uses_nothing_up() -> None:
    async with EmbeddedGateway() as gateway:
        worker = _worker(gateway.client("app"), wait=True)

        with pytest.raises(LocalMistake, match=r"await start\(\)"):
            worker.run()

        async with worker:
            result = await asyncio.wait_for(gateway.invoke("app-f"), 10)
    assert result.output == 1
