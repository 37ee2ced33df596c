"""GatewayConnection: one worker's socket as the gateway sees it."""

import enum
from dataclasses import dataclass, field

from ...core.wire.durations import parse_duration
from ...protocol import connect_pb2 as pb
from .settings import GatewaySettings


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
    settings: GatewaySettings
    """Those of its gateway."""
    last_heartbeat_at: float
    """When it was opened, before the first heartbeat."""
    phase: GatewayPhase = GatewayPhase.HANDSHAKING
    connect: pb.WorkerConnectRequestData | None = None
    """WORKER_CONNECT; None until it was accepted."""
    heartbeats: int = 0
    failed_updates: int = 0
    """Heartbeats in a row that the server could not store."""
    paused: bool = False
    window_ends_at: float | None = None
    """When a drain closes it."""
    blocked_until: float | None = None
    """When it is dropped because it takes nothing."""
    control_at: float = 0.0
    """When the last control message is handled; the next is not handled before."""
    busy_until: list[float] = field(default_factory=list)
    """A heap: when each of the handlers of other messages is free."""
    unacknowledged: dict[str, None] = field(default_factory=dict)
    """Ids of requests in the order of their forwarding. Not a set, whose order differs from process
    to process: a simulation has to repeat itself."""
    holds_work: bool = False
    """Draining, and still routed to: what it is given waits until it is closed."""
    held: list[str] = field(default_factory=list)
    functions: frozenset[str] = frozenset()
    """The slugs of the functions that can be routed to it."""
    silence: float = field(init=False)
    """Without a heartbeat for so many seconds it is dropped."""

    def __post_init__(self) -> None:
        """Compute the longest silence from the interval of the gateway."""
        self.silence = 5 * parse_duration(self.settings.heartbeat_interval)

    def lost_at(self) -> float:
        """When it is dropped without a close frame unless the worker does something."""
        at = self.last_heartbeat_at + (
            self.settings.hello_timeout if self.connect is None else self.silence
        )
        return at if self.blocked_until is None else min(at, self.blocked_until)

    @property
    def instance(self) -> str:
        """The worker's instance id; empty before WORKER_CONNECT."""
        return self.connect.instance_id if self.connect is not None else ""
