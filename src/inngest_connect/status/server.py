"""StatusServer: serves the status page on a thread and an event loop of its own.

It has to answer exactly when the worker's loops do not: when one of them is blocked.
"""

import asyncio
import concurrent.futures
import contextlib
import errno
import socket
import threading
from collections.abc import Sequence
from typing import Any, Final

import uvicorn

from ..connection import WebSocketWorkerConnection
from ..errors import ConfigurationError, LocalMistake
from ..observability.health import BLOCKED_LIMIT, SILENCE_LIMIT
from ..observability.library_logs import off_this_thread
from ..observability.package_logger import package_logger
from .address import Address, parse_address
from .application import Site
from .connections import BACKLOG, IDLE_SECONDS, Complaints, Connection, most_connections
from .guard import LOOPBACK_HOSTS

_WAITING: Final = 512
_STOP_SECONDS: Final = 5.0
_SEND_BUFFER: Final = 256 * 1024
_REMEDIES: Final = {
    errno.EADDRINUSE: "the port is taken; choose another one, or 0 for any that is free",
    errno.EACCES: "this user may not; choose a port from 1024",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}

_Future = concurrent.futures.Future[None]
_logger = package_logger("status")


class StatusServer:
    """``url = StatusServer(worker, "127.0.0.1:8080").start()``. Used once."""

    def __init__(
        self,
        worker: WebSocketWorkerConnection,
        address: str,
        *,
        blocked_limit: float = BLOCKED_LIMIT,
        silence_limit: float = SILENCE_LIMIT,
        allowed_hosts: Sequence[str] | None = None,
    ) -> None:
        """``address`` is HOST:PORT, :PORT or PORT, on loopback without a host.

        The other arguments are those of ``status_app``, but on loopback only its own names are
        answered unless ``allowed_hosts`` says otherwise. Raises ConfigurationError for a wrong
        address.
        """
        self._address = parse_address(address)
        self._worker = worker
        self._limits = (blocked_limit, silence_limit)
        self._allowed_hosts = allowed_hosts
        if allowed_hosts is None and self._address.is_loopback:
            self._allowed_hosts = (*LOOPBACK_HOSTS, self._address.host)
        self._site: Site | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> str:
        """Listen, serve, and return the URL. Raises ConfigurationError if it cannot listen."""
        if self._thread is not None:
            raise LocalMistake("start() was called before; make a new StatusServer")
        listening = _listen(self._address)
        address = Address(self._address.host, listening.getsockname()[1])
        if not address.is_loopback:
            with off_this_thread(self._worker.write_log):
                _logger.warning(
                    "the status server listens on %s: everybody who reaches that address can read "
                    "it",
                    address.url,
                )
        self._site = Site(self._worker, *self._limits)
        self._server = _Server(_Config(self._site.application(self._allowed_hosts)))
        serving: _Future = concurrent.futures.Future()
        thread = threading.Thread(
            target=self._run,
            args=(self._server, listening, serving),
            daemon=True,
            name="inngest-connect-status",
        )
        thread.start()
        serving.result()
        self._thread = thread
        return address.url

    def _run(self, server: "_Server", listening: socket.socket, serving: _Future) -> None:
        try:
            with off_this_thread(self._worker.write_log):
                asyncio.run(server.serve_on(listening, serving))
        except Exception as error:
            if serving.done():
                raise
            serving.set_exception(error)  # raised by start()

    def stop(self) -> None:
        """End all streams and close the port; returns within some seconds. May be repeated."""
        if self._site is None or self._server is None or self._thread is None:
            return
        self._site.stop()
        self._server.end()
        self._thread.join(_STOP_SECONDS)


class _Config(uvicorn.Config):
    def __init__(self, app: Any) -> None:
        most = most_connections()
        super().__init__(
            app,
            http=type("_Connection", (Connection,), {"most": most, "complaints": Complaints()}),
            backlog=BACKLOG,
            ws="none",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            limit_concurrency=most + 1,
            timeout_graceful_shutdown=1,
        )

    def configure_logging(self) -> None:
        """Logging belongs to the program."""


class _Server(uvicorn.Server):
    """Without signal handlers, which belong to the program too, and without its ten ticks a second.

    The ticks keep the Date header and count requests, neither of which is wanted here.
    """

    _ending: asyncio.Event
    _loop: asyncio.AbstractEventLoop

    async def serve_on(self, listening: socket.socket, serving: _Future) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup(sockets=[listening])
        # asyncio has one number for how many it accepts in a turn and for how many the kernel keeps
        # waiting. The first is to be small, the second is not: what finds no place waits a second.
        listening.listen(_WAITING)
        serving.set_result(None)
        await self._ending.wait()
        await self.shutdown(sockets=[listening])

    def end(self) -> None:
        """From any thread, once it serves; may be repeated."""
        with contextlib.suppress(RuntimeError):  # the loop has been closed by an earlier call
            self._loop.call_soon_threadsafe(self._ending.set)


def _listen(address: Address) -> socket.socket:
    try:
        infos = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, *_, where = infos[0]
        listening = socket.create_server(where, family=family)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, error.strerror or str(error))
        raise ConfigurationError(
            f"the status server cannot listen on {address.host!r}, port {address.port}: {remedy}"
        ) from None
    # Accepted sockets inherit these. They bound what a client that does not read can hold: the
    # server can only close such a connection, which waits for what is still to be sent.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        limit = int(IDLE_SECONDS * 1000)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)
    return listening
