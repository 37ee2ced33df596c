"""Ledger: what became of every request, as the server saw it. The proof that nothing was lost."""

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["waiting", "answered", "expired", "unroutable"]


@dataclass(slots=True)
class RequestRecord:
    """One dispatch. Times are monotonic seconds."""

    request_id: str
    run_id: str
    function_slug: str
    dispatched_at: float
    forwards: list[int] = field(default_factory=list)
    """Connections that it was written to."""
    acknowledged_by: list[int] = field(default_factory=list)
    acknowledged_at: float | None = None
    extensions: int = 0
    refused_extensions: int = 0
    replies: int = 0
    flushes: int = 0
    answered_at: float | None = None
    outcome: Outcome = "waiting"


class Ledger:
    """Records by request id."""

    def __init__(self) -> None:
        self.records: dict[str, RequestRecord] = {}

    @property
    def dispatched(self) -> int:
        return len(self.records)

    @property
    def acknowledged(self) -> int:
        return sum(1 for r in self.records.values() if r.acknowledged_by)

    @property
    def answered(self) -> int:
        return sum(1 for r in self.records.values() if r.outcome == "answered")

    @property
    def flushed(self) -> int:
        return sum(1 for r in self.records.values() if r.flushes)

    @property
    def lost(self) -> int:
        """Acknowledged, and then never answered although its lease ran out."""
        return sum(1 for r in self.records.values() if r.acknowledged_by and r.outcome == "expired")

    @property
    def duplicates(self) -> int:
        """Acknowledged on more than one connection: it may have been executed twice."""
        return sum(1 for r in self.records.values() if len(set(r.acknowledged_by)) > 1)

    def waiting(self) -> list[RequestRecord]:
        return [r for r in self.records.values() if r.outcome == "waiting"]

    def latencies(self) -> list[float]:
        """Seconds from dispatch to stored reply, sorted."""
        return sorted(
            r.answered_at - r.dispatched_at
            for r in self.records.values()
            if r.answered_at is not None
        )
