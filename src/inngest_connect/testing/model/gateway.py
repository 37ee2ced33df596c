"""GatewayModel: what the gateways of one environment decide, without any I/O.

Rules of this file: it is as strict as docs/protocol.md says the server is; time is an argument;
what has to be done is returned as actions.

Theory of operation. A connection goes HANDSHAKING -> READY -> DRAINING -> closed. What a worker
sends passes one of two queues, as in the server: heartbeats, WORKER_READY and WORKER_PAUSE are
handled in their order, everything else by several handlers at the same time, so with
``handling_delay`` they overtake one another. Before WORKER_READY nothing is answered. Requests,
leases and replies belong to the environment, not to a socket: see ``ExecutorModel``.
"""

import contextlib
import heapq
from collections.abc import Callable
from typing import Final

from google.protobuf.message import DecodeError

from ...core.deadlines import earliest
from ...core.wire.durations import parse_duration
from ...core.wire.messages import envelope
from ...core.wire.ulid import is_ulid
from ...protocol import connect_pb2 as pb
from .actions import Action, CloseConnection, DropConnection, SendTo
from .connection import GatewayConnection, GatewayPhase
from .executor import ExecutorModel, Request
from .handshake import HandshakeRefused, check_connect
from .ledger import Ledger
from .settings import GatewaySettings

_CONTROL: Final = frozenset({pb.WORKER_HEARTBEAT, pb.WORKER_READY, pb.WORKER_PAUSE})
_SYNCHRONIZED: Final = -1
"""In place of a message kind: the apps of a connection are synchronized."""

_INVALID_PAYLOAD: Final[dict[int, tuple[int, str]]] = {
    pb.WORKER_REQUEST_ACK: (1008, "connect_worker_request_ack_invalid_payload"),
    pb.WORKER_REQUEST_EXTEND_LEASE: (1008, "connect_worker_request_extend_lease_invalid_payload"),
    pb.WORKER_REPLY: (1011, "connect_internal_error"),
}
"""Close code and reason for a payload that cannot be decoded, by the kind of its message."""


class GatewayModel:
    """One environment: any number of gateways and connections, one store of requests."""

    def __init__(self, settings: GatewaySettings, random_bits: Callable[[int], int]) -> None:
        self.settings = settings
        self.connections: dict[int, GatewayConnection] = {}
        self.draining_gateways: set[str] = set()
        self.apps: dict[str, pb.AppConfiguration] = {}
        """The apps that workers have introduced, whether or not one is connected now."""
        self.protocol_errors: list[str] = []
        self.sync_failure: tuple[str, str] | None = None
        """A code and a message with which every worker is refused, None to accept them."""
        self._sessions: dict[str, tuple[str, str]] | None = None
        """Session and sync token by connection id; None until the API has issued one."""
        self._out: list[Action] = []
        self.executor = ExecutorModel(settings, self.connections, self._out, random_bits)
        self.ledger: Ledger = self.executor.ledger
        self.requests: dict[str, Request] = self.executor.requests
        self._random_bits = random_bits
        self._silence = 5 * parse_duration(settings.heartbeat_interval)
        self._waiting: list[tuple[float, int, int, int, bytes]] = []
        """A heap: when a message is handled, its position, connection, kind and payload."""
        self._last_message = 0

    def issued(self, connection_id: str, session_token: str, sync_token: str) -> None:
        """Take the tokens of an answered start request. From the first call on they are checked."""
        if self._sessions is None:
            self._sessions = {}
        self._sessions[connection_id] = session_token, sync_token

    # --- connections -------------------------------------------------------------------------

    def opened(self, number: int, gateway: str, now: float) -> list[Action]:
        """A WebSocket was accepted."""
        if gateway in self.draining_gateways:
            self._out.append(CloseConnection(number, 1001, "connect_gateway_closing"))
        else:
            connection = GatewayConnection(number, gateway, last_heartbeat_at=now)
            self.connections[number] = connection
            self._send(connection, pb.GATEWAY_HELLO)
        return self._take(now)

    def closed(self, number: int, now: float) -> list[Action]:
        """The WebSocket has ended."""
        if number in self.connections:
            self._forget(self.connections[number])
        return self._take(now)

    def received(self, number: int, data: bytes, now: float) -> list[Action]:
        """A message arrived."""
        if (connection := self.connections.get(number)) is None:
            return []
        try:
            message = pb.ConnectMessage.FromString(data)
        except DecodeError:
            self._close(connection, 1007, "failed to unmarshal Protobuf")
            return self._take(now)
        if connection.connect is None:
            self._worker_connect(connection, message, now)
            return self._take(now)
        if message.kind == pb.WORKER_REQUEST_ACK:
            with contextlib.suppress(DecodeError):
                ack = pb.WorkerRequestAckData.FromString(message.payload)
                self.executor.acknowledgement_arrived(ack.request_id)
        if self.settings.handling_delay:
            at = now + self.settings.handling_delay * self._random_bits(16) / 65536
            if message.kind in _CONTROL:
                at = connection.control_at = max(at, connection.control_at)
            self._later(at, number, message.kind, message.payload)
        else:
            self._handle(connection, message.kind, message.payload, now)
        return self._take(now)

    def _later(self, at: float, number: int, kind: int, payload: bytes) -> None:
        self._last_message += 1
        heapq.heappush(self._waiting, (at, self._last_message, number, kind, payload))

    def _worker_connect(
        self, connection: GatewayConnection, message: pb.ConnectMessage, now: float
    ) -> None:
        try:
            connection.connect, connection.functions = check_connect(
                message, self.settings.max_apps, self._sessions
            )
        except HandshakeRefused as refused:
            self._close(connection, refused.code, refused.reason)
            return
        self.apps |= {app.app_name: app for app in connection.connect.apps}
        connection.last_heartbeat_at = now
        if self.settings.sync_delay:
            self._later(now + self.settings.sync_delay, connection.number, _SYNCHRONIZED, b"")
        else:
            self._synchronized(connection)

    def _handle(self, connection: GatewayConnection, kind: int, payload: bytes, now: float) -> None:
        # The constants of the module, because the attributes of the enum are slow to look up and a
        # simulation handles millions of messages.
        try:
            match kind:
                case pb.WORKER_HEARTBEAT:
                    connection.last_heartbeat_at = now
                    connection.heartbeats += 1
                    if connection.holds_work:
                        self.executor.release_held(connection)
                    self._answer(connection, pb.GATEWAY_HEARTBEAT)
                case pb.WORKER_REQUEST_EXTEND_LEASE:
                    self._extend_lease(connection, payload, now)
                case pb.WORKER_REQUEST_ACK:
                    request_id = pb.WorkerRequestAckData.FromString(payload).request_id
                    if not self.executor.acknowledged(request_id, connection, now):
                        text = f"acknowledgement of unknown request {request_id}"
                        self.protocol_errors.append(text)
                case pb.WORKER_REPLY:
                    self._reply(connection, payload, now)
                case pb.WORKER_READY:
                    if connection.gateway in self.draining_gateways:
                        self._close(connection, 1001, "connect_gateway_closing")
                    elif connection.phase is GatewayPhase.HANDSHAKING:
                        connection.phase = GatewayPhase.READY
                case pb.WORKER_PAUSE:
                    connection.paused = True
                    connection.phase = GatewayPhase.DRAINING
                    self.executor.fail_unacknowledged(connection)
                    self.executor.release_held(connection)
                case pb.WORKER_STATUS:
                    pass  # the server only logs it
                case _:
                    self.protocol_errors.append(f"unexpected kind {kind}")
        except DecodeError:
            self._close(connection, *_INVALID_PAYLOAD[kind])

    def _extend_lease(self, connection: GatewayConnection, payload: bytes, now: float) -> None:
        data = pb.WorkerRequestExtendLeaseData.FromString(payload)
        if not is_ulid(data.lease_id):
            self._close(connection, *_INVALID_PAYLOAD[pb.WORKER_REQUEST_EXTEND_LEASE])
            return
        answer = pb.WorkerRequestExtendLeaseAckData(
            request_id=data.request_id,
            function_slug=data.function_slug,
            new_lease_id=self.executor.extend(data.request_id, data.lease_id, now),
        )
        self._answer(connection, pb.WORKER_REQUEST_EXTEND_LEASE_ACK, answer.SerializeToString())

    def _reply(self, connection: GatewayConnection, payload: bytes, now: float) -> None:
        response = pb.SDKResponse.FromString(payload)
        if self.executor.refuses_reply(response.request_id, connection):
            self.protocol_errors.append(
                f"reply without an acknowledgement to {response.request_id}"
            )
            return
        self.executor.store(response, now, flushed=False)
        ack = pb.WorkerReplyAckData(request_id=response.request_id)
        self._answer(connection, pb.WORKER_REPLY_ACK, ack.SerializeToString())

    def _synchronized(self, connection: GatewayConnection) -> None:
        if self.sync_failure is not None:
            code, text = self.sync_failure
            failure = pb.SystemError(code=code, message=text)
            self._send(connection, pb.SYNC_FAILED, failure.SerializeToString())
            self._close(connection, 1008, code)
            return
        ready = pb.GatewayConnectionReadyData(
            heartbeat_interval=self.settings.heartbeat_interval,
            extend_lease_interval=self.settings.extend_lease_interval,
            status_interval=self.settings.status_interval,
        )
        self._send(connection, pb.GATEWAY_CONNECTION_READY, ready.SerializeToString())
        assert connection.connect is not None
        if not connection.connect.worker_manual_readiness_ack:
            connection.phase = GatewayPhase.READY

    def drain(self, gateway: str, now: float) -> list[Action]:
        """Drain a gateway: it closes new connections, and the others after ``drain_window``."""
        self.draining_gateways.add(gateway)
        for connection in [c for c in self.connections.values() if c.gateway == gateway]:
            if connection.connect is None:
                self._close(connection, 1001, "connect_gateway_closing")
                continue
            # The server still stores it as READY, so the router goes on choosing it.
            ready = connection.phase is GatewayPhase.READY
            connection.holds_work = ready and self.settings.hold_during_drain
            connection.phase = GatewayPhase.DRAINING
            connection.window_ends_at = now + self.settings.drain_window
            self._send(connection, pb.GATEWAY_CLOSING)
            self.executor.fail_unacknowledged(connection)
        return self._take(now)

    def dispatch(
        self, message: pb.GatewayExecutorRequestData, now: float
    ) -> tuple[str, list[Action]]:
        """Lease a request and forward it to a worker as soon as there is one; returns its id."""
        request_id = self.executor.dispatch(message, now)
        return request_id, self._take(now)

    def forward_again(self, request_id: str, connection: int, now: float) -> list[Action]:
        """Write a request to that connection once more, as a repeated forward does."""
        self.executor.forward(self.requests[request_id], self.connections[connection])
        return self._take(now)

    def flush(self, response: pb.SDKResponse, now: float) -> list[Action]:
        """A reply arrived over HTTP."""
        self.executor.store(response, now, flushed=True)
        return self._take(now)

    def next_deadline(self) -> float | None:
        """When ``tick`` has to be called next."""
        handled_at = self._waiting[0][0] if self._waiting else None
        first = earliest(self.executor.next_deadline(), handled_at)
        for connection in self.connections.values():
            first = earliest(first, connection.window_ends_at, connection.silent_at(self._silence))
        return first

    def tick(self, now: float) -> list[Action]:
        """Handle the delayed messages that are due, and end what has run out of time."""
        while self._waiting and self._waiting[0][0] <= now:
            _, _, number, kind, payload = heapq.heappop(self._waiting)
            if (connection := self.connections.get(number)) is None:
                continue  # what a closed connection left unhandled is lost
            if kind == _SYNCHRONIZED:
                self._synchronized(connection)
            else:
                self._handle(connection, kind, payload, now)
        self.executor.tick(now)
        for connection in list(self.connections.values()):
            silent_at = connection.silent_at(self._silence)
            if connection.window_ends_at is not None and now >= connection.window_ends_at:
                self._close(connection, 1001, "connect_gateway_closing")
            elif silent_at is not None and now >= silent_at:
                self._forget(connection)
                self._out.append(DropConnection(connection.number))
        return self._take(now)

    def _take(self, now: float) -> list[Action]:
        """Route what can be routed now, and hand over all actions: the end of every input."""
        self.executor.route(now)
        actions = self._out.copy()
        self._out.clear()
        return actions

    def _send(self, to: GatewayConnection, kind: pb.GatewayMessageType, raw: bytes = b"") -> None:
        self._out.append(SendTo(to.number, envelope(kind, raw)))

    def _answer(self, to: GatewayConnection, kind: pb.GatewayMessageType, raw: bytes = b"") -> None:
        if to.phase is not GatewayPhase.HANDSHAKING:
            self._send(to, kind, raw)

    def _close(self, connection: GatewayConnection, code: int, reason: str) -> None:
        if code != 1001:
            self.protocol_errors.append(f"closed {code} {reason}")
        self._forget(connection)
        self._out.append(CloseConnection(connection.number, code, reason))

    def _forget(self, connection: GatewayConnection) -> None:
        self.connections.pop(connection.number, None)
        self.executor.fail_unacknowledged(connection)
        self.executor.release_held(connection)
