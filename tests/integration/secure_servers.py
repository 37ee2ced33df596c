"""Servers with certificates, and a proxy, for tests of TLS and of the way to the network."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import datetime

import trustme

from inngest_connect.testing import MockHTTPServer, MockWebSocketServer


@contextlib.asynccontextmanager
async def encrypted(
    authority: trustme.CA, host: str = "127.0.0.1", not_after: datetime | None = None
) -> AsyncIterator[tuple[MockHTTPServer, MockWebSocketServer]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, not_after=not_after).configure_cert(context)
    async with (
        MockHTTPServer(ssl_context=context) as api,
        MockWebSocketServer(greet=True, ssl_context=context) as gateway,
    ):
        api.add_gateway(gateway.name, gateway.url)
        yield api, gateway


class ConnectProxy:
    """An HTTP proxy that knows CONNECT only (RFC 9110 section 9.3.6)."""

    def __init__(self, refuse_with: str | None = None) -> None:
        """``refuse_with`` is a status line's end, such as "403 Forbidden"."""
        self.asked: list[str] = []
        self.url = ""
        self._refuse_with = refuse_with

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        target = head.split()[1].decode()
        self.asked.append(target)
        if self._refuse_with is not None:
            writer.write(f"HTTP/1.1 {self._refuse_with}\r\nContent-Length: 0\r\n\r\n".encode())
            writer.close()
            return
        host, _, port = target.rpartition(":")
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pass(reader, up_writer), _pass(up_reader, writer))

    async def __aenter__(self) -> "ConnectProxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
