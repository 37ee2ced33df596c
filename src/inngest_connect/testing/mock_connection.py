"""MockConnection: one WebSocket that a mock gateway has accepted."""

import asyncio
from typing import Protocol

import picows


class ConnectionOwner(Protocol):
    """The server, as its connections know it."""

    latency: float
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
        self.number = 0
        self.close_code: int | None = None
        self.close_reason = ""
        self.closed = asyncio.Event()
        self.pongs: asyncio.Queue[bytes] = asyncio.Queue()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self.closed.is_set()

    def send_bytes(self, data: bytes) -> None:
        if self._transport is not None and not self._server.silent:
            delay = self._server.latency
            if delay:
                asyncio.get_running_loop().call_later(delay, self._write, data)
            else:
                self._write(data)

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is not None and not self.closed.is_set() and not transport.is_disconnected:
            transport.send(picows.WSMsgType.BINARY, data)

    def send_text(self, text: str) -> None:
        if self._transport is not None:
            self._transport.send(picows.WSMsgType.TEXT, text.encode())

    def send_fragments(self, *parts: bytes) -> None:
        """One message in several frames."""
        assert self._transport is not None
        for index, part in enumerate(parts):
            kind = picows.WSMsgType.BINARY if index == 0 else picows.WSMsgType.CONTINUATION
            self._transport.send(kind, part, fin=index == len(parts) - 1)

    def send_ping(self, data: bytes) -> None:
        """RFC 6455 section 5.5.2; the answer is put into ``pongs``."""
        assert self._transport is not None
        self._transport.send_ping(data)

    def send_invalid_frame(self) -> None:
        """A frame with reserved bits set, which RFC 6455 section 5.2 forbids."""
        assert self._transport is not None
        self._transport.send(picows.WSMsgType.BINARY, b"x", rsv1=True)

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame; the worker ends the connection."""
        if self._transport is not None and not self.closed.is_set():
            self._transport.send_close(picows.WSCloseCode(code), reason.encode())

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
            if not transport.is_close_frame_sent:
                transport.send_close(picows.WSCloseCode.OK)
            transport.disconnect()
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
