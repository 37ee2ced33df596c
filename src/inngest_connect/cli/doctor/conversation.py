"""Conversation: the one WebSocket of an examination, and what arrives on it.

The only module of the doctor that knows the core's handshake. WORKER_READY is never sent, so no
request is routed here. WORKER_PAUSE takes its place, because a gateway answers heartbeats only once
the connection has left the handshake.
"""

import asyncio
import ssl
import time

from ...core.commands import Send
from ...core.connections.generation import Credentials, Generation
from ...core.connections.inbound import ConnectionReady, Inbound, Malformed, RequestArrived
from ...core.connections.message_handler import MessageHandler
from ...core.connections.phases import Phase
from ...core.inputs import Input, MessageReceived, SocketClosed, TextReceived
from ...core.outbox import Outbox
from ...core.settings import CoreSettings, WorkerIdentity
from ...core.wire import messages
from ...protocol import CLOSE_NORMAL, DECODE_ERRORS, REASON_WORKER_SHUTDOWN
from ...protocol import connect_pb2 as pb
from ...transport.api_client import StartAnswer
from ...transport.websocket_manager import WebSocketManager

Intervals = dict[str, float]
"""Seconds, as agreed with the gateway."""
Ended = Inbound | SocketClosed | str
"""What came instead of what was awaited: a message, the end of the socket, or a time limit."""


class Conversation:
    """Belongs to one event loop; ``timeout`` is seconds."""

    def __init__(self, identity: WorkerIdentity, max_message_bytes: int) -> None:
        self._identity = identity
        self._outbox = Outbox()
        self._inputs: asyncio.Queue[Input] = asyncio.Queue()
        self._manager = WebSocketManager(
            1, max_message_bytes, self._inputs.put_nowait, batch_ended=self._flush
        )
        self._running: asyncio.Task[None] | None = None
        self._handler: MessageHandler
        self._generation: Generation
        self.closed: SocketClosed | None = None
        """How the socket ended."""

    async def open(
        self, url: str, *, timeout: float, ssl_context: ssl.SSLContext | None, proxy: str | None
    ) -> SocketClosed | None:
        """Dial and upgrade. Returns how that failed, None when the socket is open."""
        self._running = asyncio.create_task(
            self._manager.run(url, timeout=timeout, ssl_context=ssl_context, proxy=proxy)
        )
        await self._next(None)  # opened or closed: one of them always comes
        return self.closed

    async def shake_hands(
        self, answer: StartAnswer, *, hello_timeout: float, ready_timeout: float
    ) -> tuple[Intervals, ConnectionReady] | Ended:
        """Register the apps. Returns what was agreed, or what came instead."""
        settings = CoreSettings(hello_timeout=hello_timeout, ready_timeout=ready_timeout)
        self._handler = MessageHandler(self._identity, settings)
        now = time.monotonic()
        generation = self._generation = Generation(1, 0, settings, self._outbox, now)
        credentials = Credentials(session_token=answer.session_token, sync_token=answer.sync_token)
        generation.named(answer.connection_id, answer.gateway_group, credentials, now)
        generation.enter(Phase.AWAITING_HELLO, now)
        while True:
            arrived = await self._next(generation.next_deadline())
            if arrived is None:
                ended: Ended | None = generation.tick(time.monotonic())
            else:
                ended = self._meaning(arrived)
            if isinstance(ended, ConnectionReady):
                self._send(messages.PAUSE)
                assert generation.heartbeat is not None
                intervals = {
                    "heartbeat": generation.heartbeat.interval,
                    "extend_lease": ended.extend_lease_interval,
                    "status": generation.status_interval,
                }
                return intervals, ended
            if ended is not None:
                return ended

    async def beat(self, timeout: float) -> float | Ended | None:
        """Send a heartbeat. Returns the round trip in seconds, what came instead, None for silence.

        Measured here, because the core sends a heartbeat only when its interval has passed.
        """
        begun = time.monotonic()
        self._send(messages.HEARTBEAT)
        while (arrived := await self._next(begun + timeout)) is not None:
            if isinstance(arrived, MessageReceived) and _is_heartbeat(arrived.data):
                return time.monotonic() - begun
            meaning = self._meaning(arrived)
            # A request cannot come after the pause. If one does, it goes to another worker, because
            # it is not acknowledged here.
            if meaning is not None and not isinstance(meaning, RequestArrived):
                return meaning
        return None

    async def close(self, timeout: float) -> SocketClosed | None:
        """Do the closing handshake. Returns how it ended, None for silence."""
        begun = time.monotonic()
        self._manager.close(CLOSE_NORMAL, REASON_WORKER_SHUTDOWN)
        while self.closed is None and await self._next(begun + timeout) is not None:
            pass
        return self.closed

    async def aclose(self) -> None:
        """Drop the socket, whatever its state."""
        self._manager.abort()
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _next(self, until: float | None) -> Input | None:
        """What happens next; None when nothing does until then (monotonic seconds)."""
        wait = None if until is None else until - time.monotonic()
        try:
            async with asyncio.timeout(wait):
                arrived = await self._inputs.get()
        except TimeoutError:
            return None
        if isinstance(arrived, SocketClosed):
            self.closed = arrived
        return arrived

    def _meaning(self, arrived: Input) -> Inbound | SocketClosed | None:
        """What the core makes of it; None when the core has dealt with it."""
        match arrived:
            case MessageReceived():
                inbound = self._handler.receive(self._generation, arrived.data, time.monotonic())
                for command in self._outbox.take():
                    if isinstance(command, Send):
                        self._send(command.data)
                return inbound
            case SocketClosed():
                return arrived
            case TextReceived():
                return Malformed("text_message")
        return None

    def _send(self, data: bytes) -> None:
        """When it fails, SocketClosed follows."""
        self._manager.send(data)
        self._flush()

    def _flush(self) -> None:
        self._manager.flush()


def _is_heartbeat(data: bytes) -> bool:
    try:
        return pb.ConnectMessage.FromString(data).kind == pb.GatewayMessageType.GATEWAY_HEARTBEAT
    except DECODE_ERRORS:
        return False
