"""The network below the HTTP client: connections of ``tcp`` on asyncio streams.

The client's own network resolves names through the event loop, which uses the loop's pool of
threads: on the application's loop that is the pool of ``asyncio.to_thread``. Functions that fill it
would keep the worker from the API, and a resolver that hangs would keep threads from functions.
"""

import asyncio
import contextlib
import ssl
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

from ..aio.fork_guard import keep_from_forks
from .tcp import DialProgress, connect

PROGRESS: ContextVar[DialProgress] = ContextVar("inngest_connect_dial_progress")
"""Of the exchange that this task carries out. The client connects in the task that sends the
request, so an idle connection that is used again leaves it untouched."""


def transport(verify: ssl.SSLContext, proxy: str | None) -> httpx.AsyncHTTPTransport:
    """The client's transport on this network. Raises what httpx raises for a proxy."""
    made = httpx.AsyncHTTPTransport(verify=verify, proxy=proxy, trust_env=False)
    # httpcore's pools take the network as an option, which httpx does not pass on.
    made._pool._network_backend = _Network()
    return made


class _Network(httpcore.AsyncNetworkBackend):
    """The ``timeout`` of each call is ignored: one limit holds for the whole exchange."""

    async def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> "_Stream":
        connected = await connect(host, port, PROGRESS.get(DialProgress()))
        try:
            stream = _Stream(*await asyncio.open_connection(sock=connected))
        except BaseException:
            connected.close()
            raise
        keep_from_forks(stream, connected)
        return stream


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        received: bytearray = self._reader._buffer  # type: ignore[attr-defined]
        if received and self._reader.exception() is not None:
            # The reader would raise, and what came before a write failed can be the answer.
            part = bytes(received[:max_bytes])
            del received[:max_bytes]
            return part
        return await self._reader.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            self._writer.write(buffer)
            await self._writer.drain()
        except OSError as error:
            # The client reads on after this one: a server may answer before it has read all.
            raise httpcore.WriteError(str(error)) from error

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> "_Stream":
        await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        return self

    async def aclose(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.close()
            # One turn of the loop sends the end of a TLS session; the peer's answer is not awaited.
            await asyncio.sleep(0)
            self._writer.transport.abort()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # whether an idle connection, on which nothing arrives, has ended
            return self._reader.at_eof() or self._reader.exception() is not None
        return self._writer.get_extra_info(info)
