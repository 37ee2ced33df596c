"""What a message of the gateway means to the worker, once it was read and its phase allows it."""

from ...protocol import connect_pb2 as pb
from ..frozen import frozen


@frozen
class ConnectionReady:
    """The handshake is complete. Intervals in seconds; ``complaints`` name unusable values."""

    extend_lease_interval: float
    complaints: tuple[str, ...] = ()


@frozen
class RequestArrived:
    """GATEWAY_EXECUTOR_REQUEST: a function is to be executed."""

    request: pb.GatewayExecutorRequestData


@frozen
class ReplyAcked:
    """WORKER_REPLY_ACK: the server has stored a reply."""

    request_id: str


@frozen
class LeaseAnswered:
    """WORKER_REQUEST_EXTEND_LEASE_ACK. ``new_lease_id`` is None when it refuses the extension."""

    request_id: str
    new_lease_id: str | None


@frozen
class HeartbeatAcked:
    """GATEWAY_HEARTBEAT, the answer to ours. ``round_trip`` is seconds."""

    round_trip: float


@frozen
class GatewayClosing:
    """GATEWAY_CLOSING: the gateway closes soon, because it is being replaced."""


@frozen
class SyncFailed:
    """SYNC_FAILED: the server did not accept the configuration of the apps."""

    code: str
    message: str


@frozen
class Malformed:
    """Bytes that cannot be read. ``kind`` names what is wrong; one log line per kind is enough."""

    kind: str


@frozen
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
