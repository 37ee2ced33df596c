"""Testing functions and workers without a server, with the fixtures of inngest-connect.

    pip install "inngest-connect[testing]" pytest-asyncio
    pytest examples/testing

The marker is needed in pytest-asyncio's strict mode and harmless in auto mode.
"""

import asyncio
from datetime import timedelta

import inngest
import pytest

from inngest_connect import ConnectionState
from inngest_connect.testing import ConnectionTestHarness, EmbeddedGateway

pytestmark = pytest.mark.asyncio

# --- what is tested: in your project, a module of its own ----------------------------------------

client = inngest.Inngest(app_id="shop", is_production=True)
apologies: list[str] = []


async def charge(amount: int) -> str:
    """Asks the bank: no test may call this."""
    raise RuntimeError(f"this would charge a card with {amount}")


async def apologize(ctx: inngest.Context) -> None:
    """Runs when an order has failed for good."""
    apologies.append(str(ctx.event.data["error"]))


@client.create_function(
    fn_id="order",
    trigger=inngest.TriggerEvent(event="shop/ordered"),
    retries=2,
    on_failure=apologize,
)
async def order(ctx: inngest.Context) -> str:
    """Charges a card, and waits until the parcel has arrived."""
    receipt = await ctx.step.run("charge", charge, 42)
    await ctx.step.sleep("a night", timedelta(hours=12))
    delivered = await ctx.step.wait_for_event(
        "delivery", event="shop/delivered", timeout=timedelta(days=3)
    )
    if delivered is None:
        overdue = inngest.Event(name="shop/delivery.overdue", data={"receipt": receipt})
        await ctx.step.send_event("complain", overdue)
        return f"{receipt}, overdue"
    return f"{receipt}, delivered by {delivered.data['by']}"


@client.create_function(
    fn_id="count", trigger=inngest.TriggerEvent(event="shop/counted"), retries=2
)
async def count(ctx: inngest.Context) -> str:
    """Has a step that fails at first."""

    async def ask_the_warehouse() -> str:
        if ctx.attempt < 2:
            raise ConnectionError(f"attempt {ctx.attempt}")
        return "7 books"

    return await ctx.step.run("ask", ask_the_warehouse)


apps = [(client, [order, count])]

# --- functions -----------------------------------------------------------------------------------


async def test_a_run_from_its_event_to_its_result(embedded_gateway: EmbeddedGateway) -> None:
    """Steps run through the whole worker, sleeps are skipped, and the awaited event is provided."""
    async with embedded_gateway.connect(apps):
        embedded_gateway.provide_event("shop/delivered", {"by": "Ada"})
        result = await embedded_gateway.invoke(
            order, {"data": {"item": "book"}}, steps={"charge": "paid"}
        )

    assert result.output == "paid, delivered by Ada"
    assert result.steps["delivery"] == {"by": "Ada"}


async def test_an_event_that_does_not_come(embedded_gateway: EmbeddedGateway) -> None:
    """Without ``provide_event`` the wait times out at once. Events that are sent are recorded."""
    async with embedded_gateway.connect(apps):
        result = await embedded_gateway.invoke(order, steps={"charge": "paid"})

    assert result.output == "paid, overdue"
    (sent,) = embedded_gateway.sent_events
    assert (sent["name"], sent["data"]) == ("shop/delivery.overdue", {"receipt": "paid"})


async def test_a_step_that_fails_is_tried_again(embedded_gateway: EmbeddedGateway) -> None:
    """Retries come without a delay, unless the gateway has a ``retry_delay``."""
    async with embedded_gateway.connect(apps):
        result = await embedded_gateway.invoke(count)

    assert (result.status, result.output) == ("completed", "7 books")
    assert result.requests == 4  # three for the step, one for the end of the function


async def test_a_failure_for_good(embedded_gateway: EmbeddedGateway) -> None:
    """An exception as a mock is the last one, after all retries. The failure handler runs."""
    apologies.clear()
    async with embedded_gateway.connect(apps):
        result = await embedded_gateway.invoke(order, steps={"charge": ValueError("declined")})

    assert result.status == "failed"
    assert result.error["message"] == "declined"
    (apology,) = apologies
    assert "declined" in apology


# --- the worker ----------------------------------------------------------------------------------


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
