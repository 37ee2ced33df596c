"""MessageHandler: the protocol of one socket, from its opening to its end.

Rules of this file:
1. It owns what belongs to one socket: its phase, its handshake, its heartbeats, its deadlines.
   What belongs to the worker (leases, replies, requests) it only reports.
2. Bytes in, commands out: its own part of the conversation (WORKER_CONNECT, heartbeats) is appended
   to ``out``; what the worker has to know is returned as one ``Inbound`` object.
3. Nothing that a peer sends raises. Unreadable or unknown messages become ``Malformed``; a message
   that its phase does not allow becomes ``Violation`` (the peer's fault, see ``phases``).

Setup phase: HELLO, then WORKER_CONNECT from us, then CONNECTION_READY, each within its time limit
(PROTOCOL.md section 3). Active phase: everything else.
"""

from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from ...protocol import MAX_EXTEND_LEASE_INTERVAL
from ...protocol import connect_pb2 as pb
from ..commands import Command, Send
from ..record import record
from ..settings import CoreSettings, WorkerIdentity
from ..wire import messages
from ..wire.durations import parse_duration
from ..wire.remote_text import clean
from .heartbeat import HeartbeatMonitor
from .phases import Phase

_K = pb.GatewayMessageType
# Looked up once: reading a member of a protobuf enum costs as much as parsing a small message.
_GATEWAY_EXECUTOR_REQUEST = _K.GATEWAY_EXECUTOR_REQUEST
_WORKER_REPLY_ACK = _K.WORKER_REPLY_ACK
_WORKER_REQUEST_EXTEND_LEASE_ACK = _K.WORKER_REQUEST_EXTEND_LEASE_ACK
_GATEWAY_HEARTBEAT = _K.GATEWAY_HEARTBEAT
_GATEWAY_CLOSING = _K.GATEWAY_CLOSING
_SYNC_FAILED = _K.SYNC_FAILED
_GATEWAY_HELLO = _K.GATEWAY_HELLO
_KINDS = frozenset(pb.GatewayMessageType.values())
LONGEST_NAME: Final = 1024
"""Characters of an id or a name. They are kept for minutes, and are keys of tables."""
LONGEST_TRACE: Final = 1024 * 1024
"""Bytes of a trace context. It is echoed in the acknowledgement, in each extension and in the
reply, which must not become too large for the gateway because of it."""
_SHORTEST_INTERVAL = 0.01
"""Seconds. A shorter interval would spin; it is treated as unusable."""


@record
class ConnectionReady:
    """Handshake done. Intervals in seconds; ``complaints`` name values that were unusable."""

    extend_lease_interval: float
    status_interval: float
    complaints: tuple[str, ...] = ()


@record
class RequestArrived:
    request: pb.GatewayExecutorRequestData


@record
class ReplyAcked:
    request_id: str


@record
class LeaseAnswered:
    """``new_lease_id`` is None when the extension was refused."""

    request_id: str
    new_lease_id: str | None


@record
class HeartbeatAcked:
    """``round_trip`` is seconds."""

    round_trip: float


@record
class GatewayClosing:
    pass


@record
class SyncFailed:
    code: str
    message: str


@record
class Malformed:
    """``kind`` says what was wrong; one log line per kind is enough."""

    kind: str


@record
class Violation:
    """A readable message at a time when the protocol does not allow it."""

    text: str


@record
class Expired:
    """A time limit of this socket has passed; ``text`` says which."""

    text: str


Inbound = (
    ConnectionReady
    | RequestArrived
    | ReplyAcked
    | LeaseAnswered
    | HeartbeatAcked
    | GatewayClosing
    | SyncFailed
    | Malformed
    | Violation
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What the API issued for one connection. Lives five minutes, is never reused or logged."""

    connection_id: str
    session_token: str
    sync_token: str

    def __repr__(self) -> str:
        return f"Credentials({self.connection_id})"


class MessageHandler:
    """One per generation. Times are monotonic seconds."""

    def __init__(self, generation: int, identity: WorkerIdentity, settings: CoreSettings) -> None:
        self.generation = generation
        self.phase = Phase.HANDSHAKING
        self.heartbeat: HeartbeatMonitor | None = None
        self.last_message_at: float | None = None
        self._identity = identity
        self._settings = settings
        self._credentials: Credentials | None = None
        self._opened = False
        self._hello_received = False
        self._handshake_deadline: float | None = None
        self._waiting_for = "the API"

    # --- setup phase -----------------------------------------------------------------------

    def api_called(self, now: float) -> None:
        self._wait("the API's answer", now + self._settings.start_timeout)

    def dialing(self, credentials: Credentials, now: float) -> None:
        self._credentials = credentials
        self._wait("the WebSocket to open", now + self._settings.open_timeout)

    def opened(self, now: float) -> None:
        self._opened = True
        self._wait("GATEWAY_HELLO", now + self._settings.hello_timeout)

    def _wait(self, what: str, until: float) -> None:
        self._waiting_for = what
        self._handshake_deadline = until

    def receive(self, data: bytes, now: float, out: list[Command]) -> Inbound | None:
        """Take one binary message; None means that it was dealt with here."""
        if self.phase is Phase.RETIRED:
            return None
        self.last_message_at = now
        if self.heartbeat is not None:
            self.heartbeat.last_received_at = now
        try:
            message = pb.ConnectMessage.FromString(data)
        except DecodeError:
            return Malformed("undecodable_message")
        kind = message.kind
        if kind not in self.phase.accepted:
            if kind not in _KINDS:
                return Malformed("unknown_kind")
            name = pb.GatewayMessageType.Name(kind)
            return Violation(f"{name} is not allowed in phase {self.phase.value}")
        try:
            return self._dispatch(kind, message.payload, now, out)
        except DecodeError:
            return Malformed(f"undecodable_{pb.GatewayMessageType.Name(kind).lower()}")

    def _dispatch(
        self, kind: int, payload: bytes, now: float, out: list[Command]
    ) -> Inbound | None:
        if kind == _GATEWAY_EXECUTOR_REQUEST:
            request = pb.GatewayExecutorRequestData.FromString(payload)
            if not request.request_id:
                return Malformed("request_without_id")
            # Only a long message can hold a long name; a short one costs one comparison here.
            if len(payload) > LONGEST_NAME and _has_oversized_name(request):
                return Malformed("request_with_oversized_name")
            return RequestArrived(request)
        if kind == _WORKER_REPLY_ACK:
            return ReplyAcked(pb.WorkerReplyAckData.FromString(payload).request_id)
        if kind == _WORKER_REQUEST_EXTEND_LEASE_ACK:
            answer = pb.WorkerRequestExtendLeaseAckData.FromString(payload)
            return LeaseAnswered(answer.request_id, answer.new_lease_id or None)
        if kind == _GATEWAY_HEARTBEAT:
            round_trip = self.heartbeat.answered(now) if self.heartbeat is not None else None
            return HeartbeatAcked(round_trip) if round_trip is not None else None
        if kind == _GATEWAY_CLOSING:
            return GatewayClosing()
        if kind == _SYNC_FAILED:
            failure = pb.SystemError.FromString(payload)
            return SyncFailed(clean(failure.code), clean(failure.message))
        if kind == _GATEWAY_HELLO:
            return self._hello(now, out)
        return self._ready(payload, now)

    def _hello(self, now: float, out: list[Command]) -> Inbound | None:
        if not self._opened or self._credentials is None:
            return Violation("GATEWAY_HELLO at a wrong time")
        self._hello_received = True
        self._wait("GATEWAY_CONNECTION_READY", now + self._settings.ready_timeout)
        credentials, self._credentials = self._credentials, None
        data = messages.worker_connect(
            self._identity,
            credentials.connection_id,
            credentials.session_token,
            credentials.sync_token,
        )
        out.append(Send(self.generation, data))
        return None

    def _ready(self, payload: bytes, now: float) -> Inbound:
        if not self._hello_received:
            return Violation("GATEWAY_CONNECTION_READY before GATEWAY_HELLO")
        data = pb.GatewayConnectionReadyData.FromString(payload)
        complaints: list[str] = []
        slowest = self._settings.heartbeat_interval
        heartbeat = _interval(data.heartbeat_interval, slowest, "heartbeat_interval", complaints)
        extend = _interval(
            data.extend_lease_interval,
            self._settings.extend_lease_interval,
            "extend_lease_interval",
            complaints,
        )
        self._handshake_deadline = None
        self.phase = Phase.ACTIVE
        shortest = self._settings.shortest_interval
        status = _status_interval(data.status_interval, complaints)
        self.heartbeat = HeartbeatMonitor(
            max(min(heartbeat, slowest), shortest), now, self._settings.shortest_patience
        )
        return ConnectionReady(
            max(min(extend, MAX_EXTEND_LEASE_INTERVAL), shortest),
            max(status, shortest) if status else 0.0,
            tuple(complaints),
        )

    # --- time ------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        if self.heartbeat is not None and self.phase in (Phase.ACTIVE, Phase.DRAINING):
            return self.heartbeat.next_deadline()
        return self._handshake_deadline if self.phase is Phase.HANDSHAKING else None

    def tick(self, now: float, out: list[Command]) -> Expired | None:
        """Send what is due; returns the limit that has passed, if one has."""
        if self.phase is Phase.HANDSHAKING:
            if self._handshake_deadline is not None and now >= self._handshake_deadline:
                return Expired(f"timed out waiting for {self._waiting_for}")
            return None
        if self.heartbeat is None or self.phase not in (Phase.ACTIVE, Phase.DRAINING):
            return None
        if self.heartbeat.dead(now):
            silence = f"nothing received for {now - self.heartbeat.last_received_at:.1f} s"
            if self.heartbeat.overdue(now):
                return Expired(
                    f"{silence}, because this process was stopped or its event loop was blocked; "
                    "whether the gateway still knows the connection is not certain"
                )
            unanswered = self.heartbeat.unanswered
            return Expired(
                f"the gateway is silent: {unanswered} heartbeat(s) unanswered, {silence}"
            )
        if self.heartbeat.take_due(now):
            out.append(Send(self.generation, messages.HEARTBEAT))
        return None

    def line_observed(self, moved: bool | None, now: float) -> None:
        """Whether bytes that waited on this socket moved; None when none waited."""
        if self.heartbeat is not None:
            self.heartbeat.line_observed(moved, now)

    def drain(self) -> None:
        """GATEWAY_CLOSING was received: no more heartbeats and no new requests on this socket."""
        self.phase = Phase.DRAINING
        if self.heartbeat is not None:
            self.heartbeat.stop()


def _has_oversized_name(request: pb.GatewayExecutorRequestData) -> bool:
    names = (
        request.request_id,
        request.account_id,
        request.env_id,
        request.app_id,
        request.app_name,
        request.function_id,
        request.function_slug,
        request.step_id,
        request.run_id,
        request.lease_id,
        request.job_id,
    )
    traces = request.system_trace_ctx, request.user_trace_ctx
    return any(len(name) > LONGEST_NAME for name in names) or any(
        len(trace) > LONGEST_TRACE for trace in traces
    )


def _interval(text: str, default: float, name: str, complaints: list[str]) -> float:
    """A repeating interval: has to be positive, or a timer would spin."""
    if not text:
        return default
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0.0
    if seconds >= _SHORTEST_INTERVAL:
        return seconds
    complaints.append(f"{name} {clean(text)!r} is unusable, using {default:g} s")
    return default


def _status_interval(text: str, complaints: list[str]) -> float:
    """Zero or empty means that the gateway wants no WORKER_STATUS."""
    try:
        seconds = parse_duration(text) if text else 0.0
    except ValueError:
        seconds = -1.0
    if seconds == 0.0 or seconds >= _SHORTEST_INTERVAL:
        return seconds
    complaints.append(f"status_interval {clean(text)!r} is unusable, sending no status")
    return 0.0
