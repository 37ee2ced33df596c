"""The Host header distinguishes our own address from a foreign name that resolves to it."""

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message

from inngest_connect.status.guard import Guard, host_name

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
def test_the_name_is_the_part_before_the_port(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        ([b"localhost"], 200),
        ([b"LOCALHOST:80"], 200),
        ([b"evil.example"], 421),
        ([b"localhost", b"evil.example"], 421),
        ([b"evil.example", b"localhost"], 421),
        ([b"localhost", b"localhost"], 421),
        ([], 421),
    ],
)
async def test_a_server_that_lets_two_host_headers_through_gets_no_answer(
    hosts: list[bytes], status: int
) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    guard = Guard(PlainTextResponse("yes"), ["localhost"])
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", h) for h in hosts]}

    await guard(scope, receive, send)

    assert sent[0]["status"] == status
    assert b"x-frame-options" in dict(sent[0]["headers"]), "a refusal has the headers, too"
