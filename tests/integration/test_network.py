"""TLS, certificate authorities and proxies, for the HTTP calls and for the WebSocket alike."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from inngest_connect import ErrorOccurred, FixedRetry, WebSocketFailed, connect
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import QUICK_TIMING, MockHTTPServer, MockWebSocketServer
from tests.integration.demo_apps import make_app
from tests.integration.secure_servers import ConnectProxy, encrypted

K = pb.GatewayMessageType
pytestmark = pytest.mark.integration
KEY = "signkey-test-" + "ab" * 32


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def authority_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def connects(api: MockHTTPServer, gateway: MockWebSocketServer) -> None:
    """A production worker with that API becomes ready and closes again."""
    app = make_app(api.origin, is_production=True, signing_key=KEY)
    worker = connect([app.pair], shutdown_signals=[], timing=QUICK_TIMING, retry=FixedRetry(0.05))
    started = asyncio.create_task(worker.start())
    await gateway.wait_for_message(K.WORKER_CONNECT)
    gateway.send_connection_ready()
    await gateway.wait_for_message(K.WORKER_READY)
    await worker.close(wait=True)
    await started


@pytest.mark.scenario("S")
async def test_a_private_authority_holds_for_both_connections(
    authority: trustme.CA, authority_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", authority_file)
    async with encrypted(authority) as (api, gateway):
        await connects(api, gateway)

    assert api.origin.startswith("https:")
    assert gateway.url.startswith("wss:")


@pytest.mark.scenario("S")
async def test_an_unknown_authority_is_refused_by_both_connections(
    authority: trustme.CA, authority_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[ErrorOccurred] = []
    failures: list[WebSocketFailed] = []
    reported = asyncio.Event()
    listeners: dict[str, Callable[..., object]] = {
        "error": lambda e: (errors.append(e), reported.set()),
        "websocket_error": failures.append,
    }
    async with encrypted(authority) as (api, gateway):
        for origin in (api.origin, None):
            reported.clear()
            async with MockHTTPServer() as plain:
                plain.add_gateway(gateway.name, gateway.url)
                app = make_app(origin or plain.origin)
                worker = connect([app.pair], shutdown_signals=[], timing=QUICK_TIMING, on=listeners)
                started = asyncio.create_task(worker.start())
                await reported.wait()
                await worker.close(wait=True)
                await started

    assert "CERTIFICATE_VERIFY_FAILED" in errors[0].message
    assert "certificate was not accepted" in failures[0].message


@pytest.mark.scenario("S")
async def test_a_certificate_for_another_name_is_refused(
    authority: trustme.CA, authority_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", authority_file)
    failed = asyncio.Event()
    async with encrypted(authority, "elsewhere.example") as (api, _):
        app = make_app(api.origin)
        worker = connect(
            [app.pair],
            shutdown_signals=[],
            timing=QUICK_TIMING,
            on={"error": lambda _: failed.set()},
        )
        started = asyncio.create_task(worker.start())
        await failed.wait()
        await worker.close(wait=True)
        await started

    assert worker.get_state_history()[0].state.value != "ACTIVE"


@pytest.mark.scenario("security-proxy")
async def test_the_proxy_of_the_environment_carries_both_connections(
    authority: trustme.CA, authority_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", authority_file)
    async with ConnectProxy() as proxy, encrypted(authority) as (api, gateway):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        await connects(api, gateway)

    assert proxy.asked == [f"127.0.0.1:{api.port}", f"127.0.0.1:{gateway.port}"]


@pytest.mark.scenario("security-proxy")
async def test_no_proxy_holds_for_both_connections(
    authority: trustme.CA, authority_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", authority_file)
    async with ConnectProxy() as proxy, encrypted(authority) as (api, gateway):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        await connects(api, gateway)

    assert proxy.asked == []


@pytest.mark.scenario("security-downgrade")
async def test_an_unencrypted_gateway_of_an_encrypted_api_is_refused(
    authority: trustme.CA, authority_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Security: downgrade. The session token would travel in clear."""
    monkeypatch.setenv("SSL_CERT_FILE", authority_file)
    errors: list[ErrorOccurred] = []
    reported = asyncio.Event()
    async with encrypted(authority) as (api, _), MockWebSocketServer(greet=True) as plain:
        api.gateways = []
        api.add_gateway(plain.name, plain.url)
        app = make_app(api.origin)
        worker = connect(
            [app.pair],
            shutdown_signals=[],
            timing=QUICK_TIMING,
            on={"error": lambda e: (errors.append(e), reported.set())},
        )
        started = asyncio.create_task(worker.start())
        await reported.wait()
        await worker.close(wait=True)
        await started

    assert errors[0].kind == "gateway_endpoint_refused"
    assert "in clear" in errors[0].message
    assert plain.connections == []


@pytest.mark.scenario("security-compression")
async def test_pings_are_answered_and_no_compression_is_offered() -> None:
    """RFC 6455 section 5.5.3; security, decompression bomb."""
    async with MockHTTPServer() as api, MockWebSocketServer(greet=True) as gateway:
        api.add_gateway(gateway.name, gateway.url)
        app = make_app(api.origin)
        worker = connect([app.pair], shutdown_signals=[], timing=QUICK_TIMING)
        started = asyncio.create_task(worker.start())
        await gateway.wait_for_message(K.WORKER_CONNECT)
        gateway.send_connection_ready()
        await gateway.wait_for_message(K.WORKER_READY)
        gateway.connection.send_ping(b"are you there")
        pong = await asyncio.wait_for(gateway.connection.pongs.get(), 10)
        await worker.close(wait=True)
        await started

    assert pong == b"are you there"
    (headers,) = gateway.upgrade_headers
    assert "sec-websocket-extensions" not in headers
    assert headers["sec-websocket-protocol"] == "v0.connect.inngest.com"
    assert "origin" not in headers
