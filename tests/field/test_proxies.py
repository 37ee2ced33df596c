"""One decision on proxies for the API and the gateway, and a proxy that fails is named."""

import asyncio
import socket
import ssl

import pytest
import trustme

from inngest_connect.core import inputs
from inngest_connect.errors import ConfigurationError
from inngest_connect.testing import MockHTTPServer
from inngest_connect.transport.api_client import ApiClient, ApiError
from inngest_connect.transport.environment import proxy_for
from inngest_connect.transport.websocket_manager import WebSocketManager
from tests.field.raw_gateway import dial

pytestmark = pytest.mark.field
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("*", "api.example.com", True),
        ("api.example.com", "api.example.com", True),
        ("API.Example.com", "api.example.com", True),
        ("example.com", "api.example.com", True),
        (".example.com", "api.example.com", True),
        (".example.com", "example.com", True),
        ("*.example.com", "api.example.com", True),
        ("example.com.", "api.example.com", True),
        ("ample.com", "example.com", False),
        ("example.com.test", "example.com", False),
        ("a.test, example.com", "example.com", True),
        ("a.test example.com", "example.com", True),
        ("example.com:443", "example.com", True),
        ("example.com:8443", "example.com", False),
        ("example.com:8443", "example.com:8443", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("fd00::/8", "[fd00::1]", True),
        ("::1", "[::1]", True),
        ("[::1]", "[::1]", True),
        ("[::1]:443", "[::1]", True),
        ("[::1]:444", "[::1]", False),
        ("[::1", "example.com", False),
        ("https://example.com", "example.com", True),
        ("http://example.com", "example.com", False),
        ("all://example.com", "example.com", True),
        ("localhost,127.0.0.1", "localhost", True),
        (",, ,", "example.com", False),
        ("", "example.com", False),
    ],
)
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize("scheme", ["https", "wss"])
def test_no_proxy_is_read_alike_for_both_connections(
    no_proxy: str,
    host: str,
    direct: bool,
    variable: str,
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv(variable, no_proxy)

    chosen = proxy_for(f"{scheme}://{host}/v0/connect")

    assert chosen == (None if direct else "http://proxy.test:3128")


@pytest.mark.parametrize(
    ("variable", "value", "chosen"),
    [
        ("HTTPS_PROXY", "http://p.test:1", "http://p.test:1"),
        ("https_proxy", "http://p.test:1", "http://p.test:1"),
        ("HTTPS_PROXY", "p.test:1", "http://p.test:1"),
        ("HTTPS_PROXY", "SOCKS5H://p.test:1", "socks5h://p.test:1"),
        ("ALL_PROXY", "socks5://p.test:1", "socks5://p.test:1"),
        ("all_proxy", "socks5h://p.test:1", "socks5h://p.test:1"),
        ("HTTP_PROXY", "http://p.test:1", None),
        ("HTTPS_PROXY", "", None),
    ],
)
def test_the_variables_that_name_a_proxy(
    variable: str, value: str, chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    assert proxy_for("wss://gateway.test/") == chosen
    assert proxy_for("https://api.test/") == chosen


@pytest.mark.parametrize(
    "value",
    [
        "http://[::1",
        "http://p:port",
        "http://p:99999",
        "://",
        "ftp://p",
        "socks4://user:secret@p:1",
        "socks4a://user:secret@p:1",
        "http://user:se#cret@p:1",
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable(
    value: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError, match=f"{variable} is ") as refused:
        proxy_for("wss://gateway.test/")

    assert "cret" not in str(refused.value)


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("kind", ["http", "https", "socks5", "socks5h"])
async def test_a_dead_proxy_is_named_as_the_cause_of_a_failed_dial(kind: str) -> None:
    port = unused_port()
    emitted: list[inputs.Input] = []
    manager = WebSocketManager(1, 1024, emitted.append, lambda: None)

    proxy = f"{kind}://user:secret@127.0.0.1:{port}"
    await asyncio.wait_for(manager.run("wss://gateway.test/", timeout=10.0, proxy=proxy), 20)

    (end,) = emitted
    assert isinstance(end, inputs.SocketClosed)
    assert end.error is not None
    assert end.error.startswith(f"through the proxy 127.0.0.1:{port}: ConnectionRefusedError")
    assert "secret" not in end.error


async def test_a_dead_proxy_is_named_as_the_cause_of_a_failed_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = unused_port()
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@127.0.0.1:{port}")
    api = ApiClient("http://api.test", None, (), 10.0)

    with pytest.raises(ApiError) as failed:
        await api.start((), 0)
    await api.aclose()

    assert f"through the proxy 127.0.0.1:{port}" in str(failed.value)
    assert "secret" not in str(failed.value)


async def test_the_http_client_decides_by_our_rules_and_not_by_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its own do not know networks: it would call through the proxy, and the socket would not."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
    async with MockHTTPServer() as api:
        api.add_gateway("g", "ws://gateway/")
        client = ApiClient(api.origin, None, (), 5.0)
        answer = await client.start((), 0)
        await client.aclose()

    assert answer.gateway_group == "g"


async def test_a_proxy_that_refuses_is_named() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    proxy = "http://127.0.0.1:{port}"
    emitted, port = await dial(refuse, "wss://gateway.test/", timeout=10.0, limit=20, proxy=proxy)

    (end,) = emitted
    assert isinstance(end, inputs.SocketClosed)
    assert end.error is not None
    assert end.error.startswith(f"through the proxy 127.0.0.1:{port}: ")
    assert "407" in end.error


async def test_the_authorities_of_the_gateway_verify_an_encrypted_proxy_too() -> None:
    authority = trustme.CA()
    of_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(of_server)
    of_client = ssl.create_default_context()
    authority.configure_trust(of_client)
    asked: list[bytes] = []
    emitted: list[inputs.Input] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0, ssl=of_server)
    proxy = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    manager = WebSocketManager(1, 1024, emitted.append, lambda: None)
    dialing = manager.run("wss://gateway.test/", timeout=10.0, ssl_context=of_client, proxy=proxy)
    await asyncio.wait_for(dialing, 20)
    server.close()

    (end,) = emitted
    assert isinstance(end, inputs.SocketClosed)
    assert "407" in (end.error or "")
    assert asked[0].startswith(b"CONNECT gateway.test:443 ")


async def test_a_proxy_that_ends_the_connection_before_the_upgrade_is_named() -> None:
    """It has connected, so whether it or the gateway has ended the connection is not known."""

    async def connect_and_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    proxy = "http://user:secret@127.0.0.1:{port}"
    emitted, port = await dial(
        connect_and_end, "ws://gateway.test/", timeout=10.0, limit=20, proxy=proxy
    )

    (end,) = emitted
    assert isinstance(end, inputs.SocketClosed)
    assert end.error is not None
    assert end.error.startswith(f"through the proxy 127.0.0.1:{port}: the connection ended")
