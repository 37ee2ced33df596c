"""GatewayConnection: one worker's socket as the gateway sees it."""

import enum
from dataclasses import dataclass, field

from ...protocol import connect_pb2 as pb


class GatewayPhase(enum.Enum):
    """What a gateway accepts and sends, see docs/protocol.md#phases."""

    HANDSHAKING = "HANDSHAKING"
    READY = "READY"
    DRAINING = "DRAINING"


@dataclass(slots=True)
class GatewayConnection:
    """State of one connection. Times are monotonic seconds."""

    number: int
    gateway: str
    phase: GatewayPhase = GatewayPhase.HANDSHAKING
    connect: pb.WorkerConnectRequestData | None = None
    """WORKER_CONNECT; None until it was accepted."""
    last_heartbeat_at: float = 0.0
    heartbeats: int = 0
    paused: bool = False
    window_ends_at: float | None = None
    """When a drain closes it."""
    control_at: float = 0.0
    """When the last control message is handled; the next is not handled before."""
    unacknowledged: dict[str, None] = field(default_factory=dict)
    """Ids of requests in the order of their forwarding. Not a set, whose order differs from process
    to process: a simulation has to repeat itself."""
    holds_work: bool = False
    """Draining, and still routed to: what it is given waits until it is closed."""
    held: list[str] = field(default_factory=list)
    functions: frozenset[str] = frozenset()
    """The slugs of the functions that can be routed to it."""

    def silent_at(self, patience: float) -> float | None:
        """When it is dropped unless a heartbeat arrives; None before WORKER_CONNECT."""
        return self.last_heartbeat_at + patience if self.connect is not None else None

    @property
    def instance(self) -> str:
        """The worker's instance id; empty before WORKER_CONNECT."""
        return self.connect.instance_id if self.connect is not None else ""

    @property
    def limit(self) -> int:
        """How many requests the worker takes at the same time; 0 for no limit."""
        return max(self.connect.max_worker_concurrency, 0) if self.connect is not None else 0
