"""Session: the one WebSocket of an examination, read event by event."""

import asyncio
import ssl

from ...core.inputs import Input, SocketClosed
from ...transport.websocket_manager import WebSocketManager


class Session:
    """Lives on the event loop that it was made on. Times are seconds."""

    def __init__(self, max_message_bytes: int) -> None:
        self._events: asyncio.Queue[Input] = asyncio.Queue()
        self._manager = WebSocketManager(
            1, max_message_bytes, self._events.put_nowait, batch_ended=self._flush
        )
        self._running: asyncio.Task[None] | None = None
        self.closed: SocketClosed | None = None

    async def open(
        self, url: str, *, timeout: float, ssl_context: ssl.SSLContext | None, proxy: str | None
    ) -> SocketClosed | None:
        """Dial and upgrade; returns how it failed, None when the socket is open."""
        self._running = asyncio.create_task(
            self._manager.run(url, timeout=timeout, ssl_context=ssl_context, proxy=proxy)
        )
        await self.next(None)
        return self.closed

    async def next(self, timeout: float | None) -> Input | None:
        """The next thing that happens; None when nothing does in time."""
        try:
            async with asyncio.timeout(timeout):
                event = await self._events.get()
        except TimeoutError:
            return None
        if isinstance(event, SocketClosed):
            self.closed = event
        return event

    def send(self, data: bytes) -> None:
        """A failure needs no report: the end of the socket will be one."""
        self._manager.send(data)
        self._flush()

    def _flush(self) -> None:
        self._manager.flush()

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake."""
        self._manager.close(code, reason)

    async def aclose(self) -> None:
        """Drop what is still there."""
        self._manager.abort()
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
