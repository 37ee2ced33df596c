"""Every end of an attempt to connect is reported, once, within its limit and with its cause."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from inngest_connect.core import events as ev
from inngest_connect.transport.websocket_manager import WebSocketManager

pytestmark = pytest.mark.field
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


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


@pytest.mark.parametrize(
    "serve",
    [close_immediately, close_after_the_request, close_within_the_answer, reset, refuse],
)
async def test_a_connection_that_ends_before_the_upgrade_is_reported_once(serve: Serve) -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reports: list[ev.Event] = []
    manager = WebSocketManager(1, 1024, reports.append, lambda: None)

    await asyncio.wait_for(manager.run(f"ws://127.0.0.1:{port}/", timeout=30.0), 10)
    server.close()

    (report,) = reports
    assert isinstance(report, ev.SocketClosed)
    assert report.code == 1006
    assert report.error
