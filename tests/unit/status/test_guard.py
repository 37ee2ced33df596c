"""The Host header: what tells our own address from a name that was made to point here."""

import pytest

from inngest_connect.status.guard import host_name

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost:8080", "localhost"),
        ("127.0.0.1:8080", "127.0.0.1"),
        ("[::1]:8080", "::1"),
        ("[::1]", "::1"),
        ("localhost.evil.example:80", "localhost.evil.example"),
        ("", ""),
        ("[", ""),
    ],
)
def test_the_name_is_what_stands_before_the_port(header: str, name: str) -> None:
    assert host_name(header) == name
