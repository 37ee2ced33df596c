"""Request: one dispatch that has not ended."""

from dataclasses import dataclass

from ...protocol import connect_pb2 as pb
from .leases import Lease
from .ledger import RequestRecord
from .settings import GatewaySettings


@dataclass(slots=True)
class Request:
    """What the executor waits for. Times are monotonic seconds."""

    message: pb.GatewayExecutorRequestData
    record: RequestRecord
    lease: Lease
    attempts: int = 0
    forwarded_at: float | None = None
    """Since when a forward waits for its acknowledgement."""
    queued_at: float | None = None
    """Since when it waits while no worker could take it."""
    response: pb.SDKResponse | None = None
    """Stored, and not yet collected."""
    response_until: float = 0.0
    collected_at: float | None = None
    fails_at: float | None = None
    """The executor has seen the lease expired, and does not look again."""
    due: float = 0.0
    """When the executor has to look at it."""
    acknowledgement_arrived: bool = False
    revoked: bool = False

    @property
    def lease_id(self) -> str:
        """The id that the next extension has to present."""
        return self.lease.lease_id

    def plan(self, settings: GatewaySettings) -> None:
        """Compute ``due`` anew."""
        record = self.record
        if self.collected_at is not None:
            due = self.collected_at
        elif self.fails_at is not None:
            due = self.fails_at
        elif self.forwarded_at is not None:
            due = self.forwarded_at + settings.acknowledge_within
        elif record.acknowledged_at is not None:
            due = max(self.lease.until, record.acknowledged_at)
            if poll := settings.lease_poll:
                looks = max(-(-(due - record.acknowledged_at) // poll), 1)
                due = max(due, record.acknowledged_at + looks * poll)
        else:
            due = self.lease.until
        self.due = min(due, record.dispatched_at + settings.longest_wait)
