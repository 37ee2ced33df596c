"""StatusServer: uvicorn on its own thread and event loop.

It has to answer when the worker's event loops do not: when one of them is blocked.
"""

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Sequence
from typing import Final

import uvicorn

from ..connection import WebSocketWorkerConnection
from ..errors import ConfigurationError, LocalMistake
from ..observability.health import BLOCKED_LIMIT, SILENCE_LIMIT
from ..observability.library_logs import off_this_thread
from ..observability.package_logger import package_logger
from .address import Address, parse_address
from .application import Site
from .client_log import ClientLog, served, take_uvicorn_records
from .connections import IDLE_SECONDS, Connection, ConnectionLimit
from .guard import LOOPBACK_HOSTS

_ACCEPTED_IN_A_TURN: Final = 16
_WAITING: Final = 512
_STOP_SECONDS: Final = 5.0
_REMEDIES: Final = {
    errno.EADDRINUSE: "the port is taken; choose another one, or 0 for any that is free",
    errno.EACCES: "this user may not; choose a port from 1024",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


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
        answered unless ``allowed_hosts`` names others. Raises ConfigurationError for a wrong
        address.
        """
        self._address = parse_address(address)
        self._worker = worker
        self._limits = (blocked_limit, silence_limit)
        self._allowed_hosts = allowed_hosts
        if allowed_hosts is None and self._address.is_loopback:
            self._allowed_hosts = (*LOOPBACK_HOSTS, self._address.host)
        self._site: Site | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> str:
        """Listen, serve, and return the URL. Raises ConfigurationError if it cannot listen."""
        if self._thread is not None:
            raise LocalMistake("start() was called before; create a new StatusServer")
        listening = _listen(self._address)
        address = Address(self._address.host, listening.getsockname()[1])
        if not address.is_loopback:
            with off_this_thread(self._worker.write_log):
                package_logger("status").warning(
                    "the status server listens on %s: everybody who reaches that address can read "
                    "it",
                    address.url,
                )
        log = ClientLog()
        self._site = Site(self._worker, *self._limits)
        config = uvicorn.Config(
            ConnectionLimit(self._site.application(self._allowed_hosts), log),
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,  # logging belongs to the program
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=_ACCEPTED_IN_A_TURN,
            timeout_keep_alive=int(IDLE_SECONDS),
            timeout_graceful_shutdown=1,
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._run,
            args=(self._server, listening, log),
            daemon=True,
            name="inngest-connect-status",
        )
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise ConfigurationError(
                    "the status server failed to start; its traceback is on standard error"
                )
            time.sleep(0.001)
        # asyncio has one number, the backlog, for two things. The connections that it accepts in
        # one turn of the loop must be few, because their number is limited only after the turn.
        # Those that the kernel keeps until they are accepted must be many, because it drops the
        # others, and their clients wait a second before they try again.
        listening.listen(_WAITING)
        return address.url

    def _run(self, server: uvicorn.Server, listening: socket.socket, log: ClientLog) -> None:
        """The thread. uvicorn handles signals in the main thread only."""
        take_uvicorn_records()
        served.set((log, "server"))
        with listening, off_this_thread(self._worker.write_log):
            asyncio.run(server.serve(sockets=[listening]))

    def stop(self) -> None:
        """Close the port and all connections; returns within some seconds. May be repeated."""
        if self._site is None or self._server is None or self._thread is None:
            return
        self._site.stop()
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)


def _listen(address: Address) -> socket.socket:
    try:
        infos = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, *_, where = infos[0]
        return socket.create_server(where, family=family)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, error.strerror or str(error))
        raise ConfigurationError(
            f"the status server cannot listen on {address.host!r}, port {address.port}: {remedy}"
        ) from None
