"""EmbeddedGateway and the mock servers, as a user of the test kit meets them."""

import asyncio
import datetime
from typing import Any

import httpx
import inngest
import pytest

from inngest_connect import WorkAbandoned, connect
from inngest_connect.protocol import FLUSH_PATH, START_PATH
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import EmbeddedGateway, FaultProxy, GatewayThread, MockHTTPServer
from inngest_connect.transport.signing_key import SigningKey
from tests.integration.demo_apps import make_app, make_client

K = pb.GatewayMessageType
KEY = "signkey-test-" + "ab" * 32
pytestmark = pytest.mark.integration


def trigger() -> inngest.TriggerEvent:
    return inngest.TriggerEvent(event="x")


async def test_parallel_steps_run_side_by_side() -> None:
    async with EmbeddedGateway() as gateway:
        client = make_client(gateway.api_origin)
        tries: list[int] = []

        @client.create_function(fn_id="fan", trigger=trigger(), retries=1)
        async def fan(ctx: inngest.Context) -> list[Any]:
            async def double(value: int) -> int:
                return value * 2

            async def once_more() -> str:
                tries.append(1)
                if len(tries) == 1:
                    raise ValueError("again")
                return "done"

            return list(
                await ctx.group.parallel(
                    (
                        lambda: ctx.step.run("a", double, 1),
                        lambda: ctx.step.run("b", double, 2),
                        lambda: ctx.step.run("c", once_more),
                    )
                )
            )

        async with connect([(client, [fan])], wait=True):
            result = await gateway.invoke(fan)

    assert result.output == [2, 4, "done"]
    assert result.steps == {"a": 2, "b": 4, "c": "done"}


async def test_waits_are_answered_by_the_test_or_time_out() -> None:
    async with EmbeddedGateway() as gateway:
        client = make_client(gateway.api_origin)

        @client.create_function(fn_id="waits", trigger=trigger())
        async def waits(ctx: inngest.Context) -> list[Any]:
            minute = datetime.timedelta(minutes=1)
            first = await ctx.step.wait_for_event("first", event="paid", timeout=minute)
            second = await ctx.step.wait_for_event("second", event="paid", timeout=minute)
            await ctx.step.sleep("nap", datetime.timedelta(days=1))
            return [first.data["amount"] if first else None, second]

        async with connect([(client, [waits])], wait=True):
            gateway.provide_event("paid", {"amount": 5})
            result = await gateway.invoke(waits)

    assert result.output == [5, None]


async def test_functions_invoke_each_other_and_send_events() -> None:
    async with EmbeddedGateway() as gateway:
        client = make_client(gateway.api_origin)

        @client.create_function(fn_id="inner", trigger=trigger())
        async def inner(ctx: inngest.Context) -> int:
            return int(str(ctx.event.data["n"])) + 1

        @client.create_function(fn_id="outer", trigger=trigger())
        async def outer(ctx: inngest.Context) -> Any:
            event = inngest.Event(name="sent", data={"n": 1})
            await ctx.step.send_event("send", event)
            return await ctx.step.invoke("call", function=inner, data={"n": 41})

        async with connect([(client, [inner, outer])], wait=True):
            result = await gateway.invoke(outer, inngest.Event(name="go", data={"x": 1}))
        sent = gateway.sent_events
        # The SDK has no public way to close what it sent the event with.
        await client._http_client._http_client.aclose()

    assert result.output == 42
    assert [event["name"] for event in sent] == ["sent"]


async def test_a_failing_invocation_and_a_failing_step_can_be_caught() -> None:
    async with EmbeddedGateway() as gateway:
        client = make_client(gateway.api_origin)

        @client.create_function(fn_id="bad", trigger=trigger(), retries=0)
        async def bad(ctx: inngest.Context) -> None:
            raise ValueError("inner problem")

        @client.create_function(fn_id="outer", trigger=trigger(), retries=1)
        async def outer(ctx: inngest.Context) -> list[str]:
            async def breaks() -> None:
                raise KeyError("step problem")

            caught = []
            for attempt in (
                lambda: ctx.step.invoke("call", function=bad),
                lambda: ctx.step.run("breaks", breaks),
            ):
                try:
                    await attempt()  # type: ignore[no-untyped-call]
                except inngest.StepError as error:
                    caught.append(error.message)
            return caught

        async with connect([(client, [bad, outer])], wait=True):
            result = await gateway.invoke(outer)

    assert result.output == ["inner problem", "'step problem'"]


async def test_the_failure_handler_runs_after_the_last_attempt() -> None:
    async with EmbeddedGateway() as gateway:
        client = make_client(gateway.api_origin)
        handled: list[str] = []

        async def on_failure(ctx: inngest.Context) -> None:
            handled.append(str(ctx.event.data["function_id"]))

        @client.create_function(fn_id="bad", trigger=trigger(), retries=1, on_failure=on_failure)
        async def bad(ctx: inngest.Context) -> None:
            raise ValueError("no")

        async with connect([(client, [bad])], wait=True):
            result = await gateway.invoke(bad)

    assert (result.status, result.attempts) == ("failed", 2)
    assert handled == ["app-bad"]


async def test_a_function_that_no_worker_has_is_a_clear_error() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([app.pair], wait=True):
            with pytest.raises(LookupError, match=r"'app-none'.*app-echo"):
                await gateway.invoke("app-none")


@pytest.mark.scenario("C")
async def test_a_lost_worker_costs_an_attempt_and_the_next_worker_finishes() -> None:
    """The first worker is stopped by force; its lease expires and the run is retried."""
    async with EmbeddedGateway(lease=0.2, lease_grace=0.1, extend_lease_interval="50ms") as gateway:
        app = make_app(gateway)
        client = app.client

        @client.create_function(fn_id="once", trigger=trigger(), retries=1)
        async def once(ctx: inngest.Context) -> str:
            if ctx.attempt == 0:
                app.seen.started.set()
                await app.seen.release.wait()
            return f"attempt {ctx.attempt}"

        with pytest.raises(WorkAbandoned):  # noqa: PT012 - raised at the end of the block
            async with connect([(client, [once])], shutdown_timeout=0.0, wait=True):
                running = asyncio.create_task(gateway.invoke(once))
                await app.seen.started.wait()
        async with connect([(client, [once])], wait=True):
            result = await running

    assert (result.output, result.lost, result.attempts) == ("attempt 1", 1, 2)
    assert gateway.ledger.lost == 1


async def test_the_api_is_as_strict_as_the_real_one() -> None:
    body = pb.SDKResponse(request_id="r", system_trace_ctx=b"{}").SerializeToString()
    async with MockHTTPServer(signing_keys=[KEY]) as api, httpx.AsyncClient() as http:
        good = {"Authorization": SigningKey(KEY).bearer()}
        url = api.origin
        answers = [
            (await http.post(url + START_PATH)).status_code,
            (await http.post(url + START_PATH, headers={"Authorization": "Bearer x"})).status_code,
            (await http.post(url + START_PATH, headers=good)).status_code,
            (await http.post(url + START_PATH, headers=good, content=b"\xff")).status_code,
            (await http.post(url + FLUSH_PATH, headers=good, content=b"")).status_code,
            (await http.post(url + FLUSH_PATH, headers=good, content=b"\x0a\x01r")).status_code,
            (await http.post(url + FLUSH_PATH, headers=good, content=body)).status_code,
        ]
        with pytest.raises(AssertionError, match="was not called"):
            api.assert_endpoint_called("/other")

    assert answers == [401, 401, 500, 400, 400, 400, 200]
    assert list(api.flushed) == ["r"]


async def test_excluded_gateways_are_avoided_while_there_is_another() -> None:
    async with EmbeddedGateway(gateways=2) as gateway, httpx.AsyncClient() as http:

        async def ask(*excluded: str) -> str:
            body = pb.StartRequest(exclude_gateways=excluded).SerializeToString()
            answer = await http.post(gateway.api_origin + START_PATH, content=body)
            return pb.StartResponse.FromString(answer.content).gateway_group

        chosen = {await ask("gateway-0") for _ in range(4)}
        last_resort = await ask("gateway-0", "gateway-1")

    assert chosen == {"gateway-1"}
    assert last_resort in ("gateway-0", "gateway-1")


async def test_the_gateways_messages_can_be_asserted_on() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([app.pair], wait=True):
            server = gateway.gateways[0]
            server.assert_message_received(K.WORKER_CONNECT)
            with pytest.raises(AssertionError, match="did not receive WORKER_REPLY; it received"):
                server.assert_message_received(K.WORKER_REPLY)
            server.simulate_slow_response(5)
            result = await gateway.invoke("app-echo")
            server.simulate_slow_response(0)

    assert result.status == "completed"
    with pytest.raises(AssertionError, match="no open connection"):
        _ = server.connection


async def test_a_proxy_delays_throttles_drops_and_recovers() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with FaultProxy("127.0.0.1", port) as proxy:
        proxy.delay(0.01)
        proxy.throttle(100_000)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"hello")
        answer = await reader.readexactly(5)
        proxy.drop()
        end = await reader.read()
        writer.close()
        await proxy.refuse()
        with pytest.raises(OSError, match=r".+"):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        await proxy.restore()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"again")
        again = await reader.readexactly(5)
        writer.close()
    server.close()
    await server.wait_closed()

    assert (answer, end, again) == (b"hello", b"", b"again")


async def test_a_proxy_to_nowhere_ends_connections() -> None:
    async with FaultProxy("127.0.0.1", 1) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        end = await reader.read()
        writer.close()

    assert end == b""


def test_a_gateway_thread_that_cannot_start_raises_why() -> None:
    with pytest.raises(TypeError, match="nonsense"), GatewayThread(nonsense=1):
        pass


async def test_functions_that_a_function_defers_run_when_it_has_ended() -> None:
    experimental: Any = pytest.importorskip(
        "inngest.experimental.deferred", reason="ctx.defer came with inngest 0.5.20"
    )
    async with EmbeddedGateway() as gateway:
        client = make_client(gateway.api_origin)

        @experimental.create_defer(client, fn_id="child")
        async def child(ctx: Any) -> dict[str, Any]:
            return {"parents": [p.fn_slug for p in ctx.parents], "data": dict(ctx.event.data)}

        @client.create_function(fn_id="parent", trigger=trigger())
        async def parent(ctx: inngest.Context) -> str:
            async def one() -> int:
                return 1

            await ctx.step.run("one", one)
            deferring: Any = ctx
            deferring.defer("later", function=child, data={"n": 1})
            deferring.defer("never", function=child, data={"n": 2}).abort()
            return "parent"

        async with connect([(client, [child, parent])]):
            result = await gateway.invoke(parent)

    assert (result.status, result.output) == ("completed", "parent")
    assert [run.output for run in result.deferred] == [
        {"parents": ["app-parent"], "data": {"n": 1}}
    ]
