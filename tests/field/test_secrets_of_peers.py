"""What a peer places in texts, ids and addresses carries no secret and no escape sequence out."""

import asyncio
import json
import logging
import time
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from inngest_connect.core.events import ErrorOccurred
from inngest_connect.observability.redaction import Redactor
from inngest_connect.protocol import START_PATH
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.state_machine import ConnectionState
from inngest_connect.status import StatusServer
from inngest_connect.testing import (
    QUICK_TIMING,
    MockHTTPServer,
    MockWebSocketServer,
    executor_request,
)
from inngest_connect.transport.api_client import ApiClient, ApiError
from inngest_connect.transport.signing_key import SigningKey
from tests.field.one_function import worker_of

pytestmark = pytest.mark.field
KEY = "signkey-prod-" + "3c" * 8 + "9f" * 8 + "b07d" * 8
HASH = SigningKey(KEY).secrets()[1]
TOKEN = "eyJhbGciOiJIUzI1NiJ9.c2Vzc2lvbi10b2tlbi1vZi10aGUtcGVlcg.Zm9yLXRlc3Rz"
SECRETS = {"key": KEY.removeprefix("signkey-prod-"), "hash": HASH, "token": TOKEN}
HOSTILE = "a\x1b[31mred\x07\r\nINFO forged line\u202ereversed\x9b2J"


def parts_of(secret: str, size: int) -> set[str]:
    return {secret[i : i + size].lower() for i in range(len(secret) - size + 1)}


def shows_a_part(text: str, secret: str) -> bool:
    """Whether eight characters of it, one after the other, can be read."""
    return bool(parts_of(text, 8) & parts_of(secret, 8))


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    "cut",
    [
        lambda s: s,
        lambda s: s[:56],
        lambda s: s[8:],
        lambda s: s[5:-7],
        lambda s: s[10:18],
        lambda s: f"x{s[:20]}y{s[20:]}z",
        lambda s: s.upper(),
        lambda s: "\n".join(s[i : i + 16] for i in range(0, len(s), 16)),
        lambda s: f"Bearer {s[3:]}",
        lambda s: s.replace(".", "%2E"),
    ],
)
def test_a_part_of_a_secret_is_masked_wherever_it_is(name: str, cut: Any) -> None:
    redactor = Redactor([KEY, HASH])
    redactor.learn(TOKEN)
    text = f"refused {cut(SECRETS[name])} by the gateway"

    shown = redactor.text(text)

    assert not shows_a_part(shown, SECRETS[name])
    assert shown.startswith("refused ")
    assert "***" in shown


def test_text_without_a_secret_is_not_changed() -> None:
    redactor = Redactor([KEY, HASH])
    redactor.learn(TOKEN)
    text = (
        "run 01J8ZK4M4T3R2Q1P0N9M8L7K6J of shop-pay-order: HTTP 503 from https://api.inngest.com/v0"
    )

    assert redactor.text(text) == text
    assert redactor.id("01J8ZK4M4T3R2Q1P0N9M8L7K6J") == "01J8ZK4M4T3R2Q1P0N9M8L7K6J"


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("cut", [slice(None), slice(0, 30), slice(4, 40), slice(-20, None)])
def test_an_id_made_of_a_secret_is_not_shown(name: str, cut: slice) -> None:
    redactor = Redactor([KEY, HASH])
    redactor.learn(TOKEN)

    for text in (SECRETS[name][cut], f"run-{SECRETS[name][cut]}"):
        assert not shows_a_part(redactor.id(text), SECRETS[name])


@pytest.mark.scenario("security-logs")
@pytest.mark.parametrize("text", ["x" * 65, "x" * 500_000, HOSTILE, "\udcff", "\u202e"])
def test_an_id_of_unusual_form_is_short_and_printable(text: str) -> None:
    shown = Redactor().id(text)

    assert len(shown) <= 200
    assert shown.isprintable()


def test_masking_costs_no_more_than_the_length_of_the_text() -> None:
    redactor = Redactor([KEY])
    texts = ["a" * 400_000, "://" * 130_000 + "@", "bearer " * 60_000, "signkey-" * 50_000]
    begun = time.process_time()

    redactor.learn("t" * 500_000)
    for text in texts:
        redactor.text(text)

    assert time.process_time() - begun < 5.0  # usually 0.2 s; it was 15 s for the token alone


@pytest.mark.parametrize(
    "text",
    [
        "dialing wss://user:pa55w@gateway:1/x failed",
        "dialing wss://user:pa/ss?w@gateway:1/x failed",
        "proxy http://pa55w@proxy, and http://user:pa55w@proxy:3128",
        "'https://user:pa55w@api'",
    ],
)
def test_user_information_of_an_address_is_masked_in_every_text(text: str) -> None:
    shown = Redactor().text(text)

    assert "pa" not in shown.replace("proxy", "").replace("api", "")
    assert "***@" in shown


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("session_token", "t" * 500_000),
        ("sync_token", "t" * 500_000),
        ("connection_id", "c" * 5000),
        ("gateway_group", "g" * 5000),
        ("gateway_endpoint", "ws://" + "h" * 5000),
    ],
)
async def test_an_answer_with_a_field_of_impossible_length_is_malformed(
    field: str, value: str
) -> None:
    fields = {
        "connection_id": "c", "gateway_endpoint": "ws://h", "gateway_group": "g",
        "session_token": "s", "sync_token": "y", field: value,
    }  # fmt: skip
    async with MockHTTPServer() as api:
        api._plan(START_PATH, None, Response(pb.StartResponse(**fields).SerializeToString()))
        client = ApiClient(api.origin, None, (), 5.0)
        with pytest.raises(ApiError, match="did not answer with a StartResponse"):
            await client.start((), 0)
        await client.aclose()


class Everything(logging.Handler):
    """All that reaches a log, as text."""

    def __init__(self) -> None:
        super().__init__(1)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        shown = {k: v for k, v in record.__dict__.items() if k not in ("args", "created")}
        self.texts.append(f"{record.getMessage()} {shown!r}")
        assert record.getMessage().isprintable(), record.getMessage()


@pytest.mark.scenario("security-keys", "security-logs")
async def test_a_hostile_gateway_reaches_no_log_no_event_and_no_page_unmasked() -> None:
    log = Everything()
    logger = logging.getLogger("test_secrets_of_peers")
    logger.setLevel(1)
    logger.propagate = False
    logger.addHandler(log)
    events: list[Any] = []
    async with MockHTTPServer(signing_keys=[KEY]) as api, MockWebSocketServer() as gateway:
        answer = pb.StartResponse(
            connection_id=TOKEN, gateway_endpoint=gateway.url, gateway_group=HOSTILE,
            session_token=TOKEN, sync_token=HASH,
        )  # fmt: skip
        bad = pb.StartResponse(
            connection_id="c", gateway_endpoint="ws://me:pa55w@gateway/", session_token=TOKEN
        )
        for one in (bad, answer):
            api._plan(START_PATH, 1, Response(one.SerializeToString()))
        names = ("error", "connected", "request_received", "request_started", "disconnected")
        worker = worker_of(
            api.origin.replace("//", "//me:pa55w@"),
            client={"signing_key": KEY, "is_production": True},
            logger=logger,
            timing=QUICK_TIMING,
            on=dict.fromkeys(names, events.append),
        )
        server = StatusServer(worker, "127.0.0.1:0")
        url = server.start()
        ended = asyncio.Event()
        worker.add_event_listener("disconnected", lambda _: ended.set())
        running = asyncio.create_task(worker.start())
        await gateway.wait_for_connection()
        gateway.send_gateway_hello()
        await gateway.wait_for_message(pb.GatewayMessageType.WORKER_CONNECT)
        gateway.send_connection_ready()
        await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), 10)
        for request_id, run_id, slug in (
            (TOKEN, HASH, "app-f"), (HASH[:40], HOSTILE, "app-f"), ("r3", TOKEN[5:50], HOSTILE),
            ("r4" * 40_000, "run", "app-f"),
        ):  # fmt: skip
            request = executor_request("app", slug, {"name": "x"}, request_id=request_id)
            request.run_id = run_id
            gateway.send_executor_request(request)
        await gateway.wait_for_message(pb.GatewayMessageType.WORKER_REPLY, count=3)
        async with httpx.AsyncClient() as http:
            pages = [(await http.get(url + path)).text for path in ("/state.json", "/", "/metrics")]
        state = repr(worker.get_debug_state())
        gateway.close_connection(code=1008, reason=f"bad token {TOKEN[3:60]}")
        await asyncio.wait_for(ended.wait(), 10)
        await worker.close()
        await asyncio.wait_for(running, 10)
        server.stop()
    logger.removeHandler(log)

    assert len(events) > 8
    shown = [*log.texts, *map(repr, events), *pages, state, json.dumps(state)]
    for text in shown:
        assert "pa55w" not in text
        for name, secret in SECRETS.items():
            assert not shows_a_part(text, secret), (name, text)
        assert not any(c in text for c in "\x1b\x07\x9b\u202e"), text
        assert len(text) < 200_000


async def test_a_signing_key_that_the_api_repeats_is_masked_in_the_error() -> None:
    errors: list[ErrorOccurred] = []
    async with MockHTTPServer() as api:
        body = json.dumps({"error": f"key {HASH[:56]} is unknown {'x' * 900_000}", "status": 401})
        api._plan(START_PATH, None, Response(body, 401))
        worker = worker_of(
            api.origin,
            client={"signing_key": KEY, "is_production": True},
            on={"error": errors.append},
        )
        with pytest.raises(Exception, match="HTTP 401") as caught:
            await asyncio.wait_for(worker.start(), 10)

    for text in (str(caught.value), *(error.message for error in errors)):
        assert not shows_a_part(text, HASH)
        assert len(text) < 2000
