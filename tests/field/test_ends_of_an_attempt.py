"""Every end of an attempt to connect is reported, once, within its limit and with its cause."""

import asyncio
import contextlib

import pytest

from inngest_connect import ErrorOccurred
from inngest_connect.core import inputs
from inngest_connect.testing import MockHTTPServer
from inngest_connect.transport.websocket_manager import WebSocketManager
from tests.field.one_function import worker_of
from tests.field.raw_gateway import Serve, dial, switching_protocols

pytestmark = pytest.mark.field


async def close_immediately(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def close_after_the_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def close_within_the_answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webso")
    await writer.drain()
    writer.close()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    writer.close()


async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    writer.close()


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\x15\x03\x01\x00\x02\x02\x28\r\n\r\n")
    await writer.drain()
    writer.close()


@pytest.mark.parametrize(
    "serve",
    [
        redirect,
        garbage,
        close_immediately,
        close_after_the_request,
        close_within_the_answer,
        reset,
        refuse,
    ],
)
async def test_a_connection_that_ends_before_the_upgrade_is_reported_once(serve: Serve) -> None:
    emitted, _ = await dial(serve, "ws://127.0.0.1:{port}/", timeout=30.0, limit=10)

    (end,) = emitted
    assert isinstance(end, inputs.SocketClosed)
    assert end.code == 1006
    assert end.error


async def trickle(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while True:
            writer.write(b"X")
            await writer.drain()
            await asyncio.sleep(0.02)


async def test_an_answer_that_trickles_ends_within_the_limit_and_leaves_no_socket() -> None:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        trickling = asyncio.create_task(trickle(writer))
        with contextlib.suppress(OSError):
            await reader.read()
        trickling.cancel()
        writer.close()
        closed.set()

    emitted, port = await dial(serve, "ws://127.0.0.1:{port}/", timeout=0.3, limit=10)
    await asyncio.wait_for(closed.wait(), 10)

    (end,) = emitted
    assert isinstance(end, inputs.SocketClosed)
    assert end.error == (
        f"no WebSocket within 0.3 s, connected to 127.0.0.1:{port}, waiting for its answer"
    )


async def test_certificates_that_cannot_be_read_fail_the_attempt_and_not_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An http:// API needs none, so that they are read when it names a wss:// gateway."""
    failed = asyncio.Event()
    errors: list[ErrorOccurred] = []

    def note(error: ErrorOccurred) -> None:
        errors.append(error)
        if error.kind == "connection_failed":
            failed.set()

    async with MockHTTPServer() as api:
        api.add_gateway("g", "wss://127.0.0.1:1/v0/connect")
        worker = worker_of(api.origin, on={"error": note})
        monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/authorities.pem")
        running = asyncio.create_task(worker.start())
        await asyncio.wait_for(failed.wait(), 10)
        await worker.close()
        await asyncio.wait_for(running, 10)

    (error,) = [error for error in errors if error.kind == "connection_failed"]
    assert "SSL_CERT_FILE is '/nowhere/authorities.pem'" in error.message


@pytest.mark.parametrize(
    ("header", "cause"),
    [
        ("Sec-WebSocket-Extensions: permessage-deflate", "the extension 'permessage-deflate'"),
        ("Sec-WebSocket-Protocol: chat", "subprotocol 'chat'"),
        ("Sec-WebSocket-Protocol: v0.connect.inngest.com\r\nSec-WebSocket-Protocol: chat", "chat"),
        ("Connection: x", "not valid: cannot upgrade, invalid connection header"),
        ("Sec-WebSocket-Accept: x", "not valid: "),
    ],
)
async def test_an_upgrade_to_something_else_is_refused_and_named(header: str, cause: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = switching_protocols(head).decode().splitlines()
        name = header.partition(":")[0]
        kept = [line for line in lines if line and not line.startswith(f"{name}:")]
        writer.write("\r\n".join([*kept, header, "", ""]).encode() + b"\x82\x00")
        await reader.read()
        writer.close()

    emitted, _ = await dial(serve, "ws://127.0.0.1:{port}/", timeout=10.0, limit=10)

    (end,) = emitted
    assert isinstance(end, inputs.SocketClosed)
    assert cause in (end.error or "")


async def test_an_upgrade_that_is_answered_after_an_abort_opens_nothing() -> None:
    """A cancellation reaches the dial one turn of the event loop after the abort."""
    asked, aborted = asyncio.Event(), asyncio.Event()
    emitted: list[inputs.Input] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await aborted.wait()
        writer.write(switching_protocols(head) + b"\x82\x00")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    manager = WebSocketManager(1, 1024, emitted.append, lambda: None)
    running = asyncio.create_task(manager.run(f"ws://127.0.0.1:{port}/", timeout=10.0))
    await asyncio.wait_for(asked.wait(), 10)
    manager.abort()
    aborted.set()
    await asyncio.wait_for(running, 10)
    server.close()

    assert emitted == []


@pytest.mark.parametrize("answer", ["nothing", "a part", "all"])
async def test_an_attempt_that_is_cancelled_leaves_no_socket(answer: str) -> None:
    answered, closed = asyncio.Event(), asyncio.Event()
    emitted: list[inputs.Input] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        whole = switching_protocols(await reader.readuntil(b"\r\n\r\n"))
        writer.write({"nothing": b"", "a part": whole[:40], "all": whole}[answer])
        answered.set()
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()
        closed.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    manager = WebSocketManager(1, 1024, emitted.append, lambda: None)
    running = asyncio.create_task(manager.run(f"ws://127.0.0.1:{port}/", timeout=10.0))
    await asyncio.wait_for(answered.wait(), 10)
    running.cancel()
    manager.abort()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(closed.wait(), 10)
    server.close()

    assert not any(isinstance(each, inputs.SocketClosed) for each in emitted)
