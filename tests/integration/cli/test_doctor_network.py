"""What the doctor says of names, addresses, certificates and proxies."""

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from inngest_connect.cli.doctor.examination import from_environment
from inngest_connect.cli.doctor.findings import Mark, Result
from inngest_connect.cli.doctor.network import Endpoint, ProxyRefused, open_tunnel
from inngest_connect.errors import ConfigurationError
from inngest_connect.testing import MockHTTPServer
from tests.integration.cli.examining import PATIENCE, diagnose, first_failure, said
from tests.integration.secure_servers import ConnectProxy, encrypted

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return trust(authority, tmp_path, monkeypatch)


def trust(authority: trustme.CA, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Bound, so that nobody else gets it; not listening, so that it refuses."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def test_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_DEV", "http://no-such-host.invalid:8288")

    failure = first_failure(await diagnose())

    assert failure.number == 3
    assert "no-such-host.invalid" in said(failure)
    assert "INNGEST_DEV" in said(failure)


async def test_a_port_that_is_closed(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    monkeypatch.setenv("INNGEST_DEV", f"http://127.0.0.1:{closed_port}")

    failure = first_failure(await diagnose())

    assert failure.number == 4
    assert f"port {closed_port} of 127.0.0.1: refused" in said(failure)
    assert "start the development server" in said(failure)


async def tls_result(monkeypatch: pytest.MonkeyPatch, origin: str) -> Result:
    """The check of the API's TLS; a failed one has to be the first that failed."""
    monkeypatch.setenv("INNGEST_DEV", origin)
    results = await diagnose(handshake=False)
    if results[4].mark is Mark.FAIL:
        assert first_failure(results).number == 5
        assert results[6].finding.blocked_by == "API TLS"
    return results[4]


async def test_a_good_certificate_is_told_with_its_name_and_end(
    authority: trustme.CA, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with encrypted(authority, not_after=datetime.now(UTC) + timedelta(days=40)) as (api, _):
        result = await tls_result(monkeypatch, api.origin)

    assert result.mark is Mark.OK
    assert "TLSv1.3" in said(result)
    assert "127.0.0.1" in said(result)
    assert "(39 days)" in said(result)
    assert result.finding.data["names"] == ["127.0.0.1"]


async def test_a_certificate_that_ends_soon_is_a_warning(
    authority: trustme.CA, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = datetime.now(UTC) + timedelta(days=13)
    async with encrypted(authority, not_after=ends) as (api, _):
        result = await tls_result(monkeypatch, api.origin)

    assert result.mark is Mark.WARN
    assert f"expires on {ends:%Y-%m-%d}" in said(result)


async def test_an_expired_certificate(
    authority: trustme.CA, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = datetime.now(UTC) - timedelta(days=3)
    async with encrypted(authority, not_after=ended) as (api, _):
        result = await tls_result(monkeypatch, api.origin)

    assert result.mark is Mark.FAIL
    assert f"expired on {ended:%Y-%m-%d}" in said(result)
    assert "the clock" in said(result)


async def test_a_certificate_for_another_host(
    authority: trustme.CA, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with encrypted(authority, "elsewhere.example") as (api, _):
        result = await tls_result(monkeypatch, api.origin)

    assert result.mark is Mark.FAIL
    assert "for elsewhere.example, not for 127.0.0.1" in said(result)


async def test_an_authority_that_was_replaced(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = trust(trustme.CA(), tmp_path, monkeypatch)
    async with encrypted(authority) as (api, _):
        result = await tls_result(monkeypatch, api.origin)

    assert result.mark is Mark.FAIL
    assert "unknown authority" in said(result)
    assert result.finding.data["issuer"] in said(result)
    assert f"into {former}" in said(result)


async def test_an_authority_that_certifi_does_not_know(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with encrypted(authority) as (api, _):
        result = await tls_result(monkeypatch, api.origin)

    assert "set SSL_CERT_FILE to a PEM file" in said(result)


async def test_a_self_signed_certificate(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "own.pem"
    authority.private_key_pem.write_to_path(str(file))
    authority.cert_pem.write_to_path(str(file), append=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    async with MockHTTPServer(ssl_context=context) as api:
        result = await tls_result(monkeypatch, api.origin)

    assert result.mark is Mark.FAIL
    assert "is self-signed" in said(result)


async def test_a_server_that_speaks_no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    async with MockHTTPServer() as api:
        result = await tls_result(monkeypatch, api.origin.replace("http:", "https:"))

    assert result.mark is Mark.FAIL
    assert "does not speak TLS" in said(result)


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("SSL_CERT_FILE", "/nowhere/ca.pem", "a readable PEM file"),
        ("HTTPS_PROXY", "ftp://127.0.0.1:21", "HTTPS_PROXY is"),
    ],
)
def test_a_variable_with_which_no_client_can_be_made(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, remedy: str
) -> None:
    monkeypatch.setenv("INNGEST_DEV", "1")
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError, match=remedy):
        from_environment()


async def test_a_proxy_carries_everything_and_the_reason_is_told(
    authority: trustme.CA, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ConnectProxy() as proxy, encrypted(authority) as (api, gateway):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("INNGEST_DEV", api.origin)
        results = await diagnose(handshake=False)
        asked = set(proxy.asked)
        upgrades = len(gateway.connections)

    assert {one.number for one in results if one.mark is Mark.SKIP} == {3, 4, 10, 11}
    assert not any(one.mark is Mark.FAIL for one in results)
    assert "because of HTTPS_PROXY" in said(results[5])
    assert asked == {f"127.0.0.1:{api.port}", f"127.0.0.1:{gateway.port}"}
    assert upgrades == 1


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        ("407 Proxy Authentication Required", "http://user:password@host:port"),
        ("403 Forbidden", "let the proxy allow connect to 127.0.0.1"),
    ],
)
async def test_a_proxy_that_refuses(
    monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, status: str, remedy: str
) -> None:
    async with ConnectProxy(refuse_with=status) as proxy, encrypted(authority) as (api, _):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("INNGEST_DEV", api.origin)
        results = await diagnose()

    failure = first_failure(results)
    assert failure.number == 6
    assert status[:3] in said(failure)
    assert remedy in said(failure).lower()
    assert results[4].mark is Mark.SKIP


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
async def test_a_tunnel_is_tried_through_every_kind_of_proxy(closed_port: int, scheme: str) -> None:
    proxy = f"{scheme}://user:hunter22@127.0.0.1:{closed_port}"

    with pytest.raises(ProxyRefused, match="it cannot be reached") as refused:
        await open_tunnel(Endpoint("api.invalid", 443, True, proxy), None, PATIENCE)

    assert f"{scheme}://***@127.0.0.1:{closed_port}" in str(refused.value)
    assert "hunter22" not in str(refused.value)


async def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://user:hunter22@127.0.0.1:{closed_port}")
    monkeypatch.setenv("INNGEST_DEV", "https://api.invalid")

    failure = first_failure(await diagnose())

    assert failure.number == 6
    assert "cannot be reached" in said(failure)
    assert "hunter22" not in said(failure)


async def test_no_proxy_is_told_as_the_reason(
    monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, trusted: Path
) -> None:
    async with encrypted(authority) as (api, _):
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("INNGEST_DEV", api.origin)
        results = await diagnose(handshake=False)

    assert not any(one.mark is Mark.FAIL for one in results)
    assert "direct, because NO_PROXY covers 127.0.0.1" in said(results[5])
