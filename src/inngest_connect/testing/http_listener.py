"""HTTPListener: an HTTP server on loopback that runs inside the event loop of a test."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from ..aio.clock import keep_time
from ..aio.running_loop import running_loop
from ..transport.urls import host_and_port


class _Server(uvicorn.Server):
    """Leaves signal handlers alone: they belong to the program, or to the worker under test."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HTTPListener:
    """Serves ``routes``. It knows nothing of Connect: ``MockHTTPServer`` adds the endpoints."""

    def __init__(
        self, routes: Sequence[Route], host: str, port: int, ssl_context: ssl.SSLContext | None
    ) -> None:
        self._routes = routes
        self._host = host
        self.port = port
        """The port that it listens on; 0 before ``start`` picks a free one."""
        self._ssl_context = ssl_context
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def origin(self) -> str:
        """The address of the server, such as "http://127.0.0.1:1234"."""
        scheme = "http" if self._ssl_context is None else "https"
        return f"{scheme}://{host_and_port(self._host, self.port)}"

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        keep_time(running_loop())
        config = uvicorn.Config(
            Starlette(routes=self._routes),
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        config.load()
        config.ssl = self._ssl_context
        # Bound here, because uvicorn ends the process when it cannot.
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.create_server((self._host, self.port), family=family)
        self.port = listening.getsockname()[1]
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve([listening]))
        while not self._server.started:
            if self._serving.done():
                await self._serving
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        """Finish the calls that are being answered, for a second at most, and close."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
