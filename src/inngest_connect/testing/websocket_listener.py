"""WebSocketListener: accepts WebSockets on loopback, and misbehaves on request.

It knows nothing of Connect: ``MockWebSocketServer`` adds the protocol.
"""

import asyncio
import ssl
from typing import Any, Final

import picows

from ..aio.clock import keep_time
from ..aio.running_loop import running_loop
from ..observability.package_logger import silent_logger
from ..protocol import SUBPROTOCOL
from ..transport.urls import host_and_port
from .mock_connection import MockConnection

_SILENT = silent_logger("testing.picows")
_MAX_FRAME_BYTES: Final = 64 * 1024 * 1024


class WebSocketListener:
    """A listening socket and its connections. Belongs to the event loop that starts it."""

    def __init__(
        self, subprotocol: str | None, host: str, port: int, ssl_context: ssl.SSLContext | None
    ) -> None:
        self.connections: list[MockConnection] = []
        """All that were accepted, ended ones too, in their order."""
        self.upgrade_headers: list[dict[str, str]] = []
        """The headers of each upgrade, with names in lower case."""
        self.refuse_upgrades: int | None = None
        """An HTTP status to answer upgrades with, None to accept them."""
        self.redirect_to: str | None = None
        """The location of an upgrade refused with 3xx; None for this server's own address."""
        self.latency = 0.0
        """Seconds, see ``simulate_latency``."""
        self.slowness = 0.0
        """Seconds, see ``simulate_slow_response``."""
        self.silent = False
        """See ``stop_answering``."""
        self._subprotocol = subprotocol
        self._host = host
        self.port = port
        """The port that it listens on; 0 before ``start`` picks a free one."""
        self._ssl_context = ssl_context
        self._server: asyncio.Server | None = None
        self._stopped = False

    @property
    def url(self) -> str:
        """The address for workers; for ``MockHTTPServer.add_gateway``."""
        scheme = "ws" if self._ssl_context is None else "wss"
        return f"{scheme}://{host_and_port(self._host, self.port)}/v0/connect"

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        keep_time(running_loop())
        self._stopped = False
        self._server = await picows.ws_create_server(
            self._upgrade,
            self._host,
            self.port,
            max_frame_size=_MAX_FRAME_BYTES,
            logger_name=_SILENT,
            ssl=self._ssl_context,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop all connections, those in the middle of their upgrade too."""
        self._stopped = True
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.drop()
        for connection in self.connections:
            if connection.is_open:
                await connection.closed.wait()
        if self._server is not None:
            await self._server.wait_closed()

    def _upgrade(self, request: picows.WSUpgradeRequest) -> Any:
        self.upgrade_headers.append({key.lower(): value for key, value in request.headers.items()})
        if (status := self.refuse_upgrades) is not None:
            if 300 <= status < 400:
                response = picows.WSUpgradeResponse.create_redirect_response(
                    status, self.redirect_to or self.url
                )
            else:
                response = picows.WSUpgradeResponse.create_error_response(status)
            return picows.WSUpgradeResponseWithListener(response, None)
        headers = {}
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        if self._subprotocol is not None and SUBPROTOCOL in offered:
            headers["Sec-WebSocket-Protocol"] = self._subprotocol
        response = picows.WSUpgradeResponse.create_101_response(extra_headers=headers)
        return picows.WSUpgradeResponseWithListener(response, MockConnection(self))

    def accepted(self, connection: MockConnection) -> None:
        """Called by a connection whose upgrade is complete."""
        if self._stopped:
            connection.drop()  # the server was stopped in the middle of the upgrade
        else:
            self.connections.append(connection)
            self.opened(connection)

    def opened(self, connection: MockConnection) -> None:
        """Override to greet a new connection."""

    def message(self, connection: MockConnection, data: bytes) -> None:
        """Override to handle a message, whose fragments are joined."""

    def disconnected(self, connection: MockConnection) -> None:
        """Override to handle the end of a connection, with or without a close frame."""

    # --- faults ------------------------------------------------------------------------------

    def simulate_latency(self, ms: float) -> None:
        """Delay everything that is sent from now on, in order; 0 ends it."""
        self.latency = ms / 1000

    def simulate_slow_response(self, ms: float = 1000) -> None:
        """Write half of every message from now on, and the rest ``ms`` later; 0 ends it.

        Unlike with a latency, the worker has begun to read the message.
        """
        self.slowness = ms / 1000

    def stop_answering(self) -> None:
        """Keep the connections open and send nothing more, like a half-open peer."""
        self.silent = True
