"""Functions of an application, whose client points elsewhere, as its own test suite tests them."""

import datetime
import threading
from typing import Any

import inngest
import pytest

from inngest_connect import ConfigurationError, ConnectApp
from inngest_connect.testing import EmbeddedGateway, GatewayThread

pytestmark = pytest.mark.integration

# As in a module of an application: created once, for production, with an address of its own.
client = inngest.Inngest(
    app_id="shop",
    api_base_url="http://elsewhere.invalid",
    event_api_base_url="http://elsewhere.invalid",
    event_key="key",
    is_production=True,
)
called: list[str] = []


@pytest.fixture(autouse=True)
def nothing_called() -> None:
    called.clear()


async def really_charge() -> dict[str, Any]:
    called.append("charge")
    return {"id": "real"}


def trigger() -> inngest.TriggerEvent:
    return inngest.TriggerEvent(event="shop/ordered")


@client.create_function(fn_id="order", trigger=trigger(), retries=0)
async def order(ctx: inngest.Context) -> dict[str, Any]:
    payment = await ctx.step.run("charge", really_charge)
    await ctx.step.sleep("rest", datetime.timedelta(days=30))
    parcel = await ctx.step.wait_for_event("sent", event="shop/sent", timeout=60_000)
    await ctx.step.send_event("tell", inngest.Event(name="shop/done", data={}))
    return {"payment": payment["id"], "parcel": parcel and parcel.data["number"]}


@client.create_function(fn_id="sync", trigger=trigger(), retries=0)
def sync_order(ctx: inngest.ContextSync) -> str:
    called.append(threading.current_thread().name)
    payment: Any = ctx.step.run("charge", lambda: {"id": "real"})
    return str(payment["id"])


APPS: list[tuple[inngest.Inngest, list[inngest.Function[Any]]]] = [(client, [order, sync_order])]


async def test_a_client_that_points_elsewhere_talks_to_the_gateway_until_the_worker_ends() -> None:
    async with EmbeddedGateway() as gateway:
        async with gateway.connect(APPS) as worker:
            assert worker.api_origin == gateway.api_origin
            result = await gateway.invoke(order)
            await client.send(inngest.Event(name="from/the-test", data={}))
        sent = [event["name"] for event in gateway.sent_events]

    assert result.output == {"payment": "real", "parcel": None}
    assert sent == ["shop/done", "from/the-test"]
    assert client.api_origin == "http://elsewhere.invalid"
    assert client.event_api_origin == "http://elsewhere.invalid"
    assert client.is_production


async def test_the_variables_of_a_real_worker_have_no_effect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INNGEST_CONNECT_GATEWAY_URL", "ws://127.0.0.1:1/v0/connect")
    monkeypatch.setenv("INNGEST_CONNECT_API_ORIGIN", "http://127.0.0.1:1")
    async with EmbeddedGateway() as gateway:
        async with gateway.connect(APPS, max_worker_concurrency=1):
            assert (await gateway.invoke(sync_order)).output == "real"
        with pytest.raises(TypeError, match="no option 'nope'; there are: instance_id"):
            async with gateway.connect(APPS, nope=1):
                pass


@pytest.mark.parametrize("attempt", [1, 2])
async def test_another_event_loop_can_use_the_same_client(attempt: int) -> None:
    async with EmbeddedGateway() as gateway, gateway.connect([ConnectApp(client, [order])]):
        assert (await gateway.invoke(order)).status == "completed", attempt


async def test_the_function_of_a_mocked_step_is_not_called() -> None:
    steps = {"charge": {"id": "mocked"}, "sent": {"data": {"number": 7}}, "tell": ["id"]}
    async with EmbeddedGateway() as gateway, gateway.connect(APPS):
        result = await gateway.invoke(order, steps=steps)
        sync_result = await gateway.invoke(sync_order, steps={"charge": {"id": "mocked too"}})

    assert result.output == {"payment": "mocked", "parcel": 7}
    assert result.steps["charge"] == {"id": "mocked"}
    assert "charge" not in called
    assert gateway.sent_events == []
    assert sync_result.output == "mocked too"


async def test_a_mock_can_raise_and_a_wait_can_time_out() -> None:
    async with EmbeddedGateway() as gateway, gateway.connect(APPS):
        gateway.provide_event("shop/sent", {"number": 7})
        late = await gateway.invoke(order, steps={"sent": None})
        declined = await gateway.invoke(order, steps={"charge": ValueError("declined")})

    assert late.output == {"payment": "real", "parcel": None}
    assert (declined.status, declined.error["message"]) == ("failed", "declined")
    assert called == ["charge"]


async def test_parallel_and_repeated_steps_and_invocations_can_be_mocked() -> None:
    @client.create_function(fn_id="fan", trigger=trigger(), retries=0)
    async def fan(ctx: inngest.Context) -> list[Any]:
        both = await ctx.group.parallel(
            (
                lambda: ctx.step.run("charge", really_charge),
                lambda: ctx.step.run("other", really_charge),
            )
        )
        again = await ctx.step.run("charge", really_charge)
        return [*both, again, await ctx.step.invoke("call", function=order)]

    steps = {"charge": 1, "other": 2, "call": "theirs"}
    async with EmbeddedGateway() as gateway, gateway.connect([(client, [fan, order])]):
        result = await gateway.invoke(fan, steps=steps)

    assert result.output == [1, 2, 1, "theirs"]
    assert called == []


async def test_a_misspelled_mock_is_an_error_that_names_the_steps() -> None:
    async with EmbeddedGateway() as gateway, gateway.connect(APPS):
        with pytest.raises(AssertionError, match=r"'chrage'.*it had: 'charge', 'rest', 'sent'"):
            await gateway.invoke(order, steps={"chrage": 1})
        with pytest.raises(TypeError, match=r"mock of step 'charge' is .*not JSON"):
            await gateway.invoke(order, steps={"charge": object()})


def test_a_test_without_an_event_loop_uses_the_gateway_on_its_thread() -> None:
    with GatewayThread() as thread:
        with thread.connect(APPS) as worker:
            thread.provide_event("shop/sent", {"number": 7})
            result = thread.invoke(order, {"data": {"n": 1}}, steps={"charge": {"id": "mocked"}})
            client.send_sync(inngest.Event(name="from/the-test", data={}))
            sync_result = thread.invoke(sync_order)
        assert worker.state.value == "CLOSED"
        sent = [event["name"] for event in thread.sent_events]

    assert result.output == {"payment": "mocked", "parcel": 7}
    assert sync_result.output == "real"
    assert called != [threading.current_thread().name]
    assert sent == ["shop/done", "from/the-test"]


def test_what_is_wrong_with_the_apps_is_raised_in_the_test() -> None:
    with (
        GatewayThread() as thread,
        pytest.raises(ConfigurationError, match="apps"),
        thread.connect([]),
    ):
        pass


async def test_a_gateway_with_keys_gets_the_key_of_the_client() -> None:
    key = "signkey-test-" + "ab" * 32
    keyed = inngest.Inngest(app_id="keyed", signing_key=key, is_production=False)

    @keyed.create_function(fn_id="one", trigger=trigger())
    async def one(ctx: inngest.Context) -> int:
        return 1

    async with EmbeddedGateway(signing_keys=(key,)) as gateway, gateway.connect([(keyed, [one])]):
        assert (await gateway.invoke(one)).output == 1


async def test_a_function_that_defers_can_have_mocked_steps() -> None:
    experimental: Any = pytest.importorskip(
        "inngest.experimental.deferred", reason="ctx.defer came with inngest 0.5.20"
    )

    @experimental.create_defer(client, fn_id="child")
    async def child(ctx: Any) -> str:
        return str(await ctx.step.run("charge", really_charge))

    @client.create_function(fn_id="parent", trigger=trigger(), retries=0)
    async def parent(ctx: inngest.Context) -> Any:
        deferring: Any = ctx
        deferring.defer("later", function=child, data={"n": 1})
        return await ctx.step.run("charge", really_charge)

    async with EmbeddedGateway() as gateway, gateway.connect([(client, [child, parent])]):
        result = await gateway.invoke(parent, steps={"charge": "mocked"})

    assert (result.status, result.output) == ("completed", "mocked")
    assert [run.status for run in result.deferred] == ["completed"]
    assert called == ["charge"], "by the child, whose steps are not those of the mocks"
