"""What the doctor says of the API, the gateway and the conversation with it."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from inngest_connect.cli.doctor.findings import Mark, Result
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import EmbeddedGateway, MockHTTPServer, MockWebSocketServer
from tests.integration.cli.examining import (
    FALLBACK_KEY,
    KEY,
    diagnose,
    first_failure,
    said,
)

K = pb.GatewayMessageType
pytestmark = pytest.mark.integration


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MockHTTPServer]:
    """An API in production mode, which names no gateway yet."""
    async with MockHTTPServer(signing_keys=[KEY]) as server:
        monkeypatch.setenv("INNGEST_API_BASE_URL", server.origin)
        monkeypatch.setenv("INNGEST_SIGNING_KEY", KEY)
        yield server


def redirect(api: MockHTTPServer) -> None:
    api.simulate_redirect("http://login.example/")


@pytest.mark.parametrize(
    ("fault", "status", "remedy"),
    [
        (lambda api: api.simulate_auth_failure(status=401), 401, "signing key of this environment"),
        (lambda api: api.simulate_auth_failure(status=403), 403, "signing key"),
        (lambda api: api.simulate_rate_limiting(retry_after=7), 429, "asks to wait 7 s"),
        (lambda api: api.simulate_server_error(), 500, "status page"),
        (lambda api: api.simulate_server_error(status=404), 404, "INNGEST_API_BASE_URL"),
        (redirect, 302, "captive portal"),
        # Text with status 200 is a page of somebody else's.
        (lambda api: api.simulate_server_error(status=200), None, "captive portal"),
    ],
)
async def test_each_refusal_of_the_api_has_its_remedy(
    api: MockHTTPServer,
    fault: Callable[[MockHTTPServer], None],
    status: int | None,
    remedy: str,
) -> None:
    fault(api)

    failure = first_failure(await diagnose())

    assert failure.number == 7
    assert failure.finding.data["status"] == status
    assert remedy in said(failure)


async def test_an_api_without_a_gateway_says_so(api: MockHTTPServer) -> None:
    failure = first_failure(await diagnose())

    assert failure.number == 7
    assert "no gateway found" in said(failure)


async def test_the_fallback_key_serves_and_the_refused_one_is_a_warning(
    api: MockHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INNGEST_SIGNING_KEY", FALLBACK_KEY)
    monkeypatch.setenv("INNGEST_SIGNING_KEY_FALLBACK", KEY)
    api.add_gateway("gateway", "ws://127.0.0.1:1/")

    results = await diagnose()

    assert results[6].mark is Mark.WARN
    assert "the key ***cdcd was refused" in said(results[6])
    assert first_failure(results).number == 8


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("http://127.0.0.1/", "its scheme is not ws:// or wss://"),
        ("ws://user:secret-word@127.0.0.1/", "user information"),
        ("ws://no-such-gateway.invalid/", "does not exist"),
    ],
)
async def test_a_gateway_address_that_cannot_be_used(
    api: MockHTTPServer, address: str, text: str
) -> None:
    api.add_gateway("gateway", address)

    failure = first_failure(await diagnose())

    assert failure.number == 8
    assert text in said(failure)
    assert "secret-word" not in said(failure)


async def test_the_gateway_of_the_variable_is_dialled(
    api: MockHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.add_gateway("gateway", "ws://no-such-gateway.invalid/")
    async with MockWebSocketServer() as gateway:
        monkeypatch.setenv("INNGEST_CONNECT_GATEWAY_URL", gateway.url)
        results = await diagnose(handshake=False)

    assert results[8].mark is Mark.OK
    assert "instead of ws://no-such-gateway.invalid/" in said(results[7])


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(403, "firewall"), (302, "final address"), (502, "or a proxy before it, fails")],
)
async def test_a_refused_upgrade(api: MockHTTPServer, status: int, remedy: str) -> None:
    async with MockWebSocketServer() as gateway:
        api.add_gateway(gateway.name, gateway.url)
        gateway.refuse_upgrades = status
        failure = first_failure(await diagnose())

    assert failure.number == 9
    assert f"HTTP {status}" in said(failure)
    assert remedy in said(failure)


async def test_an_upgrade_with_another_subprotocol(api: MockHTTPServer) -> None:
    async with MockWebSocketServer(subprotocol="v9.example") as gateway:
        api.add_gateway(gateway.name, gateway.url)
        failure = first_failure(await diagnose())

    assert failure.number == 9
    assert "Sec-WebSocket-Protocol" in said(failure)


async def handshake(
    api: MockHTTPServer,
    act: Callable[[MockWebSocketServer], None] | None = None,
    *,
    greet: bool = True,
    impatient_after: int | None = None,
) -> list[Result]:
    """Examine a scripted gateway, which acts after WORKER_CONNECT."""
    async with MockWebSocketServer(greet=greet) as gateway:
        api.add_gateway(gateway.name, gateway.url)
        running = asyncio.create_task(diagnose(impatient_after=impatient_after))
        if act is not None:
            await gateway.wait_for_message(K.WORKER_CONNECT)
            act(gateway)
        return await running


@pytest.mark.parametrize(
    ("greet", "text"), [(False, "waiting for GATEWAY_HELLO"), (True, "GATEWAY_CONNECTION_READY")]
)
async def test_a_gateway_that_falls_silent(api: MockHTTPServer, greet: bool, text: str) -> None:
    failure = first_failure(await handshake(api, greet=greet, impatient_after=9))

    assert failure.number == 10
    assert text in said(failure)


async def test_a_failed_synchronisation_is_told_in_the_servers_words(api: MockHTTPServer) -> None:
    results = await handshake(
        api, lambda gateway: gateway.send_sync_failed("invalid_cron", "'* *' is no cron")
    )

    failure = first_failure(results)
    assert failure.number == 10
    assert "invalid_cron '* *' is no cron" in said(failure)
    assert results[11].finding.blocked_by == "handshake"


@pytest.mark.parametrize(
    ("code", "reason", "remedy"),
    [
        (1008, "connect_worker_hello_invalid_payload", "An app without functions"),
        (1008, "somebody_said_no", "synchronizes apps"),
        (1011, "connect_internal_error", "function configurations"),
        (1001, "connect_gateway_closing", "run the doctor again"),
    ],
)
async def test_each_close_code_has_its_remedy(
    api: MockHTTPServer, code: int, reason: str, remedy: str
) -> None:
    failure = first_failure(
        await handshake(api, lambda gateway: gateway.close_connection(code, reason))
    )

    assert failure.number == 10
    assert f"{code} {reason}" in said(failure)
    assert remedy in said(failure)


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda gateway: gateway.simulate_connection_drop(), "closed the connection: 1006"),
        (lambda gateway: gateway.send_draining_message(), "is draining"),
        (lambda gateway: gateway.send_malformed("garbage"), "could not be read"),
        (lambda gateway: gateway.send_heartbeat(), "not allowed"),
    ],
)
async def test_a_handshake_that_goes_wrong(
    api: MockHTTPServer, act: Callable[[MockWebSocketServer], None], text: str
) -> None:
    failure = first_failure(await handshake(api, act))

    assert failure.number == 10
    assert text in said(failure)


async def test_intervals_that_are_unusable_are_a_warning(api: MockHTTPServer) -> None:
    results = await handshake(
        api,
        lambda gateway: gateway.send_connection_ready(heartbeat_interval="soon"),
        impatient_after=10,
    )

    assert results[9].mark is Mark.WARN
    assert "heartbeat_interval 'soon' is unusable" in said(results[9])


async def test_heartbeats_without_an_answer_and_still_a_clean_close(api: MockHTTPServer) -> None:
    results = await handshake(
        api, lambda gateway: gateway.send_connection_ready(), impatient_after=10
    )

    assert first_failure(results).number == 11
    assert "heartbeat 1 of 3 had no answer" in said(results[10])
    assert results[11].mark is not Mark.SKIP


async def test_a_refusing_model_of_the_real_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    async with EmbeddedGateway() as gateway:
        monkeypatch.setenv("INNGEST_DEV", gateway.api_origin)
        gateway.store.model.sync_failure = ("no", "not today")
        failure = first_failure(await diagnose())

    assert failure.number == 10
    assert "no not today" in said(failure)
