"""The HTTP connections to the API: reused, replaced when their server is away, and given back."""

import asyncio
import contextlib
import gc
import os
import socket
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.transport.api_client import ApiClient, ApiError
from inngest_connect.transport.signing_key import SigningKey

pytestmark = pytest.mark.field
REPLY = pb.SDKResponse(request_id="r", system_trace_ctx=b"null").SerializeToString()
CONFIRMED = pb.FlushResponse(request_id="r").SerializeToString()
KEY = "signkey-prod-0123456789abcdef"
MEBIBYTE = 1024 * 1024


def http(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@dataclass
class Api:
    """A server that answers each request with ``answer``, until it hangs up."""

    answer: bytes = field(default_factory=lambda: http(200, CONFIRMED))
    port: int = 0
    accepted: int = 0
    heads: list[bytes] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    hang_up_without_an_answer: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
                await reader.readexactly(int(length))
                self.heads.append(head)
                if self.hang_up_without_an_answer:
                    self.hang_up_without_an_answer = False
                    return
                writer.write(self.answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def hang_up(self, how: Callable[[asyncio.StreamWriter], None]) -> None:
        for writer in self.writers:
            how(writer)
        await asyncio.gather(*(w.wait_closed() for w in self.writers), return_exceptions=True)
        for _ in range(3):
            await asyncio.sleep(0)  # the client's side of the loop reads what the kernel has


@asynccontextmanager
async def serving(*keys: str, timeout: float = 5.0) -> AsyncIterator[tuple[Api, ApiClient]]:
    api = Api()
    server = await asyncio.start_server(api.serve, "127.0.0.1", 0)
    api.port = server.sockets[0].getsockname()[1]
    origin = f"http://127.0.0.1:{api.port}"
    client = ApiClient(origin, None, tuple(SigningKey(key) for key in keys), timeout)
    try:
        yield api, client
    finally:
        await client.aclose()
        await api.hang_up(end)
        server.close()


async def test_a_connection_is_used_again() -> None:
    async with serving() as (api, client):
        for _ in range(5):
            await client.flush("r", REPLY, 0)

    assert api.accepted == 1


@pytest.mark.parametrize("status", [200, 401, 503])
async def test_a_connection_is_used_again_after_any_answer(status: int) -> None:
    async with serving() as (api, client):
        api.answer = http(status, b"what is this")
        for _ in range(3):
            with pytest.raises(ApiError):
                await client.flush("r", REPLY, 0)

    assert api.accepted == 1


def reset(writer: asyncio.StreamWriter) -> None:
    # Without this a socket on which everything was read ends as with ``close``.
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def end(writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize("how", [end, reset])
async def test_a_pooled_connection_that_the_server_closed_is_replaced(
    how: Callable[[asyncio.StreamWriter], None],
) -> None:
    async with serving() as (api, client):
        await client.flush("r", REPLY, 0)
        await api.hang_up(how)

        await client.flush("r", REPLY, 0)

    assert api.accepted == 2


async def test_a_connection_that_is_closed_under_a_request_fails_that_exchange_alone() -> None:
    async with serving() as (api, client):
        await client.flush("r", REPLY, 0)
        api.hang_up_without_an_answer = True

        with pytest.raises(ApiError) as caught:
            await client.flush("r", REPLY, 0)
        await client.flush("r", REPLY, 0)

    assert caught.value.status is None
    assert api.accepted == 2


@pytest.mark.scenario("api-silence")
async def test_a_connection_whose_server_is_silent_is_not_used_again() -> None:
    async with serving(timeout=0.3) as (api, client):
        api.answer = b""
        with pytest.raises(ApiError, match=r"within 0\.3 s"):
            await client.flush("r", REPLY, 0)
        api.answer = http(200, CONFIRMED)

        await client.flush("r", REPLY, 0)

    assert api.accepted == 2


@asynccontextmanager
async def never_accepts() -> AsyncIterator[int]:
    """A listener whose queue is full: the kernel completes no further connection."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@asynccontextmanager
async def says_only(text: bytes, *, reads: bool = True) -> AsyncIterator[int]:
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(text)
        while reads and await reader.read(MEBIBYTE):
            continue

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.gather(*(each.wait_closed() for each in writers), return_exceptions=True)


NEVER: dict[str, Callable[[], AbstractAsyncContextManager[int]]] = {
    "accepts": never_accepts,
    "reads": lambda: says_only(b"", reads=False),
    "answers": lambda: says_only(b""),
    "ends its head": lambda: says_only(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "ends its body": lambda: says_only(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
    "ends its chunks": lambda: says_only(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
    ),
    "decides": lambda: says_only(b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.scenario("api-silence")
@pytest.mark.parametrize("what", NEVER)
@pytest.mark.parametrize("path", ["start", "flush"])
async def test_an_exchange_ends_whatever_the_other_side_never_does(path: str, what: str) -> None:
    large = REPLY + bytes(8 * MEBIBYTE)
    async with NEVER[what]() as port:
        client = ApiClient(f"http://127.0.0.1:{port}", None, (), 0.2)
        exchange = client.start((), 0) if path == "start" else client.flush("r", large, 0)

        with pytest.raises(ApiError) as caught:
            await asyncio.wait_for(exchange, 10)
        await client.aclose()

    assert caught.value.refusal is None


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
async def test_no_socket_is_left_after_the_client_is_closed() -> None:
    def sockets() -> int:
        links = [p for p in Path("/proc/self/fd").iterdir() if p.is_symlink()]
        return sum(1 for p in links if os.path.lexists(p) and "socket" in os.readlink(p))

    before = sockets()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        async with serving() as (api, client):
            await asyncio.gather(*(client.flush("r", REPLY, 0) for _ in range(8)))
            api.answer = http(503, b"busy")
            with pytest.raises(ApiError):
                await client.flush("r", REPLY, 0)
            await client.aclose()
            await api.hang_up(end)
        gc.collect()
    await asyncio.sleep(0)  # the server's transports close in the next turn of the loop

    assert api.accepted > 1
    assert sockets() <= before


async def test_what_a_server_has_not_read_is_dropped_when_its_exchange_has_ended() -> None:
    """A transport that is only closed keeps its buffer, and waits for the peer to read it."""
    large = 16 * MEBIBYTE
    go_on, read = asyncio.Event(), asyncio.Event()
    received = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await go_on.wait()
        with contextlib.suppress(OSError):
            while data := await reader.read(MEBIBYTE):
                received += len(data)
        writer.close()
        read.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024)
    client = ApiClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", None, (), 0.2)
    with pytest.raises(ApiError, match=r"within 0\.2 s"):
        await client.flush("r", bytes(large), 0)
    go_on.set()
    await asyncio.wait_for(read.wait(), 20)
    await client.aclose()
    server.close()

    assert received < large


@pytest.mark.parametrize("lingers", [False, True], ids=["closes", "lingers"])
@pytest.mark.parametrize("megabytes", [0, 1, 16])
async def test_an_answer_that_comes_before_the_whole_request_was_read_counts(
    megabytes: int, lingers: bool
) -> None:
    """A server that takes less refuses, and closes: the client's next write fails."""
    served = asyncio.Event()
    body = b'{"error": "too large", "status": 413}'

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(413, body, "Connection: close"))
        await writer.drain()
        if lingers:
            writer.write_eof()
            await reader.read(MEBIBYTE)
        writer.close()
        served.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024)
    client = ApiClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", None, (), 5.0)
    with pytest.raises(ApiError) as caught:
        await client.flush("r", REPLY + bytes(megabytes * MEBIBYTE), 0)
    await client.aclose()
    await asyncio.wait_for(served.wait(), 20)
    server.close()

    assert caught.value.refusal == 413


@pytest.mark.parametrize(
    "headers",
    [
        ("Set-Cookie: a=b; Path=/",),
        ("Set-Cookie: a=b; Domain=127.0.0.1; Max-Age=1000",),
        ("Set-Cookie: a=\xe9",),
        ("Set-Cookie2: a=b; Version=1",),
        ("WWW-Authenticate: Basic realm=x",),
        ('WWW-Authenticate: Digest realm="x", nonce="y", qop="auth"',),
        ("Location: http://other.example/",),
        ("Content-Encoding: br",),
        ('Alt-Svc: h2=":1"',),
        ("Strict-Transport-Security: max-age=1000",),
        ("Refresh: 0; url=http://other.example/",),
        ("Accept-CH: Sec-CH-UA",),
    ],
)
@pytest.mark.parametrize("status", [200, 302, 307, 401, 407, 503])
async def test_an_answer_does_not_change_the_next_request(
    status: int, headers: tuple[str, ...]
) -> None:
    async with serving(KEY) as (api, client):
        await client.flush("r", REPLY, 0)
        api.answer = http(status, b"x", *headers)
        with pytest.raises(ApiError):
            await client.flush("r", REPLY, 0)
        api.answer = http(200, CONFIRMED)

        await client.flush("r", REPLY, 0)

    first, refused, last = api.heads
    assert first == refused == last


async def test_user_information_of_the_url_does_not_replace_the_key() -> None:
    async with serving(KEY) as (api, plain):
        client = ApiClient(f"http://user:word@127.0.0.1:{api.port}", None, (SigningKey(KEY),), 5.0)
        await client.flush("r", REPLY, 0)
        await client.aclose()
        await plain.flush("r", REPLY, 0)

    with_user, without = api.heads
    assert with_user == without


@pytest.mark.scenario("security-compression")
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_answer_takes_no_more_memory_than_its_limit(encoding: str) -> None:
    packer = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    chunk = bytes(MEBIBYTE)
    bomb = b"".join([*(packer.compress(chunk) for _ in range(128)), packer.flush()])
    assert len(bomb) < MEBIBYTE  # else the limit of what is received holds, not the other

    async with serving() as (api, client):
        api.answer = http(200, bomb, f"Content-Encoding: {encoding}")
        tracemalloc.start()
        try:
            with pytest.raises(ApiError, match="more than 1048576 bytes"):
                await client.flush("r", REPLY, 0)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak < 16 * MEBIBYTE
