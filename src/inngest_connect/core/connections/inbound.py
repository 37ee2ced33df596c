"""What a message of the gateway means to the worker, once it was read and its phase allows it."""

from ...protocol import connect_pb2 as pb
from ..record import record


@record
class ConnectionReady:
    """The handshake is complete. Intervals in seconds; ``complaints`` name unusable values."""

    extend_lease_interval: float
    complaints: tuple[str, ...] = ()


@record
class RequestArrived:
    """GATEWAY_EXECUTOR_REQUEST: a function is to be executed."""

    request: pb.GatewayExecutorRequestData


@record
class ReplyAcked:
    """WORKER_REPLY_ACK: the server has stored a reply."""

    request_id: str


@record
class LeaseAnswered:
    """WORKER_REQUEST_EXTEND_LEASE_ACK. ``new_lease_id`` is None when it refuses the extension."""

    request_id: str
    new_lease_id: str | None


@record
class HeartbeatAcked:
    """GATEWAY_HEARTBEAT, the answer to ours. ``round_trip`` is seconds."""

    round_trip: float


@record
class GatewayClosing:
    """GATEWAY_CLOSING: the gateway closes soon, because it is being replaced."""


@record
class SyncFailed:
    """SYNC_FAILED: the server did not accept the configuration of the apps."""

    code: str
    message: str


@record
class Malformed:
    """Bytes that cannot be read. ``kind`` names what is wrong; one log line per kind is enough."""

    kind: str


@record
class Violation:
    """A readable message at a time when the protocol does not allow it."""

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
