"""MockConnection: one WebSocket that a mock gateway has accepted."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import picows

if TYPE_CHECKING:
    from .websocket_listener import WebSocketListener

Write = Callable[[picows.WSTransport], None]


class MockConnection(picows.WSListener):
    """What a test sees of one connection, and can send on it."""

    def __init__(self, server: "WebSocketListener") -> None:
        self._server = server
        self._transport: picows.WSTransport | None = None
        self._fragments: list[bytes] = []
        self._delayed: deque[tuple[float, Write]] = deque()
        self.number = 0
        """The number that the GatewayStore gave it; 0 on a scripted server."""
        self.close_code: int | None = None
        """Of the worker's close frame; 1005 for a frame without a code, None without a frame."""
        self.close_reason = ""
        self.closed = asyncio.Event()
        self.pongs: asyncio.Queue[bytes] = asyncio.Queue()

    @property
    def is_open(self) -> bool:
        """Whether the connection was accepted and has not ended."""
        return self._transport is not None and not self.closed.is_set()

    def send_bytes(self, data: bytes) -> None:
        """Write one binary message."""
        self._send(picows.WSMsgType.BINARY, data)

    def send_text(self, text: str) -> None:
        """Write one text message, which the protocol does not have."""
        self._send(picows.WSMsgType.TEXT, text.encode())

    def send_fragments(self, *parts: bytes) -> None:
        """Write one message in several frames."""
        for index, part in enumerate(parts):
            kind = picows.WSMsgType.BINARY if index == 0 else picows.WSMsgType.CONTINUATION
            self._frame(kind, part, fin=index == len(parts) - 1)

    def send_ping(self, data: bytes) -> None:
        """Write a ping (RFC 6455 section 5.5.2); the answer is put into ``pongs``."""
        self._write(lambda transport: transport.send_ping(data))

    def send_invalid_frame(self) -> None:
        """Write a frame with reserved bits set, which RFC 6455 section 5.2 forbids."""
        self._write(lambda transport: transport.send(picows.WSMsgType.BINARY, b"x", rsv1=True))

    def close(self, code: int, reason: str = "") -> None:
        """Write a close frame; the worker ends the connection."""
        self._write(lambda t: t.send_close(picows.WSCloseCode(code), reason.encode()))

    def drop(self) -> None:
        """End the connection without a close frame."""
        if self._transport is not None:
            self._transport.disconnect(False)

    def _send(self, kind: picows.WSMsgType, data: bytes) -> None:
        slow = self._server.slowness
        if not slow:
            self._frame(kind, data, fin=True)
            return
        first, rest = data[: len(data) // 2], data[len(data) // 2 :]
        self._frame(kind, first, fin=False)
        self._write(lambda t: t.send(picows.WSMsgType.CONTINUATION, rest), slow)

    def _frame(self, kind: picows.WSMsgType, data: bytes, *, fin: bool) -> None:
        self._write(lambda transport: transport.send(kind, data, fin=fin))

    def _write(self, write: Write, extra: float = 0.0) -> None:
        # Now or after the server's latency, and never before what was written earlier. A queue and
        # one timer, because an event loop does not keep the order of timers of the same time.
        if self._transport is None or self._server.silent:
            return
        now = asyncio.get_running_loop().time()
        latest = self._delayed[-1][0] if self._delayed else now
        self._delayed.append((max(latest, now + self._server.latency) + extra, write))
        if len(self._delayed) == 1:
            self._write_due(self._transport)

    def _write_due(self, transport: picows.WSTransport) -> None:
        loop = asyncio.get_running_loop()
        while self._delayed:
            due, write = self._delayed[0]
            if due > loop.time():
                loop.call_at(due, self._write_due, transport)
                return
            self._delayed.popleft()
            if self.closed.is_set() or transport.is_disconnected:
                continue
            if not transport.is_close_frame_sent:
                write(transport)

    # --- called by picows --------------------------------------------------------------------

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Hand the connection to the server."""
        self._transport = transport
        self._server.accepted(self)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Join fragments to messages, answer a close frame, and keep pongs."""
        if frame.msg_type == picows.WSMsgType.CLOSE:
            payload = frame.get_payload_as_bytes()
            self.close_code = int.from_bytes(payload[:2]) if len(payload) >= 2 else 1005
            self.close_reason = payload[2:].decode(errors="replace")
            if transport.is_close_frame_sent or self._server.silent:
                transport.disconnect()
            else:
                self._write(_answer_close)
        elif frame.msg_type == picows.WSMsgType.PONG:
            self.pongs.put_nowait(frame.get_payload_as_bytes())
        elif frame.msg_type in (picows.WSMsgType.BINARY, picows.WSMsgType.CONTINUATION):
            self._fragments.append(frame.get_payload_as_bytes())
            if frame.fin:
                data, self._fragments = b"".join(self._fragments), []
                self._server.message(self, data)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        """Report the end to the server and to those that wait for ``closed``."""
        self.closed.set()
        self._server.disconnected(self)


def _answer_close(transport: picows.WSTransport) -> None:
    transport.send_close(picows.WSCloseCode.OK)
    transport.disconnect()
