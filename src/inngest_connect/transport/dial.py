"""Dialing: from the address of a gateway to an open WebSocket, within one time limit.

Resolving, the race of the addresses, a proxy, TLS and the upgrade share that limit. Every failure
is one ``DialFailed`` that names what was awaited, and the proxy that it went through.
Compression is not offered and redirects are not followed: the session token travels in the first
message and would follow.
"""

import asyncio
import contextlib
import socket
import ssl
import urllib.parse
from typing import Any, Final

import picows

from ..observability.package_logger import silent_logger
from ..protocol import SUBPROTOCOL
from .tcp import DialProgress, connect

_SILENT: Final = silent_logger("picows")


class DialFailed(Exception):
    """No WebSocket; the text is the cause, without headers, bodies or user information.

    ``offline``: nothing outside this machine was reached.
    """

    def __init__(self, text: str, *, offline: bool) -> None:
        super().__init__(text)
        self.offline = offline


async def dial(
    listener: picows.WSListener,
    url: str,
    proxy: str | None,
    *,
    timeout: float,
    max_frame_bytes: int,
    ssl_context: ssl.SSLContext | None,
) -> picows.WSTransport:
    """Return the transport once ``listener`` was called with it. Raises DialFailed.

    ``timeout`` is seconds. The authorities that verify the gateway verify an https:// proxy, too.
    """
    progress = DialProgress()
    connected: socket.socket | None = None
    opened = False

    async def open_socket(target: Any) -> socket.socket:
        """Called by picows with the parsed URL of the proxy, or of the gateway without one."""
        nonlocal connected
        connected = await connect(target.host, target.port, progress)
        return connected

    options: dict[str, Any] = {}
    if proxy is not None and proxy.startswith("https:"):
        options["proxy_ssl_context"] = ssl_context
    if proxy is not None and proxy.startswith("socks5h:"):
        # It means that the proxy resolves the name, as picows lets it do for socks5.
        proxy = "socks5" + proxy.removeprefix("socks5h")
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            transport, _ = await picows.ws_connect(
                lambda: listener,
                url,
                ssl_context=ssl_context,
                websocket_handshake_timeout=None,
                logger_name=_SILENT,
                max_frame_size=max_frame_bytes,
                extra_headers={"Sec-WebSocket-Protocol": SUBPROTOCOL},
                max_redirects=0,
                enable_auto_pong=False,
                proxy=proxy,
                socket_factory=open_socket,
                **options,
            )
    except Exception as error:  # noqa: BLE001 - each library has its own exceptions
        cause = _cause(error)
        if limit.expired():
            cause = f"no WebSocket within {timeout:g} s, {progress.stage}"
    else:
        if transport.response is not None:
            opened = True
            return transport
        # picows returns without having called the listener.
        cause = "the connection ended before the upgrade was answered"
    finally:
        # A time limit or a cancellation can come after the socket was handed to picows, even in the
        # turn in which the upgrade is complete. picows then leaves its transport open. The
        # transport owns the descriptor, so it is not closed here, where the event loop still
        # watches it: after a shutdown() the transport reads the end of the stream and closes it.
        # Before picows has it, there is nothing to do: connect() returns a socket or leaves none.
        if not opened and connected is not None:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
    if proxy is not None:
        # Whether the proxy or the gateway has failed is not known, so the proxy is named.
        user, _, address = urllib.parse.urlsplit(proxy).netloc.rpartition("@")
        cause = cause.replace(f"{user}@", "") if user else cause
        cause = f"through the proxy {address}: {cause}"
    raise DialFailed(cause, offline=progress.offline)


def _cause(error: Exception) -> str:
    if isinstance(error, picows.WSError):
        response = getattr(error, "response", None)
        if response is not None and response.status == 101:
            return f"the server's answer to the upgrade is not valid: {error}"
        if response is not None:
            return f"the server answered the upgrade with HTTP {int(response.status)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the gateway's certificate was not accepted: {error.verify_message}"
    return f"{type(error).__name__}: {error}".removesuffix(": ")
