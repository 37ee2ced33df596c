"""GatewayModel: what the gateways of one environment decide, without any I/O.

Rules of this file: it is as strict as PROTOCOL.md says the real one is; time is an argument; what
is to be done is returned as actions. The mock server carries them out on real sockets, a simulation
in virtual time.

Theory of operation. A connection goes HANDSHAKING -> READY -> DRAINING -> closed. What a worker
sends passes one of two queues, as in the real gateway: heartbeats, WORKER_READY and WORKER_PAUSE
are handled in their order, everything else by several hands at once; with ``handling_delay`` they
overtake one another. Before WORKER_READY nothing is answered. Requests, leases and replies belong
to the environment, not to a socket: see ``ExecutorModel``.
"""

import heapq
from collections.abc import Callable
from typing import Final

from google.protobuf.message import DecodeError

from ...core.deadlines import earliest
from ...core.wire.durations import parse_duration
from ...core.wire.ulid import is_ulid
from ...protocol import connect_pb2 as pb
from .actions import Action, CloseConnection, DropConnection, SendTo, encode
from .connection import GatewayConnection, GatewayPhase
from .executor_model import ExecutorModel, Request
from .handshake import HandshakeRefused, routable_functions
from .ledger import Ledger
from .settings import GatewaySettings

K = pb.GatewayMessageType
# Looked up once: a simulation handles millions of messages.
_WORKER_READY = K.WORKER_READY
_WORKER_PAUSE = K.WORKER_PAUSE
_WORKER_HEARTBEAT = K.WORKER_HEARTBEAT
_WORKER_REQUEST_ACK = K.WORKER_REQUEST_ACK
_WORKER_REQUEST_EXTEND_LEASE = K.WORKER_REQUEST_EXTEND_LEASE
_WORKER_REPLY = K.WORKER_REPLY
_WORKER_STATUS = K.WORKER_STATUS
_CONTROL: Final = frozenset({K.WORKER_HEARTBEAT, K.WORKER_READY, K.WORKER_PAUSE})
_READY_LATER: Final = -1
"""Stands among waiting messages for the end of a synchronisation."""


class GatewayModel:
    """One environment: any number of gateways and connections, one store of requests."""

    def __init__(self, settings: GatewaySettings, random_bits: Callable[[int], int]) -> None:
        self.settings = settings
        self.connections: dict[int, GatewayConnection] = {}
        self.draining_gateways: set[str] = set()
        self.apps: dict[str, pb.AppConfiguration] = {}
        """The apps that workers have introduced, whether or not one is connected now."""
        self.protocol_errors: list[str] = []
        self.sessions: dict[str, tuple[str, str]] | None = None
        """Session and sync token by connection id, as the API issued them; each serves once.
        None takes any token."""
        self.sync_failure: tuple[str, str] | None = None
        """A code and a message that every worker is refused with, None to accept them."""
        self._out: list[Action] = []
        self.executor = ExecutorModel(settings, self.connections, self._out, random_bits)
        self._random_bits = random_bits
        self._silence = 5 * parse_duration(settings.heartbeat_interval)
        self._waiting: list[tuple[float, int, int, int, bytes]] = []
        self._last_message = 0

    @property
    def ledger(self) -> Ledger:
        return self.executor.ledger

    @property
    def requests(self) -> dict[str, Request]:
        """What is under way, by id."""
        return self.executor.requests

    def _take(self, now: float) -> list[Action]:
        self.executor.route(now)
        actions = self._out.copy()
        self._out.clear()
        return actions

    # --- connections -------------------------------------------------------------------------

    def opened(self, number: int, gateway: str, now: float) -> list[Action]:
        """A WebSocket was accepted."""
        if gateway in self.draining_gateways:
            self._out.append(CloseConnection(number, 1001, "connect_gateway_closing"))
        else:
            connection = GatewayConnection(number, gateway, last_heartbeat_at=now)
            self.connections[number] = connection
            self._send(connection, K.GATEWAY_HELLO)
        return self._take(now)

    def closed(self, number: int, now: float) -> list[Action]:
        """The WebSocket has ended."""
        if number in self.connections:
            self._forget(self.connections[number])
        return self._take(now)

    def received(self, number: int, data: bytes, now: float) -> list[Action]:
        """A message arrived."""
        connection = self.connections.get(number)
        if connection is None:
            return []
        try:
            message = pb.ConnectMessage.FromString(data)
        except DecodeError:
            self._close(connection, 1007, "failed to unmarshal Protobuf")
            return self._take(now)
        if message.kind == _WORKER_REQUEST_ACK:
            self.executor.acknowledgement_arrived(_request_id(message.payload))
        if not connection.connected:
            self._worker_connect(connection, message, now)
        elif self.settings.handling_delay:
            self._enqueue(connection, message, now)
        else:
            self._handle(connection, message.kind, message.payload, now)
        return self._take(now)

    def _enqueue(
        self, connection: GatewayConnection, message: pb.ConnectMessage, now: float
    ) -> None:
        at = now + self.settings.handling_delay * self._random_bits(16) / 65536
        if message.kind in _CONTROL:
            at = connection.control_at = max(at, connection.control_at)
        self._later(at, connection.number, message.kind, message.payload)

    def _later(self, at: float, number: int, kind: int, payload: bytes) -> None:
        self._last_message += 1
        heapq.heappush(self._waiting, (at, self._last_message, number, kind, payload))

    def _handle(self, connection: GatewayConnection, kind: int, payload: bytes, now: float) -> None:
        if kind == _WORKER_READY:
            self._worker_ready(connection)
        elif kind == _WORKER_PAUSE:
            self._worker_pause(connection)
        elif kind == _WORKER_HEARTBEAT:
            self._heartbeat(connection, now)
        elif kind == _WORKER_REQUEST_ACK:
            self._request_ack(connection, payload, now)
        elif kind == _WORKER_REQUEST_EXTEND_LEASE:
            self._extend_lease(connection, payload, now)
        elif kind == _WORKER_REPLY:
            self._reply(connection, payload, now)
        elif kind != _WORKER_STATUS:
            self.protocol_errors.append(f"unexpected kind {kind}")

    # --- the handshake -----------------------------------------------------------------------

    def _worker_connect(
        self, connection: GatewayConnection, message: pb.ConnectMessage, now: float
    ) -> None:
        if message.kind != K.WORKER_CONNECT:
            self._close(connection, 1008, "connect_worker_hello_invalid_msg")
            return
        try:
            connect = pb.WorkerConnectRequestData.FromString(message.payload)
            connection.functions = routable_functions(connect, self.settings.max_apps)
            self._check_session(connect)
        except (DecodeError, HandshakeRefused) as error:
            refused = error if isinstance(error, HandshakeRefused) else HandshakeRefused()
            self._close(connection, refused.code, refused.reason)
            return
        connection.connect = connect
        self.apps |= {app.app_name: app for app in connect.apps}
        connection.connected = True
        connection.last_heartbeat_at = now
        if self.settings.sync_delay:
            self._later(now + self.settings.sync_delay, connection.number, _READY_LATER, b"")
        else:
            self._synchronised(connection)

    def _check_session(self, connect: pb.WorkerConnectRequestData) -> None:
        """Raises HandshakeRefused for tokens that the API did not issue for this connection."""
        presented = connect.auth_data.session_token, connect.auth_data.sync_token
        if (
            self.sessions is not None
            and self.sessions.pop(connect.connection_id, None) != presented
        ):
            raise HandshakeRefused(1008, "connect_authentication_failed")

    def issued(self, connection_id: str, session_token: str, sync_token: str) -> None:
        """The API answered a start request. From the first one on tokens are checked."""
        if self.sessions is None:
            self.sessions = {}
        self.sessions[connection_id] = session_token, sync_token

    def _synchronised(self, connection: GatewayConnection) -> None:
        if self.sync_failure is not None:
            code, text = self.sync_failure
            failure = pb.SystemError(code=code, message=text)
            self._send(connection, K.SYNC_FAILED, failure.SerializeToString())
            self._close(connection, 1008, code)
            return
        settings = self.settings
        ready = pb.GatewayConnectionReadyData(
            heartbeat_interval=settings.heartbeat_interval,
            extend_lease_interval=settings.extend_lease_interval,
            status_interval=settings.status_interval,
        )
        self._send(connection, K.GATEWAY_CONNECTION_READY, ready.SerializeToString())
        assert connection.connect is not None
        if not connection.connect.worker_manual_readiness_ack:
            connection.phase = GatewayPhase.READY

    # --- control messages --------------------------------------------------------------------

    def _worker_ready(self, connection: GatewayConnection) -> None:
        if connection.gateway in self.draining_gateways:
            self._close(connection, 1001, "connect_gateway_closing")
        elif connection.phase is GatewayPhase.HANDSHAKING:
            connection.phase = GatewayPhase.READY

    def _worker_pause(self, connection: GatewayConnection) -> None:
        connection.paused = True
        connection.phase = GatewayPhase.DRAINING
        self.executor.fail_unacknowledged(connection)
        self.executor.release_held(connection)

    def _heartbeat(self, connection: GatewayConnection, now: float) -> None:
        connection.last_heartbeat_at = now
        connection.heartbeats += 1
        if connection.holds_work:
            self.executor.release_held(connection)
        if connection.phase is not GatewayPhase.HANDSHAKING:
            self._send(connection, K.GATEWAY_HEARTBEAT)

    def drain(self, gateway: str, now: float) -> list[Action]:
        """The gateway is going away: new sockets are refused, old ones get a window."""
        self.draining_gateways.add(gateway)
        for connection in [c for c in self.connections.values() if c.gateway == gateway]:
            if not connection.connected:
                self._close(connection, 1001, "connect_gateway_closing")
                continue
            # The stored status stays READY, so that the router goes on choosing it.
            ready = connection.phase is GatewayPhase.READY
            connection.holds_work = ready and self.settings.hold_during_drain
            connection.phase = GatewayPhase.DRAINING
            connection.window_ends_at = now + self.settings.drain_window
            self._send(connection, K.GATEWAY_CLOSING)
            self.executor.fail_unacknowledged(connection)
        return self._take(now)

    # --- data messages -----------------------------------------------------------------------

    def _request_ack(self, connection: GatewayConnection, payload: bytes, now: float) -> None:
        try:
            request_id = pb.WorkerRequestAckData.FromString(payload).request_id
        except DecodeError:
            self._close(connection, 1008, "connect_worker_request_ack_invalid_payload")
            return
        if not self.executor.acknowledged(request_id, connection, now):
            self.protocol_errors.append(f"acknowledgement of unknown request {request_id}")

    def _extend_lease(self, connection: GatewayConnection, payload: bytes, now: float) -> None:
        try:
            data = pb.WorkerRequestExtendLeaseData.FromString(payload)
        except DecodeError:
            data = pb.WorkerRequestExtendLeaseData()
        if not is_ulid(data.lease_id):
            self._close(connection, 1008, "connect_worker_request_extend_lease_invalid_payload")
            return
        answer = pb.WorkerRequestExtendLeaseAckData(
            request_id=data.request_id, function_slug=data.function_slug
        )
        new_lease_id = self.executor.extend(data.request_id, data.lease_id, now)
        if new_lease_id is not None:
            answer.new_lease_id = new_lease_id
        if connection.phase is not GatewayPhase.HANDSHAKING:
            self._send(connection, K.WORKER_REQUEST_EXTEND_LEASE_ACK, answer.SerializeToString())

    def _reply(self, connection: GatewayConnection, payload: bytes, now: float) -> None:
        try:
            response = pb.SDKResponse.FromString(payload)
        except DecodeError:
            self._close(connection, 1011, "connect_internal_error")
            return
        if self.executor.refuses_reply(response.request_id, connection):
            text = f"reply without an acknowledgement to {response.request_id}"
            self.protocol_errors.append(text)
            return
        self.executor.store(response, now, flushed=False)
        if connection.phase is not GatewayPhase.HANDSHAKING:
            ack = pb.WorkerReplyAckData(request_id=response.request_id)
            self._send(connection, K.WORKER_REPLY_ACK, ack.SerializeToString())

    # --- requests ----------------------------------------------------------------------------

    def dispatch(
        self, message: pb.GatewayExecutorRequestData, now: float
    ) -> tuple[str, list[Action]]:
        """Lease a request and forward it to a worker as soon as there is one."""
        request_id = self.executor.dispatch(message, now)
        return request_id, self._take(now)

    def forward_again(self, request_id: str, connection: int, now: float) -> list[Action]:
        """Deliver a request a second time, as a re-forwarding inside one dispatch does."""
        self.executor.forward(self.requests[request_id], self.connections[connection])
        return self._take(now)

    def flush(self, response: pb.SDKResponse, now: float) -> list[Action]:
        """A reply came over HTTP."""
        self.executor.store(response, now, flushed=True)
        return self._take(now)

    # --- time --------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When something happens by itself next."""
        first = self.executor.next_deadline()
        if self._waiting:
            first = earliest(first, self._waiting[0][0])
        for connection in self.connections.values():
            silent_at = connection.last_heartbeat_at + self._silence
            silent = silent_at if connection.connected else None
            first = earliest(first, connection.window_ends_at, silent)
        return first

    def tick(self, now: float) -> list[Action]:
        """Handle and expire what is due."""
        while self._waiting and self._waiting[0][0] <= now:
            _, _, number, kind, payload = heapq.heappop(self._waiting)
            connection = self.connections.get(number)
            if connection is None:
                continue  # what a closed socket left unhandled is lost
            if kind == _READY_LATER:
                self._synchronised(connection)
            else:
                self._handle(connection, kind, payload, now)
        self.executor.tick(now)
        for connection in list(self.connections.values()):
            if connection.window_ends_at is not None and now >= connection.window_ends_at:
                self._close(connection, 1001, "connect_gateway_closing")
            elif connection.connected and now >= connection.last_heartbeat_at + self._silence:
                self._forget(connection)
                self._out.append(DropConnection(connection.number))
        return self._take(now)

    def _send(
        self, connection: GatewayConnection, kind: pb.GatewayMessageType, payload: bytes = b""
    ) -> None:
        self._out.append(SendTo(connection.number, encode(kind, payload)))

    def _close(self, connection: GatewayConnection, code: int, reason: str) -> None:
        if code != 1001:
            self.protocol_errors.append(f"closed {code} {reason}")
        self._forget(connection)
        self._out.append(CloseConnection(connection.number, code, reason))

    def _forget(self, connection: GatewayConnection) -> None:
        self.connections.pop(connection.number, None)
        self.executor.fail_unacknowledged(connection)
        self.executor.release_held(connection)


def _request_id(payload: bytes) -> str:
    try:
        return pb.WorkerRequestAckData.FromString(payload).request_id
    except DecodeError:
        return ""
