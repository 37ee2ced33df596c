"""Ledger: what became of every request, as the server saw it. The proof that nothing was lost.

A server cannot see executions; ``watch`` has a worker tell of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Outcome = Literal["waiting", "answered", "expired", "unroutable"]


class Observable(Protocol):
    """A worker, as far as the ledger needs one."""

    def add_event_listener(self, name: str, callback: Callable[[Any], object]) -> Any: ...


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
    executions: int = 0
    """How often a function was started for it, by the workers that are watched."""
    extensions: int = 0
    refused_extensions: int = 0
    replies: int = 0
    flushes: int = 0
    unacknowledged_replies: int = 0
    """Replies that were refused, because no acknowledgement had come before them."""
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
        """Acknowledged on more than one connection, or executed twice."""
        return sum(
            1 for r in self.records.values() if len(set(r.acknowledged_by)) > 1 or r.executions > 1
        )

    @property
    def unacknowledged_replies(self) -> int:
        """Replies to requests that no worker had acknowledged: the gateway refuses them."""
        return sum(r.unacknowledged_replies for r in self.records.values())

    def watch(self, worker: Observable) -> None:
        """Count the executions of a worker."""
        worker.add_event_listener("request_started", self._started)

    def _started(self, event: Any) -> None:
        if event.request_id in self.records:
            self.records[event.request_id].executions += 1

    def waiting(self) -> list[RequestRecord]:
        return [r for r in self.records.values() if r.outcome == "waiting"]

    def forget_ended(self) -> None:
        """Drop the records of requests that have ended, for runs of any length."""
        self.records = {key: r for key, r in self.records.items() if r.outcome == "waiting"}

    def latencies(self) -> list[float]:
        """Seconds from dispatch to stored reply, sorted."""
        return sorted(
            r.answered_at - r.dispatched_at
            for r in self.records.values()
            if r.answered_at is not None
        )
