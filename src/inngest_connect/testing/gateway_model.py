"""GatewayModel: what a gateway and its executor decide, without any I/O.

Rules of this file: it is as strict as PROTOCOL.md says the real one is; time is an argument; what
is to be done is returned as actions. The mock server carries them out on real sockets, a simulation
in virtual time.

Theory of operation. A connection goes HANDSHAKING -> READY -> DRAINING -> CLOSED. A request is
forwarded to one ready connection, which has to acknowledge it on that same socket; entering a drain
or a pause fails everything unacknowledged at once, and it is forwarded again, at most three times.
From its dispatch a request is leased; extensions rotate the lease id and only the last predecessor
is remembered. The first reply wins, over a socket or by flush; a lease that runs out fails it.
"""

import enum
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import DecodeError

from ..core.durations import parse_duration
from ..protocol import connect_pb2 as pb
from .ledger import Ledger, RequestRecord
from .ulid import make_ulid, ulid_seconds

K = pb.GatewayMessageType
MAX_FORWARDS: Final = 3
_ULID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SendTo:
    connection: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CloseConnection:
    connection: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class DropConnection:
    """End it without a close frame, as missed heartbeats do."""

    connection: int


@dataclass(frozen=True, slots=True)
class RequestEnded:
    """``response`` is None when the request failed for ``failure``."""

    request_id: str
    response: pb.SDKResponse | None
    failure: str = ""


Action = SendTo | CloseConnection | DropConnection | RequestEnded


class GatewayPhase(enum.Enum):
    HANDSHAKING = "HANDSHAKING"
    READY = "READY"
    DRAINING = "DRAINING"


@dataclass(slots=True)
class GatewayConnection:
    number: int
    gateway: str
    phase: GatewayPhase = GatewayPhase.HANDSHAKING
    connect: pb.WorkerConnectRequestData | None = None
    connected: bool = False
    last_heartbeat_at: float = 0.0
    heartbeats: int = 0
    paused: bool = False
    window_ends_at: float | None = None
    unacknowledged: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Request:
    message: pb.GatewayExecutorRequestData
    record: RequestRecord
    lease_id: str
    lease_until: float
    previous_lease_id: str = ""
    owner: str = ""
    """The instance that acknowledged it."""
    connection: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Times in seconds; intervals as the gateway sends them."""

    lease: float = 120.0
    lease_grace: float = 5.0
    heartbeat_interval: str = "10s"
    extend_lease_interval: str = "30s"
    status_interval: str = "0s"
    drain_window: float = 25.0
    max_apps: int = 10
    replay_predecessor: bool = True
    """False for servers before August 2026, which refuse the previous lease id."""


def encode(kind: pb.GatewayMessageType, payload: bytes = b"") -> bytes:
    """One message; GATEWAY_HELLO is a message of no bytes."""
    return pb.ConnectMessage(kind=kind, payload=payload).SerializeToString()


class GatewayModel:
    """One environment: any number of gateways and connections, one store of requests."""

    def __init__(self, settings: GatewaySettings, random_bits: Callable[[int], int]) -> None:
        self.settings = settings
        self.ledger = Ledger()
        self.connections: dict[int, GatewayConnection] = {}
        self.requests: dict[str, Request] = {}
        self.stored: dict[str, pb.SDKResponse] = {}
        self.draining_gateways: set[str] = set()
        self.protocol_errors: list[str] = []
        self._random_bits = random_bits
        self._queue: list[str] = []
        self._turn = 0
        self._out: list[Action] = []

    def ulid(self, now: float) -> str:
        return make_ulid(now, self._random_bits)

    # --- connections -------------------------------------------------------------------------

    def opened(self, number: int, gateway: str, now: float) -> list[Action]:
        """A WebSocket was accepted."""
        self._out = []
        if gateway in self.draining_gateways:
            self._out.append(CloseConnection(number, 1001, "connect_gateway_closing"))
        else:
            connection = GatewayConnection(number, gateway, last_heartbeat_at=now)
            self.connections[number] = connection
            self._send(connection, K.GATEWAY_HELLO)
        return self._out

    def closed(self, number: int, now: float) -> list[Action]:
        """The WebSocket has ended."""
        self._out = []
        connection = self.connections.pop(number, None)
        if connection is not None:
            self._fail_unacknowledged(connection)
        self._route(now)
        return self._out

    def received(self, number: int, data: bytes, now: float) -> list[Action]:
        """A message arrived."""
        self._out = []
        connection = self.connections.get(number)
        if connection is None:
            return self._out
        try:
            message = pb.ConnectMessage.FromString(data)
        except DecodeError:
            self._close(connection, 1007, "failed to unmarshal Protobuf")
            return self._out
        if not connection.connected:
            self._worker_connect(connection, message, now)
        else:
            self._dispatch_kind(connection, message, now)
        self._route(now)
        return self._out

    def _dispatch_kind(
        self, connection: GatewayConnection, message: pb.ConnectMessage, now: float
    ) -> None:
        kind, payload = message.kind, message.payload
        if kind == K.WORKER_READY:
            self._worker_ready(connection)
        elif kind == K.WORKER_PAUSE:
            connection.paused = True
            connection.phase = GatewayPhase.DRAINING
            self._fail_unacknowledged(connection)
        elif kind == K.WORKER_HEARTBEAT:
            connection.last_heartbeat_at = now
            connection.heartbeats += 1
            if connection.phase is not GatewayPhase.HANDSHAKING:
                self._send(connection, K.GATEWAY_HEARTBEAT)
        elif kind == K.WORKER_REQUEST_ACK:
            self._request_ack(connection, payload, now)
        elif kind == K.WORKER_REQUEST_EXTEND_LEASE:
            self._extend_lease(connection, payload, now)
        elif kind == K.WORKER_REPLY:
            self._reply(connection, payload, now)
        elif kind != K.WORKER_STATUS:
            self.protocol_errors.append(f"unexpected kind {kind}")

    def _worker_connect(
        self, connection: GatewayConnection, message: pb.ConnectMessage, now: float
    ) -> None:
        if message.kind != K.WORKER_CONNECT:
            self._close(connection, 1008, "connect_worker_hello_invalid_msg")
            return
        try:
            connect = pb.WorkerConnectRequestData.FromString(message.payload)
        except DecodeError:
            self._close(connection, 1008, "connect_worker_hello_invalid_payload")
            return
        refusal = self._check(connect)
        if refusal is not None:
            self._close(connection, *refusal)
            return
        connection.connect = connect
        connection.connected = True
        connection.last_heartbeat_at = now
        settings = self.settings
        ready = pb.GatewayConnectionReadyData(
            heartbeat_interval=settings.heartbeat_interval,
            extend_lease_interval=settings.extend_lease_interval,
            status_interval=settings.status_interval,
        )
        self._send(connection, K.GATEWAY_CONNECTION_READY, ready.SerializeToString())
        if not connect.worker_manual_readiness_ack:
            connection.phase = GatewayPhase.READY

    def _check(self, connect: pb.WorkerConnectRequestData) -> tuple[int, str] | None:
        """The checks of PROTOCOL.md section 3, in its order."""
        if not _ULID.fullmatch(connect.connection_id) or not connect.instance_id:
            return 1008, "connect_worker_hello_invalid_payload"
        if not connect.auth_data.session_token:
            return 1008, "connect_authentication_failed"
        if not connect.apps:
            return 1008, "connect_worker_hello_invalid_payload"
        if len(connect.apps) > self.settings.max_apps:
            return 1008, "connect_too_many_apps_per_connection"
        try:
            json.loads(connect.capabilities)
            valid = all(isinstance(json.loads(app.functions), list) for app in connect.apps)
        except ValueError:
            valid = False
        return None if valid else (1011, "connect_internal_error")

    def _worker_ready(self, connection: GatewayConnection) -> None:
        if connection.gateway in self.draining_gateways:
            self._close(connection, 1001, "connect_gateway_closing")
        elif connection.phase is GatewayPhase.HANDSHAKING:
            connection.phase = GatewayPhase.READY

    def drain(self, gateway: str, now: float) -> list[Action]:
        """The gateway is going away: new sockets are refused, old ones get a window."""
        self._out = []
        self.draining_gateways.add(gateway)
        for connection in list(self.connections.values()):
            if connection.gateway != gateway:
                continue
            if not connection.connected:
                self._close(connection, 1001, "connect_gateway_closing")
                continue
            connection.phase = GatewayPhase.DRAINING
            connection.window_ends_at = now + self.settings.drain_window
            self._send(connection, K.GATEWAY_CLOSING)
            self._fail_unacknowledged(connection)
        self._route(now)
        return self._out

    # --- requests ----------------------------------------------------------------------------

    def dispatch(
        self, message: pb.GatewayExecutorRequestData, now: float
    ) -> tuple[str, list[Action]]:
        """Lease a request and forward it to a worker as soon as there is one."""
        self._out = []
        message.request_id = message.request_id or self.ulid(now)
        request_id = message.request_id
        until = now + self.settings.lease
        message.lease_id = self.ulid(until)
        record = RequestRecord(request_id, message.run_id, message.function_slug, now)
        self.ledger.records[request_id] = record
        self.requests[request_id] = Request(message, record, message.lease_id, until)
        self._queue.append(request_id)
        self._route(now)
        return request_id, self._out

    def forward_again(self, request_id: str, connection: int, now: float) -> list[Action]:
        """Deliver a request a second time, as a re-forwarding inside one dispatch does."""
        self._out = []
        self._forward(self.requests[request_id], self.connections[connection])
        return self._out

    def _route(self, now: float) -> None:
        waiting, self._queue = self._queue, []
        for request_id in waiting:
            request = self.requests.get(request_id)
            if request is None:
                continue
            connection = self._pick(request.message)
            if connection is None:
                self._queue.append(request_id)
            else:
                self._forward(request, connection)

    def _pick(self, message: pb.GatewayExecutorRequestData) -> GatewayConnection | None:
        ready = [c for c in self.connections.values() if self._takes(c, message)]
        if not ready:
            return None
        self._turn += 1
        return ready[self._turn % len(ready)]

    def _takes(self, connection: GatewayConnection, message: pb.GatewayExecutorRequestData) -> bool:
        if connection.phase is not GatewayPhase.READY or connection.connect is None:
            return False
        limit = connection.connect.max_worker_concurrency
        if limit <= 0:
            return True
        instance = connection.connect.instance_id
        return sum(1 for r in self.requests.values() if r.owner == instance) < limit

    def _forward(self, request: Request, connection: GatewayConnection) -> None:
        request.record.forwards.append(connection.number)
        request.connection = connection.number
        if connection.connect is not None:
            request.owner = connection.connect.instance_id
        connection.unacknowledged.add(request.message.request_id)
        self._send(connection, K.GATEWAY_EXECUTOR_REQUEST, request.message.SerializeToString())

    def _fail_unacknowledged(self, connection: GatewayConnection) -> None:
        """The executor routes them again at once, or gives up after three times."""
        for request_id in connection.unacknowledged:
            request = self.requests.get(request_id)
            if request is None or request.record.acknowledged_by:
                continue
            request.owner = ""
            if len(request.record.forwards) >= MAX_FORWARDS:
                self._end(request, None, "unroutable", "connect_no_healthy_connection")
            else:
                self._queue.append(request_id)
        connection.unacknowledged.clear()

    def _request_ack(self, connection: GatewayConnection, payload: bytes, now: float) -> None:
        try:
            request_id = pb.WorkerRequestAckData.FromString(payload).request_id
        except DecodeError:
            self._close(connection, 1008, "connect_worker_request_ack_invalid_payload")
            return
        if request_id not in connection.unacknowledged:
            self.protocol_errors.append(f"acknowledgement of unknown request {request_id}")
            return
        connection.unacknowledged.discard(request_id)
        record = self.ledger.records[request_id]
        record.acknowledged_by.append(connection.number)
        record.acknowledged_at = record.acknowledged_at or now

    def _extend_lease(self, connection: GatewayConnection, payload: bytes, now: float) -> None:
        try:
            data = pb.WorkerRequestExtendLeaseData.FromString(payload)
            ulid_seconds(data.lease_id)
        except (DecodeError, ValueError):
            self._close(connection, 1008, "connect_worker_request_extend_lease_invalid_payload")
            return
        answer = pb.WorkerRequestExtendLeaseAckData(
            request_id=data.request_id, function_slug=data.function_slug
        )
        new_lease_id = self._new_lease(data, now)
        if new_lease_id is not None:
            answer.new_lease_id = new_lease_id
        if connection.phase is not GatewayPhase.HANDSHAKING:
            self._send(connection, K.WORKER_REQUEST_EXTEND_LEASE_ACK, answer.SerializeToString())

    def _new_lease(self, data: pb.WorkerRequestExtendLeaseData, now: float) -> str | None:
        request = self.requests.get(data.request_id)
        if request is None:
            if data.request_id in self.ledger.records:
                self.ledger.records[data.request_id].refused_extensions += 1
            return None
        if data.lease_id != request.lease_id and now < request.lease_until:
            if self.settings.replay_predecessor and data.lease_id == request.previous_lease_id:
                return request.lease_id
            request.record.refused_extensions += 1
            return None
        request.previous_lease_id = request.lease_id
        request.lease_until = now + self.settings.lease
        request.lease_id = self.ulid(request.lease_until)
        request.record.extensions += 1
        return request.lease_id

    # --- replies -----------------------------------------------------------------------------

    def _reply(self, connection: GatewayConnection, payload: bytes, now: float) -> None:
        try:
            response = pb.SDKResponse.FromString(payload)
        except DecodeError:
            self._close(connection, 1011, "connect_internal_error")
            return
        if response.request_id in self.ledger.records:
            self.ledger.records[response.request_id].replies += 1
        self._store(response, now)
        if connection.phase is not GatewayPhase.HANDSHAKING:
            ack = pb.WorkerReplyAckData(request_id=response.request_id)
            self._send(connection, K.WORKER_REPLY_ACK, ack.SerializeToString())

    def flush(self, response: pb.SDKResponse, now: float) -> list[Action]:
        """A reply came over HTTP."""
        self._out = []
        if response.request_id in self.ledger.records:
            self.ledger.records[response.request_id].flushes += 1
        self._store(response, now)
        self._route(now)
        return self._out

    def _store(self, response: pb.SDKResponse, now: float) -> None:
        """The first reply wins."""
        request = self.requests.get(response.request_id)
        if request is None:
            return
        request.record.answered_at = now
        self._end(request, response, "answered")

    def _end(
        self,
        request: Request,
        response: pb.SDKResponse | None,
        outcome: Any,
        failure: str = "",
    ) -> None:
        request.record.outcome = outcome
        del self.requests[request.message.request_id]
        self._out.append(RequestEnded(request.message.request_id, response, failure))

    # --- time --------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When something happens by itself next."""
        grace = self.settings.lease_grace
        times = [r.lease_until + grace for r in self.requests.values()]
        times += [c.window_ends_at for c in self.connections.values() if c.window_ends_at]
        silence = 5 * parse_duration(self.settings.heartbeat_interval)
        times += [c.last_heartbeat_at + silence for c in self.connections.values() if c.connected]
        return min(times, default=None)

    def tick(self, now: float) -> list[Action]:
        """Expire what is due."""
        self._out = []
        for request in list(self.requests.values()):
            if now >= request.lease_until + self.settings.lease_grace:
                # A request that no worker could take is not the worker's loss.
                taken = bool(request.record.acknowledged_by)
                outcome = "expired" if taken else "unroutable"
                self._end(request, None, outcome, "connect_worker_stopped_responding")
        silence = 5 * parse_duration(self.settings.heartbeat_interval)
        for connection in list(self.connections.values()):
            if connection.window_ends_at is not None and now >= connection.window_ends_at:
                self._close(connection, 1001, "connect_gateway_closing")
            elif connection.connected and now >= connection.last_heartbeat_at + silence:
                self._forget(connection)
                self._out.append(DropConnection(connection.number))
        self._route(now)
        return self._out

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
        self._fail_unacknowledged(connection)
