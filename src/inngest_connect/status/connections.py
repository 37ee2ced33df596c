"""The HTTP connections of the status server: how many there are, and how long one may be idle.

Anything may connect to the port: probes, scrapers, port scanners, other protocols. None of it may
take the descriptors that the worker needs to reconnect. uvicorn limits requests and the time after
a request, but neither connections without a request nor a request that trickles. Therefore a
``Connection`` is between each socket and uvicorn's HTTP protocol, by uvicorn's option ``http``. It
uses only what asyncio defines for a protocol and ASGI for the state of a request.

All of it runs on the event loop of the status server. No answer waits for anything but its client,
so one time limit is enough: a connection is aborted when none was completed on it for that time.
"""

import asyncio
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from ..core.wire.remote_text import clean
from .client_log import ClientLog, served

MOST_CONNECTIONS: Final = 128

IDLE_SECONDS: Final = 10.0
"""For a whole request to arrive and its answer to be taken, and between two requests."""


def most_connections() -> int:
    """A quarter of the descriptors that this process may have, at most 128."""
    try:
        import resource
    except ImportError:  # not on Windows, which has no such limit
        return MOST_CONNECTIONS
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(min(MOST_CONNECTIONS, limit // 4), 4)


class ConnectionLimit:
    """ASGI middleware around a status server's application; knows and limits the connections."""

    def __init__(self, app: ASGIApp, log: ClientLog) -> None:
        self._app = app
        self.log = log
        self._most = most_connections()
        self._open: set[Connection] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, within the limits of its connection."""
        connection: Connection = scope["state"]["connection"]
        await connection.answer(self._app, scope, receive, send)

    def opened(self, connection: "Connection", now: float) -> None:
        """Close the connection that has been idle longest when there is one too many.

        So a probe gets its answer while others hold connections open. A connection that is being
        answered is never closed for another one.
        """
        self._open.add(connection)
        if len(self._open) > self._most:
            # The new one is idle, so there is one.
            oldest = min((c for c in self._open if c.is_idle), key=lambda c: c.idle_since)
            self._open.discard(oldest)
            self.log.warn(oldest.source, f"more than {self._most} connections", now)
            oldest.abort()

    def closed(self, connection: "Connection") -> None:
        """The connection counts no longer."""
        self._open.discard(connection)


class Connection(asyncio.Protocol):
    """One connection: passes everything on to uvicorn's HTTP protocol, and aborts it in time."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """The arguments are uvicorn's. The application must be a ``ConnectionLimit``."""
        assert isinstance(config.app, ConnectionLimit)
        self._limit = config.app
        self._http = H11Protocol(config, server_state, {**app_state, "connection": self}, _loop)
        self._loop = asyncio.get_running_loop()
        self.source = "an unknown address"
        self.is_idle = True
        self.idle_since = self._loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the time limit, and apply that of the number."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and peer:
            self.source = clean(str(peer[0]))
        self._expiry = self._loop.call_later(IDLE_SECONDS, self.abort)
        self._http.connection_made(transport)
        self._limit.opened(self, self.idle_since)

    def data_received(self, data: bytes) -> None:
        """Does not extend the time: only an answer does."""
        served.set((self._limit.log, self.source))
        self._http.data_received(data)

    async def answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Have ``app`` answer a request. The time for the next one begins with its end."""
        self.is_idle = False
        try:
            await app(scope, receive, send)
        finally:
            self.is_idle = True
            self.idle_since = self._loop.time()
            self._expiry.cancel()
            if not self._transport.is_closing():
                self._expiry = self._loop.call_later(IDLE_SECONDS, self.abort)

    def abort(self) -> None:
        """Close it without sending what the client has not taken."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the place."""
        self._expiry.cancel()
        self._limit.closed(self)
        self._http.connection_lost(exc)

    def eof_received(self) -> None:
        """Pass it on; None has asyncio close the transport."""
        self._http.eof_received()

    def pause_writing(self) -> None:
        """Pass it on."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._http.resume_writing()
