"""WebSocketManager: one WebSocket, its lifecycle and its sending. Decides nothing.

What happens to the socket is reported as core events carrying its generation.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Final

import picows

from ..aio.fork_guard import keep_from_forks
from ..core.inputs import (
    AcknowledgementFailed,
    AcknowledgementWritten,
    Input,
    MessageReceived,
    SocketClosed,
    SocketOpened,
    TextReceived,
)
from ..protocol import CLOSE_ABNORMAL, CLOSE_NORMAL, CLOSE_PROTOCOL_ERROR, SUBPROTOCOL
from .dial import Dial, DialFailed
from .fragments import Fragments, FrameRefused
from .send_queue import SendQueue

_NO_STATUS: Final = 1005
"""The peer's close frame carried no code (RFC 6455 section 7.4.1)."""

_DATA: Final = (
    picows.WSMsgType.BINARY,
    picows.WSMsgType.TEXT,
    picows.WSMsgType.CONTINUATION,
)


class WebSocketManager(picows.WSListener):
    """``report`` is called on the event loop that ``run`` runs on; sizes are bytes.

    ``batch_ended`` is called after the last of the messages that arrived together.
    """

    def __init__(
        self,
        generation: int,
        max_message_bytes: int,
        report: Callable[[Input], None],
        batch_ended: Callable[[], None],
    ) -> None:
        self._generation = generation
        self._max_message_bytes = max_message_bytes
        self._report = report
        self._batch_ended = batch_ended
        self._transport: picows.WSTransport | None = None
        self._fragments = Fragments(max_message_bytes)
        self._queue: SendQueue | None = None
        self._frames = 0
        self._close: tuple[int, str] | None = None
        self._closing = False
        self._ended = False

    async def run(
        self,
        url: str,
        *,
        timeout: float,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
    ) -> None:
        """Dial and upgrade within ``timeout`` seconds, then stay until the connection has ended.

        Reports SocketOpened and SocketClosed, failures to connect included; raises nothing but
        cancellation.
        """
        dial = Dial(url, proxy)
        try:
            transport = await dial.open(
                self,
                timeout=timeout,
                max_frame_bytes=self._max_message_bytes,
                ssl_context=ssl_context,
            )
        except DialFailed as error:
            self._end(CLOSE_ABNORMAL, "", str(error), offline=error.offline)
        else:
            with contextlib.suppress(Exception):
                await transport.wait_disconnected()
            # ``on_ws_disconnected`` has reported the end, unless the peer closed before it answered
            # the upgrade: then picows returns and calls nothing.
            text = "the connection ended before the upgrade was answered"
            self._end(CLOSE_ABNORMAL, "", dial.through_the_proxy(text))

    def send(
        self, data: bytes, *, acknowledges: str | None = None, reply_to: str | None = None
    ) -> bool:
        """Queue one binary message for the next ``flush``. Returns False when that cannot be.

        With ``acknowledges``, the id of a request, AcknowledgementWritten is reported once the
        kernel has taken the message, AcknowledgementFailed when the connection ends before. A
        reply, with the id of its request, is written after all others.
        """
        transport, queue = self._transport, self._queue
        if transport is None or queue is None or self._ended or transport.is_close_frame_sent:
            return False
        if transport.is_disconnected:
            return False
        if reply_to is not None:
            return queue.put_reply(data, reply_to)
        if queue.put(data, acknowledges):
            return True
        transport.disconnect(False)
        self._end(CLOSE_ABNORMAL, "", "the gateway does not read: too much waits to be sent to it")
        return False

    def withdraw(self, request_id: str) -> None:
        """Do not write this reply any more."""
        if self._queue is not None:
            self._queue.withdraw_reply(request_id)

    def flush(self) -> bool:
        """Write what the kernel takes. Returns whether acknowledgements were reported."""
        if self._queue is None:
            return False
        written = self._queue.flush()
        for request_id in written:
            self._report(AcknowledgementWritten(self._generation, request_id))
        return bool(written)

    def progress(self) -> bool | None:
        """Whether bytes moved since the last call; None when none had to."""
        return self._queue.progress(self._frames) if self._queue is not None else None

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake; its end is reported as SocketClosed."""
        while self.flush():
            pass
        transport = self._transport
        if transport is not None and not self._ended:
            self._closing = True
            transport.send_close(picows.WSCloseCode(code), reason.encode())

    def abort(self) -> None:
        """Drop the connection without a closing handshake and without a SocketClosed."""
        self._ended = True
        self._drop()
        if self._transport is not None:
            self._transport.disconnect(False)

    def _drop(self) -> None:
        """Report the acknowledgements that nobody will receive."""
        if self._queue is not None:
            for request_id in self._queue.drop():
                self._report(AcknowledgementFailed(self._generation, request_id))

    # --- called by picows ----------------------------------------------------------------------

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """The upgrade was answered with 101."""
        self._transport = transport
        self._queue = SendQueue(transport)
        keep_from_forks(self, transport.underlying_transport.get_extra_info("socket"))
        refused = _problem_of(transport.response)
        if self._ended:
            transport.disconnect(False)
        elif refused is None:
            self._report(SocketOpened(self._generation))
        else:
            # Before a first message is read, whose answer would carry the tokens.
            transport.disconnect(False)
            self._end(CLOSE_ABNORMAL, "", f"the server answered the upgrade with {refused}")

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """A frame arrived; several may come from one read."""
        self._frame(transport, frame)
        if frame.last_in_buffer:
            self._batch_ended()

    def _frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        # After a violation of RFC 6455 picows has sent its close frame and goes on parsing what is
        # left in its buffer; that is no message of the peer's.
        if self._ended or (transport.is_close_frame_sent and not self._closing):
            return
        self._frames += 1
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._fail(transport, CLOSE_PROTOCOL_ERROR, "reserved bits without an extension")
        elif kind == picows.WSMsgType.BINARY and frame.fin and not self._fragments.count:
            self._report(MessageReceived(self._generation, frame.get_payload_as_bytes()))
        elif kind == picows.WSMsgType.CLOSE:
            self._close_received(transport, frame.get_payload_as_bytes())
        elif kind == picows.WSMsgType.PING and self._queue is not None:
            # Answered with the next flush: a peer that pings and never reads must not make pongs
            # pile up here.
            self._queue.pong = frame.get_payload_as_bytes()
        elif kind in _DATA:
            self._fragment(transport, frame)

    def _fail(self, transport: picows.WSTransport, code: int, reason: str) -> None:
        """End a connection on which the peer violated RFC 6455."""
        transport.send_close(picows.WSCloseCode(code), reason.encode())
        self._disconnect(transport)
        self._end(code, reason, None)

    def _disconnect(self, transport: picows.WSTransport) -> None:
        """After a close frame; a transport that cannot empty its buffer would wait for a peer."""
        transport.disconnect(self._queue is None or not self._queue.blocked)

    def pause_writing(self) -> None:
        """The queue looks at the transport's buffer itself."""

    def resume_writing(self) -> None:
        """The transport's buffer is empty."""
        if self._queue is None or self._ended:
            return
        held = self._queue.drained()
        if held is not None:
            self._report(AcknowledgementWritten(self._generation, held))
        self._batch_ended()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        """The TCP connection is closed. Not called when the upgrade was never answered."""
        code, reason = self._close or (CLOSE_ABNORMAL, "")
        handshake = transport.close_handshake
        sent = handshake.sent if handshake is not None else None
        if self._close is None and sent is not None and not self._closing:
            # picows closed because of what the peer sent: a violation of RFC 6455.
            code, reason = int(sent.code.value), sent.reason or ""
        self._end(code, reason, None)

    def _fragment(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        now = asyncio.get_running_loop().time()
        try:
            message = self._fragments.add(frame, now)
        except FrameRefused as refused:
            self._fail(transport, refused.code, str(refused))
            return
        if message is not None and self._fragments.is_text:
            self._report(TextReceived(self._generation))
        elif message is not None:
            self._report(MessageReceived(self._generation, message))

    def _close_received(self, transport: picows.WSTransport, payload: bytes) -> None:
        code = int.from_bytes(payload[:2]) if len(payload) >= 2 else _NO_STATUS
        self._close = (code, payload[2:].decode(errors="replace"))
        # Requests that came in the same read are acknowledged before this side closes.
        while self.flush():
            pass
        if not transport.is_close_frame_sent:
            # The code is echoed (RFC 6455 section 5.5.1), unless a frame must not carry it (7.4.1).
            sendable = 1000 <= code < 5000 and code not in (_NO_STATUS, CLOSE_ABNORMAL)
            echo = code if sendable else CLOSE_NORMAL
            with contextlib.suppress(ValueError):
                transport.send_close(picows.WSCloseCode(echo))
        self._disconnect(transport)

    def _end(self, code: int, reason: str, error: str | None, *, offline: bool = False) -> None:
        if not self._ended:
            self._ended = True
            self._drop()
            self._report(SocketClosed(self._generation, code, reason, error, offline))


def _problem_of(response: picows.WSUpgradeResponse) -> str | None:
    """What was selected although it was not offered (RFC 6455 section 4.1), None if nothing was."""
    extensions = ", ".join(response.headers.getall("Sec-WebSocket-Extensions", []))
    if extensions:
        return f"the extension {extensions[:100]!r}, which was not offered"
    # None is no problem: a server need not select one, and proxies remove the header. The tokens
    # are sent only in answer to a GATEWAY_HELLO.
    subprotocols = response.headers.getall("Sec-WebSocket-Protocol", [])
    if subprotocols in ([], [SUBPROTOCOL]):
        return None
    selected = ", ".join(subprotocols)[:100]
    return f"subprotocol {selected!r} instead of {SUBPROTOCOL!r}: this is not a Connect gateway"
