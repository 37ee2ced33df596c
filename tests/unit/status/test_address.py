"""The status server's address: what a user writes, and what is refused."""

import pytest

from inngest_connect import ConfigurationError
from inngest_connect.status.address import parse_address

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback", "url"),
    [
        ("8080", "127.0.0.1", 8080, True, "http://127.0.0.1:8080"),
        (":8080", "127.0.0.1", 8080, True, "http://127.0.0.1:8080"),
        ("0", "127.0.0.1", 0, True, "http://127.0.0.1:0"),
        ("localhost:80", "127.0.0.1", 80, True, "http://127.0.0.1:80"),
        ("127.0.0.2:80", "127.0.0.2", 80, True, "http://127.0.0.2:80"),
        ("[::1]:65535", "::1", 65535, True, "http://[::1]:65535"),
        ("0.0.0.0:80", "0.0.0.0", 80, False, "http://0.0.0.0:80"),
        ("[::]:80", "::", 80, False, "http://[::]:80"),
        ("worker.internal:80", "worker.internal", 80, False, "http://worker.internal:80"),
    ],
)
def test_an_address_is_read(text: str, host: str, port: int, loopback: bool, url: str) -> None:
    address = parse_address(text)

    assert (address.host, address.port) == (host, port)
    assert address.is_loopback is loopback
    assert address.url == url


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "host", "host:", "host:port", "65536", "-1", "::1:8080", "::1", "[::1]", "[]:80",
        "http://127.0.0.1:80", "user@host:80", "127.0.0.1:80/", " 8080", "8080\n", "a b:80", 8080,
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_the_value_and_the_remedy(text: object) -> None:
    with pytest.raises(ConfigurationError, match="pass HOST:PORT") as caught:
        parse_address(text)  # type: ignore[arg-type]

    assert repr(text) in str(caught.value)
