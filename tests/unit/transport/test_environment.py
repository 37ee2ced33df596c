"""Proxies and certificate authorities of the process environment."""

import ssl

import pytest

from inngest_connect.errors import ConfigurationError
from inngest_connect.transport.environment import proxy_for, tls_context

pytestmark = pytest.mark.unit


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.mark.scenario("security-proxy")
@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "wss://gw.example.com", None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "wss://gw.example.com", "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "wss://gw.example.com", "http://proxy:3128"),
        ({"ALL_PROXY": "socks5://proxy:1080"}, "wss://gw.example.com", "socks5://proxy:1080"),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "ws://gw.example.com", None),
        (
            {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".example.com"},
            "wss://gw.example.com",
            None,
        ),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.com"}, "wss://gw.com", "http://p:1"),
    ],
)
def test_proxies_come_from_the_environment(
    environment: pytest.MonkeyPatch, variables: dict[str, str], url: str, proxy: str | None
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)

    assert proxy_for(url) == proxy


@pytest.mark.scenario("security-proxy")
def test_a_proxy_that_cannot_carry_the_socket_is_an_error_not_a_detour(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("HTTPS_PROXY", "ftp://proxy")

    with pytest.raises(ConfigurationError, match="ftp://"):
        proxy_for("wss://gw.example.com")


@pytest.mark.scenario("security-downgrade")
def test_the_tls_context_verifies_and_is_modern() -> None:
    context = tls_context()

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
