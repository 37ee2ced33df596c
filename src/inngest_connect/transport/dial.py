"""Dial: from the address of a gateway to an open WebSocket, within one limit.

Resolving, the race of the addresses (RFC 8305), a proxy, TLS and the upgrade share that limit.
Every way to fail ends as one ``DialFailed`` that says what was being waited for, and through which
proxy.
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
from .environment import without_user
from .tcp import Way, connect

SWITCHING_PROTOCOLS: Final = 101

_SILENT: Final = silent_logger("picows")


class DialFailed(Exception):
    """No WebSocket; the text is the cause, without headers, bodies or user information.

    ``offline``: nothing outside this machine was reached.
    """

    def __init__(self, text: str, *, offline: bool) -> None:
        super().__init__(text)
        self.offline = offline


class Dial:
    """One attempt."""

    def __init__(self, url: str, proxy: str | None) -> None:
        self._url = url
        self._proxy = proxy
        self._way = Way()
        self._socket: socket.socket | None = None

    async def open(
        self,
        listener: picows.WSListener,
        *,
        timeout: float,
        max_frame_bytes: int,
        ssl_context: ssl.SSLContext | None,
    ) -> picows.WSTransport:
        """Returns when the upgrade is answered, or the peer has closed before. Raises DialFailed.

        ``timeout`` is seconds.
        """
        limit = asyncio.timeout(timeout)
        opened = False
        try:
            async with limit:
                transport, _ = await picows.ws_connect(
                    lambda: listener,
                    self._url,
                    ssl_context=ssl_context,
                    websocket_handshake_timeout=None,
                    logger_name=_SILENT,
                    max_frame_size=max_frame_bytes,
                    extra_headers={"Sec-WebSocket-Protocol": SUBPROTOCOL},
                    max_redirects=0,
                    enable_auto_pong=False,
                    proxy=_for_picows(self._proxy),
                    **_proxy_context(self._proxy, ssl_context),
                    socket_factory=self._connect,
                )
            opened = True
        except Exception as error:  # noqa: BLE001 - every library on the way has its own tree
            if limit.expired():
                cause = f"no WebSocket within {timeout:g} s, {self._way.stage}"
            else:
                cause = _describe(error)
            text = self.through_the_proxy(cause)
            raise DialFailed(text, offline=self._way.offline) from None
        finally:
            if not opened and self._socket is not None:
                # picows leaves its transport open when it is cancelled; it closes at the end of
                # the stream.
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
        return transport

    async def _connect(self, target: Any) -> socket.socket:
        """Called by picows with the URL of the gateway, or of the proxy before it."""
        self._socket = await connect(target.host, target.port, self._way)
        return self._socket

    def through_the_proxy(self, cause: str) -> str:
        """``cause``, with the proxy that it may come from."""
        if self._proxy is None:
            return cause
        user = urllib.parse.urlsplit(self._proxy).netloc.rpartition("@")[0]
        cause = cause.replace(f"{user}@", "") if user else cause
        return f"through the proxy {without_user(self._proxy)}: {cause}"


def _for_picows(proxy: str | None) -> str | None:
    """``socks5h`` says that the proxy resolves the name, which is how ``socks5`` is used here."""
    return "socks5" + proxy[len("socks5h") :] if proxy and proxy.startswith("socks5h:") else proxy


def _proxy_context(proxy: str | None, context: ssl.SSLContext | None) -> dict[str, Any]:
    """The authorities that verify the gateway verify an https:// proxy, too."""
    encrypted = proxy is not None and proxy.startswith("https:")
    return {"proxy_ssl_context": context} if encrypted else {}


def _describe(error: Exception) -> str:
    if isinstance(error, picows.WSError):
        response = getattr(error, "response", None)
        if response is not None and response.status == SWITCHING_PROTOCOLS:
            return f"the server's answer to the upgrade is not valid: {error}"
        if response is not None:
            return f"the server answered the upgrade with HTTP {int(response.status)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the gateway's certificate was not accepted: {error.verify_message}"
    return f"{type(error).__name__}: {error}".removesuffix(": ")
