"""Gateway addresses, signing keys, and proxies."""

import copy
import pickle

import pytest

from inngest_connect.errors import ConfigurationError
from inngest_connect.transport.environment import proxy_for, tls_context
from inngest_connect.transport.gateway_endpoint import check_gateway_endpoint
from inngest_connect.transport.signing_key import SigningKey

pytestmark = pytest.mark.unit
KEY = "signkey-prod-" + "0123456789abcdef" * 4


@pytest.mark.scenario("11")
@pytest.mark.parametrize("endpoint", ["wss://gw.example.com/v0/connect", "wss://[::1]:8289/x"])
def test_an_encrypted_gateway_is_always_accepted(endpoint: str) -> None:
    accepted = check_gateway_endpoint(endpoint, "https://api.example.com", rewritten=False)

    assert accepted == endpoint


@pytest.mark.scenario("11")
def test_an_unencrypted_gateway_is_accepted_from_an_unencrypted_api_or_when_rewritten() -> None:
    endpoint = "ws://gw:8289/v0/connect"

    assert check_gateway_endpoint(endpoint, "http://api", rewritten=False) == endpoint
    assert check_gateway_endpoint(endpoint, "https://api", rewritten=True) == endpoint


@pytest.mark.scenario("11", "security-endpoint")
@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("ws://gw:8289", "in clear"),
        ("WS://gw:8289", "in clear"),
        ("", "its scheme is not ws:// or wss://"),
        ("https://gw", "its scheme is not ws:// or wss://"),
        ("wss://", "no host"),
        ("wss://gw:99999", "its port is not a number from 1 to 65535"),
        ("wss://gw:0", "its port is 0"),
        ("wss://[::1", "not a URL"),
        ("wss://user:secret@gw", "user information"),
        ("wss://gw/#x", "fragment"),
    ],
)
def test_other_gateway_addresses_are_refused_with_the_reason(endpoint: str, reason: str) -> None:
    """The address decides who receives the session token."""
    with pytest.raises(ValueError, match=reason) as caught:
        check_gateway_endpoint(endpoint, "https://api", rewritten=False)

    assert "secret" not in str(caught.value)


def test_a_key_is_hashed_as_the_official_sdk_does() -> None:
    """See docs/protocol.md#keys: the digest alone."""
    transforms = pytest.importorskip("inngest._internal.transforms")

    assert SigningKey(KEY).bearer() == f"Bearer {transforms.hash_signing_key(KEY)}"


@pytest.mark.scenario("security-keys")
def test_a_key_cannot_be_shown_or_pickled_by_accident() -> None:
    key = SigningKey(KEY)
    digest = key.bearer().removeprefix("Bearer ")

    for text in (repr(key), str(key), f"{key}", f"{key!r:>20}", str([key]), key.hint()):
        assert "0123456789" not in text
        assert digest not in text
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.copy(key)
    assert key.hint() == "***cdef"
    assert key.secrets() == (KEY, digest)


@pytest.mark.parametrize("wrong", ["signkey-prod-xyz!canary", "signkey-prod-abc", "kéy-canary"])
def test_a_key_that_is_none_is_refused_without_being_shown(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="signing key") as caught:
        SigningKey(wrong)

    assert wrong not in str(caught.value)
    assert caught.value.__cause__ is None


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
    import ssl

    context = tls_context()

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
