"""WebSocketManager: one WebSocket, its lifecycle and its sending. Decides nothing.

What happens to the socket is emitted as inputs of the core that carry its generation.

Theory of operation. Everything runs on the event loop that ``run`` runs on; picows calls the
``on_ws_...`` methods there. The frames of one read are as many calls of ``on_ws_frame`` in a row,
with nothing in between. Each message is emitted immediately, and what the core answers is only
queued. After the last frame of the read, ``batch_ended`` is called, whose receiver calls ``flush``:
so the answers to any number of messages are one write, and they are written in the same turn of the
loop in which the messages came.

SocketClosed is emitted at most once, and nothing after it; after ``abort`` nothing at all, whatever
picows still calls. Each acknowledgement is emitted as written or as failed exactly once, and before
SocketClosed. Every method may be called at any time: before the connection is open, and after its
end, it does nothing.
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
    AcknowledgementsWritten,
    Input,
    MessageReceived,
    SocketClosed,
    SocketOpened,
    TextReceived,
)
from ..protocol import CLOSE_ABNORMAL, CLOSE_NORMAL, CLOSE_PROTOCOL_ERROR, SUBPROTOCOL
from .dial import DialFailed, dial
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
    """See the module. Sizes are bytes."""

    def __init__(
        self,
        generation: int,
        max_message_bytes: int,
        emit: Callable[[Input], None],
        batch_ended: Callable[[], None],
    ) -> None:
        self._generation = generation
        self._max_message_bytes = max_message_bytes
        self._emit = emit
        self._batch_ended = batch_ended
        self._fragments = Fragments(max_message_bytes)
        self._queue: SendQueue | None = None
        """Set when the upgrade is answered, and kept."""
        self._frames = 0
        self._close: tuple[int, str] | None = None
        """Code and reason of the peer's close frame."""
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
        """Dial and upgrade within ``timeout`` seconds, then wait until the connection has ended.

        Emits SocketOpened and SocketClosed, or SocketClosed alone when there is no connection;
        raises nothing but cancellation, after which the caller calls ``abort``.
        """
        try:
            transport = await dial(
                self,
                url,
                proxy,
                timeout=timeout,
                max_frame_bytes=self._max_message_bytes,
                ssl_context=ssl_context,
            )
        except DialFailed as error:
            self._end(CLOSE_ABNORMAL, "", str(error), offline=error.offline)
        else:
            with contextlib.suppress(Exception):  # on_ws_disconnected reports the end
                await transport.wait_disconnected()

    def send(
        self, data: bytes, *, acknowledges: str | None = None, reply_to: str | None = None
    ) -> bool:
        """Queue one binary message for the next ``flush``. Returns False when that is impossible.

        With ``acknowledges``, the id of a request, AcknowledgementsWritten is emitted once the
        kernel has taken the message, AcknowledgementFailed when the connection ends before. A
        reply, with the id of its request, is written after all others.
        """
        queue = self._queue
        if queue is None or self._ended or queue.transport.is_close_frame_sent:
            return False
        if queue.transport.is_disconnected:
            return False
        if reply_to is not None:
            return queue.put_reply(data, reply_to)
        if queue.put(data, acknowledges):
            return True
        queue.transport.disconnect(False)
        self._end(CLOSE_ABNORMAL, "", "the gateway does not read: too much waits to be sent to it")
        return False

    def withdraw(self, request_id: str) -> None:
        """Do not write the reply to this request, if it still waits."""
        if self._queue is not None:
            self._queue.withdraw_reply(request_id)

    def flush(self) -> bool:
        """Write what the kernel takes. Returns whether acknowledgements were emitted.

        The core may have answered those, with a reply for example, so call it again then.
        """
        if self._queue is None:
            return False
        written = self._queue.flush()
        if written:
            self._emit(AcknowledgementsWritten(self._generation, tuple(written)))
        return bool(written)

    def progress(self) -> bool | None:
        """Whether bytes moved since the last call; None when none had to."""
        return self._queue.progress(self._frames) if self._queue is not None else None

    def close(self, code: int, reason: str) -> None:
        """Write what waits and start the closing handshake; its end is emitted as SocketClosed."""
        while self.flush():
            pass
        if self._queue is not None and not self._ended:
            self._closing = True
            self._queue.transport.send_close(picows.WSCloseCode(code), reason.encode())

    def abort(self) -> None:
        """Drop the connection without a closing handshake and without a SocketClosed."""
        self._ended = True
        self._drop()
        if self._queue is not None:
            self._queue.transport.disconnect(False)

    def _end(self, code: int, reason: str, error: str | None, *, offline: bool = False) -> None:
        if not self._ended:
            self._ended = True
            self._drop()
            self._emit(SocketClosed(self._generation, code, reason, error, offline))

    def _drop(self) -> None:
        """Report the acknowledgements that nobody will receive."""
        if self._queue is not None:
            for request_id in self._queue.drop():
                self._emit(AcknowledgementFailed(self._generation, request_id))

    # --- called by picows ----------------------------------------------------------------------

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """The upgrade was answered with 101."""
        self._queue = SendQueue(transport)
        keep_from_forks(self, transport.underlying_transport.get_extra_info("socket"))
        # A selection of what was not offered is an error (RFC 6455 section 4.1). None is not: a
        # server need not select a subprotocol, and proxies remove the header. The tokens are sent
        # only in answer to a GATEWAY_HELLO.
        headers = transport.response.headers
        extensions = ", ".join(headers.getall("Sec-WebSocket-Extensions", []))
        subprotocols = headers.getall("Sec-WebSocket-Protocol", [])
        refused = None
        if extensions:
            refused = f"the extension {extensions[:100]!r}, which was not offered"
        elif subprotocols not in ([], [SUBPROTOCOL]):
            selected = ", ".join(subprotocols)[:100]
            refused = f"subprotocol {selected!r} instead of {SUBPROTOCOL!r}: "
            refused += "this is not a Connect gateway"
        if self._ended:  # aborted while it was dialing
            transport.disconnect(False)
        elif refused is None:
            self._emit(SocketOpened(self._generation))
        else:
            # Before a first message is read, whose answer would carry the tokens.
            transport.disconnect(False)
            self._end(CLOSE_ABNORMAL, "", f"the server answered the upgrade with {refused}")

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """A frame arrived; several may come from one read."""
        kind = frame.msg_type
        # After a violation of RFC 6455 picows has sent its close frame and goes on parsing what is
        # left in its buffer; that is not a message of the peer.
        ignored = self._ended or (transport.is_close_frame_sent and not self._closing)
        self._frames += not ignored
        if ignored:
            pass
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._fail(transport, CLOSE_PROTOCOL_ERROR, "reserved bits without an extension")
        elif kind == picows.WSMsgType.BINARY and frame.fin and not self._fragments.count:
            self._emit(MessageReceived(self._generation, frame.get_payload_as_bytes()))
        elif kind == picows.WSMsgType.CLOSE:
            self._close_received(transport, frame.get_payload_as_bytes())
        elif kind == picows.WSMsgType.PING and self._queue is not None:
            # Answered with the next flush, and only the last one: a peer that pings and never reads
            # must not make pongs pile up here.
            self._queue.pong = frame.get_payload_as_bytes()
        elif kind in _DATA:
            try:
                message = self._fragments.add(frame, asyncio.get_running_loop().time())
            except FrameRefused as refused:
                self._fail(transport, refused.code, str(refused))
            else:
                if message is not None and self._fragments.is_text:
                    self._emit(TextReceived(self._generation))
                elif message is not None:
                    self._emit(MessageReceived(self._generation, message))
        if frame.last_in_buffer:
            self._batch_ended()

    def _fail(self, transport: picows.WSTransport, code: int, reason: str) -> None:
        """End a connection on which the peer violated RFC 6455."""
        transport.send_close(picows.WSCloseCode(code), reason.encode())
        self._disconnect(transport)
        self._end(code, reason, None)

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

    def _disconnect(self, transport: picows.WSTransport) -> None:
        """After a close frame; a transport that cannot empty its buffer would wait for the peer."""
        transport.disconnect(self._queue is None or not self._queue.blocked)

    def pause_writing(self) -> None:
        """Not needed: the queue looks at the transport's buffer itself."""

    def resume_writing(self) -> None:
        """The transport's buffer is empty: what the kernel had not taken whole is written now."""
        if self._queue is None or self._ended:
            return
        held = self._queue.drained()
        if held is not None:
            self._emit(AcknowledgementsWritten(self._generation, (held,)))
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
