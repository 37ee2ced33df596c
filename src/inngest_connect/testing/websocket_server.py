"""MockWebSocketServer: a WebSocket server on loopback that speaks the Connect protocol.

Scripted: the test sends each message. Automatic, with a ``GatewayStore``: it behaves like the real
gateway. Every ``send_`` method writes to the newest open connection unless one is given.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import Message

from ..core.wire.messages import envelope
from ..protocol import DECODE_ERRORS, SUBPROTOCOL
from ..protocol import connect_pb2 as pb
from .changes import Changes
from .gateway_store import GatewayStore
from .mock_connection import MockConnection
from .model.malformed import MALFORMED, MalformedKind
from .scripted_rules import ScriptedRules
from .websocket_listener import WebSocketListener


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """One message from a worker. ``kind`` is -1 when it could not be decoded."""

    connection: MockConnection
    kind: int
    payload: bytes
    data: bytes

    @property
    def kind_name(self) -> str:
        """The name of the kind, such as "WORKER_READY"; "malformed" if it was not decoded."""
        return _kind_name(self.kind) if self.kind >= 0 else "malformed"


Receiver = MockConnection | None
"""The connection that is written to; None for the newest one that is open."""


class MockWebSocketServer(WebSocketListener):
    """``async with MockWebSocketServer() as server: server.url``."""

    def __init__(
        self,
        *,
        name: str = "gateway-0",
        store: GatewayStore | None = None,
        greet: bool = False,
        subprotocol: str | None = SUBPROTOCOL,
        record: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """With ``store`` the server is automatic; with ``greet`` it sends GATEWAY_HELLO by itself.

        ``subprotocol`` is what it selects, None for none. With ``record`` False no messages are
        kept, for load.
        """
        super().__init__(subprotocol, host, port, ssl_context)
        self.name = name
        self.greet = greet
        self._rules = ScriptedRules()
        self.violations = self._rules.violations
        """How workers violated the protocol; the end of ``async with`` raises them."""
        self._store = store
        self._record = record
        self._received: list[ReceivedMessage] = []
        self._changes = Changes()

    async def __aenter__(self) -> "MockWebSocketServer":
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.stop()
        if kind is None and self.violations:
            raise AssertionError(f"{self.name}: " + "; ".join(self.violations))

    # --- called by connections ---------------------------------------------------------------

    def opened(self, connection: MockConnection) -> None:
        """Introduce a new connection to the store, or greet it."""
        if self._store is not None:
            connection.number = self._store.add(connection, self.name)
        elif self.greet:
            connection.send_bytes(b"")
        self._changes.happened()

    def message(self, connection: MockConnection, data: bytes) -> None:
        """Record a message and hand it to the store, or to the rules of a scripted server."""
        if self._record:
            try:
                message = pb.ConnectMessage.FromString(data)
                received = ReceivedMessage(connection, message.kind, message.payload, data)
            except DECODE_ERRORS:
                received = ReceivedMessage(connection, -1, b"", data)
            self._received.append(received)
            if self._store is None:
                self._rules.received(connection, received.kind, received.payload)
        if self._store is not None and not self.silent:
            self._store.received(connection.number, data)
        self._changes.happened()

    def disconnected(self, connection: MockConnection) -> None:
        """Report the end of a connection to the store."""
        if self._store is not None:
            self._store.remove(connection.number)
        self._changes.happened()

    # --- sending -----------------------------------------------------------------------------

    @property
    def connection(self) -> MockConnection:
        """The newest connection that is open. Raises AssertionError when there is none."""
        for connection in reversed(self.connections):
            if connection.is_open:
                return connection
        raise AssertionError(f"{self.name} has no open connection")

    def _send(
        self, connection: Receiver, kind: pb.GatewayMessageType, data: Message | None = None
    ) -> None:
        payload = b"" if data is None else data.SerializeToString()
        (connection or self.connection).send_bytes(envelope(kind, payload))

    def send_gateway_hello(self, *, connection: Receiver = None) -> None:
        """Send GATEWAY_HELLO, which a worker answers with WORKER_CONNECT."""
        self._send(connection, pb.GATEWAY_HELLO)

    def send_connection_ready(
        self,
        *,
        heartbeat_interval: str = "10s",
        extend_lease_interval: str = "30s",
        status_interval: str = "0s",
        connection: Receiver = None,
    ) -> None:
        """Send GATEWAY_CONNECTION_READY with its intervals, as strings such as "10s"."""
        data = pb.GatewayConnectionReadyData(
            heartbeat_interval=heartbeat_interval,
            extend_lease_interval=extend_lease_interval,
            status_interval=status_interval,
        )
        self._send(connection, pb.GATEWAY_CONNECTION_READY, data)

    def send_executor_request(
        self, request: pb.GatewayExecutorRequestData, *, connection: Receiver = None
    ) -> None:
        """Send a request, such as one of ``executor_request``."""
        receiver = connection or self.connection
        self._rules.sent(request.request_id, receiver)
        self._send(receiver, pb.GATEWAY_EXECUTOR_REQUEST, request)

    def send_draining_message(self, *, connection: Receiver = None) -> None:
        """Send GATEWAY_CLOSING: the gateway drains."""
        self._send(connection, pb.GATEWAY_CLOSING)

    def send_heartbeat(self, *, connection: Receiver = None) -> None:
        """Send GATEWAY_HEARTBEAT."""
        self._send(connection, pb.GATEWAY_HEARTBEAT)

    def send_reply_ack(self, request_id: str, *, connection: Receiver = None) -> None:
        """Send WORKER_REPLY_ACK: the reply is stored."""
        data = pb.WorkerReplyAckData(request_id=request_id)
        self._send(connection, pb.WORKER_REPLY_ACK, data)

    def send_lease_ack(
        self, request_id: str, new_lease_id: str | None, *, connection: Receiver = None
    ) -> None:
        """Answer the extension of a lease with its new id, or refuse it with None."""
        data = pb.WorkerRequestExtendLeaseAckData(request_id=request_id, new_lease_id=new_lease_id)
        self._send(connection, pb.WORKER_REQUEST_EXTEND_LEASE_ACK, data)

    def send_sync_failed(self, code: str, message: str, *, connection: Receiver = None) -> None:
        """Send SYNC_FAILED: the functions of the worker are refused."""
        data = pb.SystemError(code=code, message=message)
        self._send(connection, pb.SYNC_FAILED, data)

    def send_raw(self, data: bytes, *, connection: Receiver = None) -> None:
        """Send a binary message of any bytes."""
        (connection or self.connection).send_bytes(data)

    def send_text(self, text: str, *, connection: Receiver = None) -> None:
        """Send a text message, which the protocol does not have."""
        (connection or self.connection).send_text(text)

    def send_malformed(self, kind: MalformedKind, *, connection: Receiver = None) -> None:
        """Send bytes that are malformed in the way that ``kind`` names."""
        (connection or self.connection).send_bytes(MALFORMED[kind])

    def close_connection(self, code: int, reason: str = "", *, connection: Receiver = None) -> None:
        """Send a close frame."""
        (connection or self.connection).close(code, reason)

    def simulate_connection_drop(self, *, connection: Receiver = None) -> None:
        """End a connection without a close frame."""
        (connection or self.connection).drop()

    # --- what was received -------------------------------------------------------------------

    def get_received_messages(self, kind: int | None = None) -> list[ReceivedMessage]:
        """Return all messages, or those of ``kind``, in the order of their arrival."""
        return [m for m in self._received if kind is None or m.kind == kind]

    def assert_message_received(self, kind: int) -> ReceivedMessage:
        """Return the first message of ``kind``; the AssertionError names what was received."""
        messages = self.get_received_messages(kind)
        got = ", ".join(m.kind_name for m in self._received) or "nothing"
        assert messages, f"{self.name} did not receive {_kind_name(kind)}; it received {got}"
        return messages[0]

    async def wait_for_message(
        self, kind: int, count: int = 1, timeout: float = 10.0
    ) -> ReceivedMessage:
        """Wait for ``count`` messages of ``kind``; returns the last of them."""
        await self.until(lambda: len(self.get_received_messages(kind)) >= count, timeout)
        return self.get_received_messages(kind)[count - 1]

    async def wait_for_connection(self, count: int = 1, timeout: float = 10.0) -> MockConnection:
        """Wait until ``count`` connections were accepted; returns the last of them."""
        await self.until(lambda: len(self.connections) >= count, timeout)
        return self.connections[count - 1]

    async def until(self, condition: Callable[[], bool], timeout: float = 10.0) -> None:
        """Wait until ``condition`` holds, which is checked after every message and connection.

        Raises TimeoutError after ``timeout`` seconds, as the other waits do.
        """
        await self._changes.until(condition, timeout)


def _kind_name(kind: int) -> str:
    return pb.GatewayMessageType.Name(pb.GatewayMessageType.ValueType(kind))
