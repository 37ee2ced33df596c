"""Which gateway addresses may be dialed."""

import pytest

from inngest_connect.transport.gateway_endpoint import check_gateway_endpoint

pytestmark = pytest.mark.unit


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
