"""A proxy, a firewall or a portal answers for the API: no result is lost, no key is blamed."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.transport.api_client import ApiClient, ApiError

pytestmark = pytest.mark.field
REPLY = pb.SDKResponse(request_id="r", system_trace_ctx=b"null").SerializeToString()
CONFIRMED = pb.FlushResponse(request_id="r").SerializeToString()
STARTED = pb.StartResponse(
    connection_id="01ARZ3NDEKTSV4RRFFQ69G5FAV",
    gateway_endpoint="ws://127.0.0.1:1/v0/connect",
    gateway_group="g",
    session_token="the-session-token",
    sync_token="the-sync-token",
).SerializeToString()
PAGE = b"<html><body>Blocked by policy</body></html>"
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def http(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@asynccontextmanager
async def answering(*answers: bytes | Answer, timeout: float = 5.0) -> AsyncIterator[ApiClient]:
    """A client of a server that gives these answers in turn, then the last one again."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
                await reader.readexactly(int(length))
                answer = left.pop(0) if len(left) > 1 else left[0]
                if isinstance(answer, bytes):
                    writer.write(answer)
                else:
                    await answer(writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = ApiClient(f"http://127.0.0.1:{port}", None, (), timeout)
    try:
        yield client
    finally:
        await client.aclose()
        server.close()


async def refused_flush(*answers: bytes | Answer, timeout: float = 5.0) -> ApiError:
    async with answering(*answers, timeout=timeout) as client:
        with pytest.raises(ApiError) as caught:
            await client.flush("r", REPLY, 0)
    return caught.value


@pytest.mark.scenario("47")
@pytest.mark.parametrize(
    "body",
    [
        PAGE,
        b"",
        b"ok",
        b'{"status": "ok"}',
        CONFIRMED[:-1],
        pb.FlushResponse(request_id="another").SerializeToString(),
        pb.FlushResponse(request_id="").SerializeToString(),
        CONFIRMED + b"\xff",
    ],
)
async def test_a_200_that_does_not_confirm_this_reply_delivers_nothing(body: bytes) -> None:
    error = await refused_flush(http(200, body))

    assert error.refusal is None


async def test_a_flush_that_is_confirmed_by_its_request_id_is_delivered() -> None:
    async with answering(http(200, CONFIRMED)) as client:
        await client.flush("r", REPLY, 0)


@pytest.mark.scenario("api-pages")
@pytest.mark.parametrize("status", [400, 401, 403, 413, 422, 429])
@pytest.mark.parametrize(
    "body",
    [
        PAGE,
        b"",
        b"Unauthorized",
        b'{"message": "no"}',
        b'{"error": {"code": 1}}',
        b'{"error": "other", "status": 599}',
        b'{"error": "other", "status": "x"}',
        b"[1]",
    ],
)
async def test_a_refusal_in_a_foreign_form_is_not_a_refusal_of_the_api(
    status: int, body: bytes
) -> None:
    error = await refused_flush(http(status, body))

    assert (error.status, error.refusal) == (status, None)


@pytest.mark.parametrize("status", [400, 401, 403, 413, 422, 429])
async def test_a_refusal_in_the_form_of_the_api_is_one(status: int) -> None:
    body = f'{{"error": "no", "data": null, "status": {status}}}'.encode()

    error = await refused_flush(http(status, body))

    assert (error.status, error.refusal) == (status, status)


async def test_the_plain_401_of_the_development_server_is_a_refusal_of_the_api() -> None:
    error = await refused_flush(http(401, b"Authentication failed\n"))

    assert error.refusal == 401


@pytest.mark.parametrize(
    "header",
    [
        "Retry-After: Fri, 31 Dec 9999 23:59:59 +99999999999999",
        "Retry-After: " + "9" * 400,
        "Retry-After: \xff\xfe",
        "Retry-After: \xb2",  # a digit for str.isdigit, and not for float
        "Retry-After: 1e3",
        "Content-Encoding: br",
        "Content-Encoding: gzip",
        "Content-Length: x",
        "Transfer-Encoding: nonsense",
    ],
)
async def test_an_odd_header_is_the_failure_of_one_exchange(header: str) -> None:
    error = await refused_flush(http(503, b"busy", header, "Date: Thu, 01 Jan 1970 00:00:00 GMT"))

    assert error.refusal is None


async def test_a_date_in_retry_after_is_compared_with_the_clock_of_who_sent_it() -> None:
    """The clocks of two machines may differ by years."""
    later = "Retry-After: Thu, 01 Jan 1970 00:01:30 GMT"

    error = await refused_flush(http(503, b"busy", later, "Date: Thu, 01 Jan 1970 00:00:00 GMT"))

    assert error.retry_after == 90.0


@pytest.mark.scenario("api-silence")
async def test_a_body_that_trickles_is_limited_in_total() -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    error = await asyncio.wait_for(refused_flush(trickle, timeout=0.5), 10)

    assert "within 0.5 s" in str(error)


async def test_an_answer_without_an_end_is_left_at_its_limit() -> None:
    """Read to the time limit, it would fill the memory as fast as the network can."""
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n")
        while not writer.is_closing():
            writer.write(bytes(2**16))
            sent += 2**16
            await writer.drain()

    error = await asyncio.wait_for(refused_flush(endless, timeout=60.0), 20)

    assert "more than 1048576 bytes" in str(error)
    assert sent < 64 * 2**20  # what was read, and what buffers hold


@pytest.mark.scenario("security-compression")
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip"])
async def test_a_compressed_answer_is_bounded_by_what_it_unfolds_to(encoding: str) -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))

    error = await refused_flush(http(200, bomb, f"Content-Encoding: {encoding}"))

    assert error.refusal is None


async def test_a_small_compressed_answer_is_read() -> None:
    answer = http(200, gzip.compress(CONFIRMED), "Content-Encoding: gzip")

    async with answering(answer) as client:
        await client.flush("r", REPLY, 0)


@pytest.mark.parametrize("length", [-1, -8, 12, 0])
async def test_an_incomplete_compressed_answer_is_a_failed_exchange(length: int) -> None:
    """The beginning of a StartResponse decodes, without its tokens."""
    whole = gzip.compress(STARTED)
    answer = http(200, whole[:length], "Content-Encoding: gzip")

    async with answering(answer) as client:
        with pytest.raises(ApiError):
            await client.start((), 0)


@pytest.mark.parametrize("status", [201, 203, 206, 500])
async def test_tokens_in_an_answer_that_is_not_used_are_not_shown(status: int) -> None:
    async with answering(http(status, STARTED)) as client:
        with pytest.raises(ApiError) as failed:
            await client.start((), 0)

    assert "token" not in str(failed.value)


async def test_cookies_are_not_sent_back() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head.lower())
        await reader.readexactly(len(REPLY))
        cookies = ("Set-Cookie: a=b; Path=/", "Set-Cookie: c=\xe9; Path=/", "Connection: close")
        writer.write(http(503, b"busy", *cookies))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = ApiClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", None, (), 5.0)
    for _ in range(2):
        with pytest.raises(ApiError, match="HTTP 503"):
            await client.flush("r", REPLY, 0)
    await client.aclose()
    server.close()

    assert len(seen) == 2
    assert not any(b"cookie:" in head for head in seen)
