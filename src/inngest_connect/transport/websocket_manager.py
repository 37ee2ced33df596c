"""WebSocketManager: one WebSocket, its lifecycle and its sending. Decides nothing.

What happens to the socket is reported as core events carrying its generation. Fragmented messages
(RFC 6455 section 5.4) are put together here, because ``picows`` delivers frames. Compression is not
offered, redirects are not followed: the session token travels in the first message and would follow
(PROTOCOL.md, decisions).
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from typing import Final

import picows

from ..core.events import Event, MessageReceived, SocketClosed, SocketOpened, TextReceived
from ..protocol import CLOSE_ABNORMAL, CLOSE_MESSAGE_TOO_BIG, SUBPROTOCOL

_NO_STATUS: Final = 1005
"""The peer's close frame carried no code (RFC 6455 section 7.4.1)."""

_SILENT: Final = logging.getLogger("inngest_connect.picows")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


class WebSocketManager(picows.WSListener):
    """``report`` is called on the event loop that ``open`` ran on; sizes are bytes."""

    def __init__(
        self, generation: int, max_message_bytes: int, report: Callable[[Event], None]
    ) -> None:
        self._generation = generation
        self._max_message_bytes = max_message_bytes
        self._report = report
        self._transport: picows.WSTransport | None = None
        self._fragments: list[bytes] = []
        self._fragments_bytes = 0
        self._fragments_text = False
        self._close: tuple[int, str] | None = None
        self._ended = False

    async def open(
        self,
        url: str,
        *,
        timeout: float,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
    ) -> None:
        """Dial and upgrade within ``timeout`` seconds, then report SocketOpened.

        Failures are reported as SocketClosed, never raised; only cancellation is.
        """
        try:
            async with asyncio.timeout(timeout):
                transport, _ = await picows.ws_connect(
                    lambda: self,
                    url,
                    ssl_context=ssl_context,
                    websocket_handshake_timeout=timeout,
                    logger_name=_SILENT,
                    max_frame_size=self._max_message_bytes,
                    extra_headers={"Sec-WebSocket-Protocol": SUBPROTOCOL},
                    max_redirects=0,
                    proxy=proxy,
                )
        except TimeoutError:
            self._end(CLOSE_ABNORMAL, "", f"no WebSocket within {timeout:g} s")
            return
        except Exception as error:  # noqa: BLE001 - every library on the way has its own tree
            self._end(CLOSE_ABNORMAL, "", _describe(error))
            return
        selected = transport.response.headers.get("Sec-WebSocket-Protocol")
        if self._ended:
            return
        if selected != SUBPROTOCOL:
            transport.disconnect(False)
            answer = f"selected subprotocol {selected!r}" if selected else "no subprotocol"
            self._end(
                CLOSE_ABNORMAL,
                "",
                f"the server answered the upgrade with {answer} instead of {SUBPROTOCOL!r}: "
                "this is no Connect gateway, or a proxy removed the header",
            )

    def send(self, data: bytes) -> bool:
        """Write one binary message. Returns False when the socket can take no more."""
        transport = self._transport
        if transport is None or self._ended or transport.is_close_frame_sent:
            return False
        if transport.is_disconnected:
            return False
        transport.send(picows.WSMsgType.BINARY, data)
        return True

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake; its end is reported as SocketClosed."""
        transport = self._transport
        if transport is not None and not self._ended:
            transport.send_close(picows.WSCloseCode(code), reason.encode())

    def abort(self) -> None:
        """Drop the connection without a closing handshake and without a report."""
        self._ended = True
        if self._transport is not None:
            self._transport.disconnect(False)

    # --- called by picows ----------------------------------------------------------------------

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport
        if self._ended:
            transport.disconnect(False)
        elif transport.response.headers.get("Sec-WebSocket-Protocol") == SUBPROTOCOL:
            self._report(SocketOpened(self._generation))

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if self._ended:
            return
        kind = frame.msg_type
        if kind == picows.WSMsgType.BINARY and frame.fin:
            self._report(MessageReceived(self._generation, frame.get_payload_as_bytes()))
        elif kind == picows.WSMsgType.CLOSE:
            self._close_received(transport, frame.get_payload_as_bytes())
        elif kind in (
            picows.WSMsgType.BINARY,
            picows.WSMsgType.TEXT,
            picows.WSMsgType.CONTINUATION,
        ):
            self._fragment(transport, frame)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        code, reason = self._close or (CLOSE_ABNORMAL, "")
        handshake = transport.close_handshake
        error = None
        if self._close is None and handshake is not None and handshake.sent is not None:
            # picows closed because of what the peer sent: a violation of RFC 6455.
            code, reason = int(handshake.sent.code.value), handshake.sent.reason or ""
        self._end(code, reason, error)

    def _fragment(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type != picows.WSMsgType.CONTINUATION:
            self._fragments = []
            self._fragments_bytes = 0
            self._fragments_text = frame.msg_type == picows.WSMsgType.TEXT
        self._fragments_bytes += frame.payload_size
        if self._fragments_bytes > self._max_message_bytes:
            text = f"a message of more than {self._max_message_bytes} bytes"
            transport.send_close(picows.WSCloseCode(CLOSE_MESSAGE_TOO_BIG), b"message too big")
            transport.disconnect(False)
            self._end(CLOSE_MESSAGE_TOO_BIG, text, None)
            return
        if not self._fragments_text:
            self._fragments.append(frame.get_payload_as_bytes())
        if frame.fin:
            message, self._fragments = b"".join(self._fragments), []
            if self._fragments_text:
                self._report(TextReceived(self._generation))
            else:
                self._report(MessageReceived(self._generation, message))

    def _close_received(self, transport: picows.WSTransport, payload: bytes) -> None:
        code = int.from_bytes(payload[:2]) if len(payload) >= 2 else _NO_STATUS
        self._close = (code, payload[2:].decode(errors="replace"))
        if not transport.is_close_frame_sent:
            with contextlib.suppress(ValueError):
                transport.send_close(picows.WSCloseCode.OK)
        transport.disconnect()

    def _end(self, code: int, reason: str, error: str | None) -> None:
        if not self._ended:
            self._ended = True
            self._report(SocketClosed(self._generation, code, reason, error))


def _describe(error: Exception) -> str:
    """One line that says what failed, without headers or bodies, which may carry secrets."""
    if isinstance(error, picows.WSError):
        response = getattr(error, "response", None)
        if response is not None:
            return f"the server answered the upgrade with HTTP {int(response.status)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the gateway's certificate was not accepted: {error.verify_message}"
    return f"{type(error).__name__}: {error}"
