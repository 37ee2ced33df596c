"""The test kit beside parts of the API that only some functions use, and on other addresses."""

import socket
import sqlite3
import sys
from types import ModuleType
from typing import Any

import inngest
import pytest
from inngest.experimental import ai, realtime

from inngest_connect.testing import ConnectionTestHarness, EmbeddedGateway, GatewayThread
from tests.integration.demo_apps import make_client

pytestmark = pytest.mark.integration
TRIGGER = inngest.TriggerEvent(event="x")


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def asking(client: inngest.Inngest) -> inngest.Function[Any]:
    @client.create_function(fn_id="ask", trigger=TRIGGER, retries=0)
    async def ask(ctx: inngest.Context) -> dict[str, object]:
        adapter = ai.openai.Adapter(auth_key="none", model="gpt")
        return await ctx.step.ai.infer("answer", adapter=adapter, body={"messages": []})

    return ask


async def test_an_inference_without_a_mock_fails_with_what_to_do(
    embedded_gateway: EmbeddedGateway,
) -> None:
    client = make_client(embedded_gateway.api_origin)
    ask = asking(client)

    async with embedded_gateway.connect([(client, [ask])]):
        failed = await embedded_gateway.invoke(ask)
        mocked = await embedded_gateway.invoke(ask, steps={"answer": {"choices": []}})

    assert failed.status == "failed"
    assert "mock it with steps={'answer': what it answers}" in failed.error["message"]
    assert mocked.output == {"choices": []}


def test_what_is_published_is_kept(gateway_thread: GatewayThread) -> None:
    client = make_client(gateway_thread.api_origin)

    @client.create_function(fn_id="publish", trigger=TRIGGER, retries=0)
    async def publish(ctx: inngest.Context) -> list[Any]:
        await realtime.publish(client=client, channel="user:1", topic="news", data={"a": 1})
        token = await realtime.get_subscription_token(
            client=client, channel="user:1", topics=["news"]
        )
        return [token["channel"], token["topics"]]

    with gateway_thread.connect([(client, [publish])]):
        result = gateway_thread.invoke(publish)

    assert result.output == ["user:1", ["news"]]
    assert gateway_thread.published == [{"channel": "user:1", "topic": "news", "data": {"a": 1}}]


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
@pytest.mark.parametrize("kit", [EmbeddedGateway, ConnectionTestHarness])
async def test_a_gateway_listens_on_ipv6(kit: type[Any]) -> None:
    async with kit(host="::1") as server:
        gateway = getattr(server, "gateway", server)
        client = gateway.client("app")

        @client.create_function(fn_id="f", trigger=TRIGGER)
        async def f(ctx: inngest.Context) -> str:
            return "done"

        async with gateway.connect([(client, [f])]):
            result = await gateway.invoke(f)

    assert result.output == "done"
    assert gateway.http.origin.startswith("http://[::1]:")


def test_a_table_that_the_test_has_locked_is_explained_beside_django(
    gateway_thread: GatewayThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(gateway_thread.api_origin)
    monkeypatch.setitem(sys.modules, "django.db", ModuleType("django.db"))

    @client.create_function(fn_id="count", trigger=TRIGGER, retries=0)
    def count(ctx: inngest.ContextSync) -> None:
        raise sqlite3.OperationalError("database table is locked")

    @client.create_function(fn_id="other", trigger=TRIGGER, retries=0)
    def other(ctx: inngest.ContextSync) -> None:
        raise sqlite3.OperationalError("no such table: shop")

    with gateway_thread.connect([(client, [count, other])]):
        locked, failed = gateway_thread.invoke(count), gateway_thread.invoke(other)

    assert locked.error["message"].startswith("database table is locked: the test holds a tran")
    assert "TransactionTestCase" in locked.error["message"]
    assert failed.error["message"] == "no such table: shop"
