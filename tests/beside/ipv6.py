"""A gateway that workers reach on ::1 only."""

import asyncio
import contextlib
from typing import Any

from inngest_connect.testing import EmbeddedGateway, MockWebSocketServer


class GatewayOnIPv6(EmbeddedGateway):
    """Passes on what arrives on ::1, because the servers of the test kit listen on 127.0.0.1."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._api_port = 0
        self._forwarders: list[asyncio.Server] = []

    @property
    def api_origin(self) -> str:
        """The address of the API on ::1."""
        return f"http://[::1]:{self._api_port}"

    async def start(self) -> None:
        """Start the servers, and what passes on to them."""
        await super().start()
        self._api_port = await self._forward(self.http.port)

    async def stop(self) -> None:
        """Stop passing on, then the servers."""
        for forwarder in self._forwarders:
            forwarder.close()
        await super().stop()

    async def advertised_url(self, gateway: MockWebSocketServer) -> str:
        """Return the address of a gateway on ::1."""
        return f"ws://[::1]:{await self._forward(gateway.port)}/v0/connect"

    async def _forward(self, target: int) -> int:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            onwards = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(_copy(reader, onwards[1]), _copy(onwards[0], writer))

        forwarder = await asyncio.start_server(accept, "::1", 0)
        self._forwarders.append(forwarder)
        port: int = forwarder.sockets[0].getsockname()[1]
        return port


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(64 * 1024):
            sink.write(data)
            await sink.drain()
    sink.close()
