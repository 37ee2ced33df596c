"""Proxies and certificate authorities of the process environment."""

import ssl

import pytest

from inngest_connect.errors import ConfigurationError
from inngest_connect.transport.environment import proxy_and_reason, proxy_for, tls_context

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


@pytest.mark.parametrize(
    ("variables", "url", "reason"),
    [
        ({}, "wss://gw.test", "direct, because no proxy variable is set"),
        (
            {"HTTPS_PROXY": "p:1"},
            "ws://gw.test",
            "direct, because ws:// never goes through a proxy",
        ),
        (
            {"https_proxy": "http://user:word@p:1"},
            "https://api.test",
            "http://***@p:1, because of https_proxy",
        ),
        ({"ALL_PROXY": "p:1"}, "https://api.test", "http://p:1, because of ALL_PROXY"),
        (
            {"HTTPS_PROXY": "p:1", "NO_PROXY": "10.0.0.0/8"},
            "wss://10.1.2.3",
            "direct, because NO_PROXY covers 10.1.2.3",
        ),
    ],
)
def test_the_rule_that_decides_about_a_proxy_is_named(
    environment: pytest.MonkeyPatch, variables: dict[str, str], url: str, reason: str
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)

    assert proxy_and_reason(url)[1] == reason


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
