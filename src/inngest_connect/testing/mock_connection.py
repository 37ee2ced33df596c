"""MockConnection: one WebSocket that a mock gateway has accepted."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

import picows


class ConnectionOwner(Protocol):
    """The server, as its connections know it."""

    latency: float
    slowness: float
    silent: bool

    def accepted(self, connection: "MockConnection") -> None: ...
    def message(self, connection: "MockConnection", data: bytes) -> None: ...
    def disconnected(self, connection: "MockConnection") -> None: ...


class MockConnection(picows.WSListener):
    """One accepted WebSocket."""

    def __init__(self, server: ConnectionOwner) -> None:
        self._server = server
        self._transport: picows.WSTransport | None = None
        self._fragments: list[bytes] = []
        self._delayed: deque[tuple[float, Callable[[picows.WSTransport], None]]] = deque()
        self.number = 0
        self.close_code: int | None = None
        self.close_reason = ""
        self.closed = asyncio.Event()
        self.pongs: asyncio.Queue[bytes] = asyncio.Queue()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self.closed.is_set()

    def send_bytes(self, data: bytes) -> None:
        self._send(picows.WSMsgType.BINARY, data)

    def send_text(self, text: str) -> None:
        self._send(picows.WSMsgType.TEXT, text.encode())

    def send_fragments(self, *parts: bytes) -> None:
        """One message in several frames."""
        for index, part in enumerate(parts):
            kind = picows.WSMsgType.BINARY if index == 0 else picows.WSMsgType.CONTINUATION
            self._frame(kind, part, fin=index == len(parts) - 1)

    def send_ping(self, data: bytes) -> None:
        """RFC 6455 section 5.5.2; the answer is put into ``pongs``."""
        self._write(lambda transport: transport.send_ping(data))

    def send_invalid_frame(self) -> None:
        """A frame with reserved bits set, which RFC 6455 section 5.2 forbids."""
        self._write(lambda transport: transport.send(picows.WSMsgType.BINARY, b"x", rsv1=True))

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame; the worker ends the connection."""
        self._write(lambda t: t.send_close(picows.WSCloseCode(code), reason.encode()))

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

    def _write(self, action: Callable[[picows.WSTransport], None], extra: float = 0.0) -> None:
        """Do it now, or after the server's latency, and never before what was written earlier."""
        if self._transport is None or self._server.silent:
            return
        now = asyncio.get_running_loop().time()
        latest = self._delayed[-1][0] if self._delayed else now
        due = max(latest, now + self._server.latency) + extra
        self._delayed.append((due, action))
        if len(self._delayed) == 1:
            self._release()

    def _release(self) -> None:
        # A queue and one timer: an event loop does not keep the order of timers of one instant.
        loop, transport = asyncio.get_running_loop(), self._transport
        while self._delayed:
            due, action = self._delayed[0]
            if due > loop.time():
                loop.call_at(due, self._release)
                return
            self._delayed.popleft()
            if transport is None or self.closed.is_set():
                continue
            if not transport.is_disconnected and not transport.is_close_frame_sent:
                action(transport)

    def drop(self) -> None:
        """End the connection without a close frame."""
        if self._transport is not None:
            self._transport.disconnect(False)

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport
        self._server.accepted(self)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
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
        self.closed.set()
        self._server.disconnected(self)


def _answer_close(transport: picows.WSTransport) -> None:
    transport.send_close(picows.WSCloseCode.OK)
    transport.disconnect()
