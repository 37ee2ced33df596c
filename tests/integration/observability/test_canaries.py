"""Much trouble at the lowest level: no secret and no payload appears in anything written."""

import asyncio
import logging
import traceback
import warnings
from collections.abc import AsyncIterator

import pytest
from starlette.responses import JSONResponse

import inngest_connect
from inngest_connect import ConnectionState
from inngest_connect.protocol import FLUSH_PATH, START_PATH
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import ConnectionTestHarness, EmbeddedGateway
from inngest_connect.testing.model.malformed import MALFORMED
from inngest_connect.transport.signing_key import SigningKey
from tests.integration.demo_apps import App, make_app
from tests.integration.observability.excerpts import KEY, OTHER_KEY, Log

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]
K = pb.GatewayMessageType
PAYLOAD = "payload-canary-77aa"
OURS = ("inngest_connect", "httpx", "httpcore", "picows", "asyncio")


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    log = Log()
    changed = [logging.getLogger(), logging.getLogger("inngest_connect.picows")]
    before = [logger.level for logger in changed]
    for logger in changed:
        logger.addHandler(log)
        logger.setLevel(1)
    yield log
    for logger, level in zip(changed, before, strict=True):
        logger.removeHandler(log)
        logger.setLevel(level)


def make(harness: ConnectionTestHarness, key: str, fallback: str = "") -> App:
    app = make_app(harness.api_origin, is_production=True, signing_key=key)
    app.client._signing_key_fallback = fallback or None
    return app


def echo(*secrets: str) -> JSONResponse:
    """An answer that repeats what it was sent, as some middleware does."""
    return JSONResponse({"error": f"refused {' '.join(secrets)}", "status": 401}, 401)


def tokens(gateway: EmbeddedGateway) -> list[str]:
    """Session and sync tokens of all connections so far."""
    connects = [
        pb.WorkerConnectRequestData.FromString(message.payload)
        for server in gateway.gateways
        for message in server.get_received_messages(K.WORKER_CONNECT)
    ]
    return [t for c in connects for t in (c.auth_data.session_token, c.auth_data.sync_token)]


async def much_trouble(harness: ConnectionTestHarness, written: list[str], log: Log) -> None:
    """Fallback key, requests, a drain, a refusal, nonsense, a lost reply, a forced end."""
    gateway = harness.gateway
    secrets = [OTHER_KEY, *SigningKey(OTHER_KEY).secrets(), KEY, *SigningKey(KEY).secrets()]
    app = make(harness, OTHER_KEY, KEY)
    gateway.http._plan(START_PATH, 1, echo(*secrets))
    worker = await harness.start_worker([app.pair], shutdown_timeout=0.3)
    worker.add_event_listener("draining", lambda _: 1 / 0)
    for name in ("error", "reconnecting", "disconnected", "websocket_close"):
        worker.add_event_listener(name, lambda event: written.append(str(event)))
    await gateway.invoke("app-echo", {"name": "e", "data": {"text": PAYLOAD}})
    await gateway.invoke("app-hopeless", {"name": "e", "data": {"text": PAYLOAD}})
    await harness.simulate_gateway_draining()
    for data in MALFORMED.values():
        gateway.gateways[-1].send_raw(data)
    gateway.gateways[-1].send_text(PAYLOAD)
    session, _ = tokens(gateway)[-2:]
    gateway.gateways[-1].close_connection(1008, session)
    await log.until("connected", 3)
    gateway.http._plan(FLUSH_PATH, None, echo(*secrets, session))
    running = asyncio.create_task(gateway.invoke("app-wait", {"data": {"text": PAYLOAD}}))
    await app.seen.started.wait()
    written.append(str(worker.get_debug_state()))
    await harness.proxies[-1].refuse()
    harness.proxies[-1].reset()
    app.seen.release.set()
    await log.until("flush_failed")
    harness.api_proxy.reset()
    await worker.close(wait=True)
    written.append(str(worker.get_debug_state()))
    running.cancel()


async def refusals_and_a_crash(harness: ConnectionTestHarness, written: list[str]) -> None:
    """No key is accepted, and a bug ends a worker."""
    gateway = harness.gateway
    gateway.http.restore()
    await harness.heal_network_partition()
    gateway.http._plan(START_PATH, 1, echo(OTHER_KEY, *SigningKey(OTHER_KEY).secrets()))
    worker = harness.make_worker([make(harness, OTHER_KEY).pair])
    with pytest.raises(inngest_connect.AuthenticationError) as refused:
        await worker.start()
    written += traceback.format_exception(refused.value)
    crashing = harness.make_worker([make(harness, KEY).pair])
    running = asyncio.create_task(crashing.start())
    await crashing.wait_for_state(ConnectionState.ACTIVE)
    crashing._core.handle = None  # type: ignore[method-assign, assignment]
    await crashing.close(wait=True)
    with pytest.raises(inngest_connect.WorkerCrashed) as crashed:
        await running
    written += traceback.format_exception(crashed.value)
    written.append(str(crashing.get_debug_state()))


@pytest.mark.scenario("security-keys")
async def test_neither_a_secret_nor_a_payload_gets_out(log: Log) -> None:
    written: list[str] = []

    with warnings.catch_warnings(record=True) as warned:
        async with ConnectionTestHarness(signing_keys=(KEY,), gateways=1) as harness:
            await much_trouble(harness, written, log)
            await refusals_and_a_crash(harness, written)
            secrets = {
                *tokens(harness.gateway),
                *(form for key in (KEY, OTHER_KEY) for form in SigningKey(key).secrets()),
                *(key.rpartition("-")[2] for key in (KEY, OTHER_KEY)),
                PAYLOAD,
            }

    log.records = [record for record in log.records if record.name.startswith(OURS)]
    shown = log.everything() + "".join(written) + "".join(str(each.message) for each in warned)
    assert len(secrets) >= 10
    assert [secret for secret in secrets if secret in shown] == []
    happened = (
        "authentication_failed", "request_received", "draining", "malformed_message",
        "code=1008 reason=***", "flush_failed", "listener_failed", "reply_undelivered",
        "worker_crashed", "Send upgrade request",
    )  # fmt: skip
    assert [each for each in happened if each not in shown] == []
