"""MockWebSocketServer: a real WebSocket server on loopback that speaks the Connect protocol.

Scripted: the test sends each message. Automatic (with a ``GatewayStore``): it behaves like the real
gateway. Every ``send_`` method writes to the newest connection unless another one is named.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import picows

from ..core.wire.messages import envelope
from ..observability.package_logger import silent_logger
from ..protocol import SUBPROTOCOL
from ..protocol import connect_pb2 as pb
from .gateway_store import GatewayStore
from .issued_sessions import ISSUED
from .mock_connection import MockConnection
from .model.malformed import MALFORMED, MalformedKind

K = pb.GatewayMessageType
_SILENT = silent_logger("testing.picows")
_MAX_FRAME_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """One message from a worker. ``kind`` is -1 when it could not be decoded."""

    connection: MockConnection
    kind: int
    payload: bytes
    data: bytes

    @property
    def kind_name(self) -> str:
        return K.Name(pb.GatewayMessageType.ValueType(self.kind)) if self.kind >= 0 else "malformed"


class MockWebSocketServer:
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
        """With ``store`` the server is automatic; with ``greet`` it says HELLO by itself.

        ``record`` False keeps no messages, for load.
        """
        self.name = name
        self.connections: list[MockConnection] = []
        self.latency = 0.0
        self.slowness = 0.0
        self.silent = False
        self.refuse_upgrades: int | None = None
        """An HTTP status to answer upgrades with, None to accept them."""
        self.redirect_to: str | None = None
        """Where an upgrade refused with 3xx is sent; None for this server's own address."""
        self._store = store
        self.greet = greet
        self._subprotocol = subprotocol
        self._record = record
        self._host, self._port = host, port
        self._ssl_context = ssl_context
        self.upgrade_headers: list[dict[str, str]] = []
        self._server: asyncio.Server | None = None
        self._stopped = False
        self._received: list[ReceivedMessage] = []
        self._unacknowledged: dict[str, MockConnection] = {}
        self.violations: list[str] = []
        """What a worker did against the protocol; the end of ``async with`` raises them."""
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def url(self) -> str:
        scheme = "ws" if self._ssl_context is None else "wss"
        return f"{scheme}://{self._host}:{self._port}/v0/connect"

    @property
    def port(self) -> int:
        return self._port

    async def start(self) -> None:
        self._stopped = False
        self._server = await picows.ws_create_server(
            self._listener,
            self._host,
            self._port,
            max_frame_size=_MAX_FRAME_BYTES,
            logger_name=_SILENT,
            ssl=self._ssl_context,
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Drop all connections, those in the middle of their upgrade too, and stop to listen."""
        self._stopped = True
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.drop()
        for connection in self.connections:
            if connection.is_open:
                await connection.closed.wait()
        if self._server is not None:
            await self._server.wait_closed()

    async def __aenter__(self) -> "MockWebSocketServer":
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.stop()
        if kind is None and self.violations:
            raise AssertionError(f"{self.name}: " + "; ".join(self.violations))

    def _listener(self, request: picows.WSUpgradeRequest) -> Any:
        self.upgrade_headers.append({key.lower(): value for key, value in request.headers.items()})
        if self.refuse_upgrades is not None:
            status = self.refuse_upgrades
            if 300 <= status < 400:
                response = picows.WSUpgradeResponse.create_redirect_response(
                    status, self.redirect_to or self.url
                )
            else:
                response = picows.WSUpgradeResponse.create_error_response(status)
            return picows.WSUpgradeResponseWithListener(response, None)
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        headers = {}
        if self._subprotocol is not None and SUBPROTOCOL in offered:
            headers["Sec-WebSocket-Protocol"] = self._subprotocol
        response = picows.WSUpgradeResponse.create_101_response(extra_headers=headers)
        return picows.WSUpgradeResponseWithListener(response, MockConnection(self))

    # --- called by connections ---------------------------------------------------------------

    def accepted(self, connection: MockConnection) -> None:
        if self._stopped:
            connection.drop()
            return
        self.connections.append(connection)
        if self._store is not None:
            connection.number = self._store.add(connection, self.name)
        elif self.greet:
            connection.send_bytes(b"")
        self._changed()

    def message(self, connection: MockConnection, data: bytes) -> None:
        if self._record:
            try:
                message = pb.ConnectMessage.FromString(data)
                received = ReceivedMessage(connection, message.kind, message.payload, data)
            except Exception:  # noqa: BLE001 - whatever a worker sends is recorded
                received = ReceivedMessage(connection, -1, b"", data)
            self._received.append(received)
            if self._store is None:
                self._check(received)
        if self._store is not None and not self.silent:
            self._store.received(connection.number, data)
        self._changed()

    def _check(self, received: ReceivedMessage) -> None:
        """A scripted server has no model: what a worker may never do is noted here."""
        if received.kind == K.WORKER_REQUEST_ACK:
            request_id = pb.WorkerRequestAckData.FromString(received.payload).request_id
            self._unacknowledged.pop(request_id, None)
        elif received.kind == K.WORKER_REPLY:
            request_id = pb.SDKResponse.FromString(received.payload).request_id
            # From another socket it can be right: the acknowledgement was lost with the first.
            if self._unacknowledged.get(request_id) is received.connection:
                self.violations.append(f"reply without an acknowledgement to {request_id}")
        elif received.kind == K.WORKER_CONNECT:
            connect = pb.WorkerConnectRequestData.FromString(received.payload)
            presented = connect.auth_data.session_token, connect.auth_data.sync_token
            issued = ISSUED.get(connect.connection_id, presented)
            if not presented[0] or presented != issued:
                self.violations.append(
                    f"WORKER_CONNECT of {connect.connection_id} without its own tokens"
                )

    def disconnected(self, connection: MockConnection) -> None:
        if self._store is not None:
            self._store.remove(connection.number)
        self._changed()

    def _changed(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # --- sending -----------------------------------------------------------------------------

    @property
    def connection(self) -> MockConnection:
        """The newest connection that is open."""
        for connection in reversed(self.connections):
            if connection.is_open:
                return connection
        raise AssertionError(f"{self.name} has no open connection")

    def _send(
        self,
        kind: pb.GatewayMessageType,
        payload: bytes,
        connection: MockConnection | None,
    ) -> None:
        (connection or self.connection).send_bytes(envelope(kind, payload))

    def send_gateway_hello(self, *, connection: MockConnection | None = None) -> None:
        self._send(K.GATEWAY_HELLO, b"", connection)

    def send_connection_ready(
        self,
        *,
        heartbeat_interval: str = "10s",
        extend_lease_interval: str = "30s",
        status_interval: str = "0s",
        connection: MockConnection | None = None,
    ) -> None:
        data = pb.GatewayConnectionReadyData(
            heartbeat_interval=heartbeat_interval,
            extend_lease_interval=extend_lease_interval,
            status_interval=status_interval,
        )
        self._send(K.GATEWAY_CONNECTION_READY, data.SerializeToString(), connection)

    def send_executor_request(
        self,
        request: pb.GatewayExecutorRequestData,
        *,
        connection: MockConnection | None = None,
    ) -> None:
        receiver = connection or self.connection
        self._unacknowledged.setdefault(request.request_id, receiver)
        self._send(K.GATEWAY_EXECUTOR_REQUEST, request.SerializeToString(), receiver)

    def send_draining_message(self, *, connection: MockConnection | None = None) -> None:
        self._send(K.GATEWAY_CLOSING, b"", connection)

    def send_heartbeat(self, *, connection: MockConnection | None = None) -> None:
        self._send(K.GATEWAY_HEARTBEAT, b"", connection)

    def send_reply_ack(self, request_id: str, *, connection: MockConnection | None = None) -> None:
        data = pb.WorkerReplyAckData(request_id=request_id)
        self._send(K.WORKER_REPLY_ACK, data.SerializeToString(), connection)

    def send_lease_ack(
        self,
        request_id: str,
        new_lease_id: str | None,
        *,
        connection: MockConnection | None = None,
    ) -> None:
        """None refuses the extension."""
        data = pb.WorkerRequestExtendLeaseAckData(request_id=request_id, new_lease_id=new_lease_id)
        self._send(K.WORKER_REQUEST_EXTEND_LEASE_ACK, data.SerializeToString(), connection)

    def send_sync_failed(
        self, code: str, message: str, *, connection: MockConnection | None = None
    ) -> None:
        data = pb.SystemError(code=code, message=message)
        self._send(K.SYNC_FAILED, data.SerializeToString(), connection)

    def send_raw(self, data: bytes, *, connection: MockConnection | None = None) -> None:
        (connection or self.connection).send_bytes(data)

    def send_text(self, text: str, *, connection: MockConnection | None = None) -> None:
        (connection or self.connection).send_text(text)

    def send_malformed(
        self, kind: MalformedKind, *, connection: MockConnection | None = None
    ) -> None:
        """Send bytes that are wrong in the way that ``kind`` names."""
        (connection or self.connection).send_bytes(MALFORMED[kind])

    def close_connection(
        self, code: int, reason: str = "", *, connection: MockConnection | None = None
    ) -> None:
        (connection or self.connection).close(code, reason)

    # --- faults ------------------------------------------------------------------------------

    def simulate_latency(self, ms: float) -> None:
        """Delay everything that is sent from now on; 0 ends it."""
        self.latency = ms / 1000

    def simulate_connection_drop(self, *, connection: MockConnection | None = None) -> None:
        """End a connection without a close frame."""
        (connection or self.connection).drop()

    def simulate_slow_response(self, ms: float = 1000) -> None:
        """Stretch every message from now on over ``ms``: half of it, a pause, the rest; 0 ends it.

        Latency moves a message, this makes it long: the worker has begun to read it.
        """
        self.slowness = ms / 1000

    def stop_answering(self) -> None:
        """Keep connections open and say nothing more: a half-open peer."""
        self.silent = True

    # --- what was received -------------------------------------------------------------------

    def get_received_messages(self, kind: int | None = None) -> list[ReceivedMessage]:
        return [m for m in self._received if kind is None or m.kind == kind]

    def assert_message_received(self, kind: int) -> ReceivedMessage:
        """Return the first message of ``kind``; AssertionError names what came instead."""
        messages = self.get_received_messages(kind)
        got = ", ".join(m.kind_name for m in self._received) or "nothing"
        name = K.Name(pb.GatewayMessageType.ValueType(kind))
        assert messages, f"{self.name} did not receive {name}; it received {got}"
        return messages[0]

    async def wait_for_message(
        self, kind: int, count: int = 1, timeout: float = 10.0
    ) -> ReceivedMessage:
        """Wait until ``count`` messages of ``kind`` have come; returns the last of them."""
        await self.until(lambda: len(self.get_received_messages(kind)) >= count, timeout)
        return self.get_received_messages(kind)[count - 1]

    async def wait_for_connection(self, count: int = 1, timeout: float = 10.0) -> MockConnection:
        """Wait until ``count`` connections were accepted; returns the last of them."""
        await self.until(lambda: len(self.connections) >= count, timeout)
        return self.connections[count - 1]

    async def until(self, condition: Callable[[], bool], timeout: float = 10.0) -> None:
        """Wait for a change after which ``condition`` holds; raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while not condition():
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                await waiter
