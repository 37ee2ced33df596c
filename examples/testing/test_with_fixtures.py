"""Testing functions and workers without a server, with the fixtures of inngest-connect.

Run it with ``pytest examples/testing``. Needs ``pip install 'inngest-connect[testing]'
pytest-asyncio``. The marker is needed in pytest-asyncio's strict mode and harmless in auto mode.
"""

import asyncio

import inngest
import pytest

from inngest_connect import ConnectionState, connect
from inngest_connect.testing import ConnectionTestHarness, EmbeddedGateway

pytestmark = pytest.mark.asyncio


async def test_a_function_with_steps(embedded_gateway: EmbeddedGateway) -> None:
    """A run from its event to its result, over the real wire; sleeps are skipped."""
    client = embedded_gateway.client("shop")

    @client.create_function(fn_id="order", trigger=inngest.TriggerEvent(event="shop/ordered"))
    async def order(ctx: inngest.Context) -> str:
        async def charge() -> int:
            return 42

        amount = await ctx.step.run("charge", charge)
        paid = await ctx.step.wait_for_event("paid", event="shop/paid", timeout=60_000)
        return f"{amount} {'paid' if paid else 'open'}"

    async with connect([(client, [order])]):
        embedded_gateway.provide_event("shop/paid", {"amount": 42})
        result = await embedded_gateway.invoke(order, {"data": {"id": 1}})

    assert result.output == "42 paid"
    assert result.steps["charge"] == 42


async def test_retries_and_failures(embedded_gateway: EmbeddedGateway) -> None:
    """Attempts are counted, errors are at hand."""
    client = embedded_gateway.client("shop")
    trigger = inngest.TriggerEvent(event="shop/ordered")

    @client.create_function(fn_id="flaky", trigger=trigger, retries=2)
    async def flaky(ctx: inngest.Context) -> str:
        raise ValueError(f"attempt {ctx.attempt}")

    async with connect([(client, [flaky])]):
        result = await embedded_gateway.invoke(flaky)

    assert (result.status, result.attempts) == ("failed", 3)
    assert result.error["message"] == "attempt 2"


@pytest.mark.connect_gateway(lease=5.0, extend_lease_interval="100ms")
async def test_work_survives_a_deployment_of_the_gateway(
    connect_harness: ConnectionTestHarness,
) -> None:
    """What a worker does while the world around it breaks."""
    client = connect_harness.client("shop")
    started, finish = asyncio.Event(), asyncio.Event()

    @client.create_function(fn_id="long", trigger=inngest.TriggerEvent(event="shop/long"))
    async def long(ctx: inngest.Context) -> str:
        started.set()
        await finish.wait()
        return "done"

    await connect_harness.start_worker([(client, [long])])
    running = asyncio.create_task(connect_harness.gateway.invoke(long))
    await started.wait()
    await connect_harness.simulate_gateway_draining()
    connect_harness.assert_external_state_remains(ConnectionState.ACTIVE)
    finish.set()

    assert (await running).output == "done"
    connect_harness.assert_nothing_lost()
