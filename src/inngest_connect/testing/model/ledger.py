"""Ledger: what happened to every request, as the server saw it. The proof that nothing was lost."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ...core.events import RequestStarted

Outcome = Literal["waiting", "answered", "expired", "unroutable"]


class Observable(Protocol):
    """The part of a worker that the ledger needs."""

    def add_event_listener(
        self, name: Literal["request_started"], callback: Callable[[RequestStarted], object]
    ) -> Any:
        """Call ``callback`` with every event of that name."""


@dataclass(slots=True)
class RequestRecord:
    """One dispatch. Times are monotonic seconds; connections are numbers of the gateway model."""

    request_id: str
    run_id: str
    function_slug: str
    dispatched_at: float
    forwards: list[int] = field(default_factory=list)
    """Connections that the request was written to."""
    acknowledged_by: list[int] = field(default_factory=list)
    """Connections that acknowledged it."""
    acknowledged_at: float | None = None
    executions: int = 0
    """How often a watched worker started the function for it."""
    extensions: int = 0
    late_extensions: int = 0
    """Extensions of a lease that had run out, within its grace."""
    refused_extensions: int = 0
    replies: int = 0
    flushes: int = 0
    """Replies over HTTP."""
    unacknowledged_replies: int = 0
    """Replies that were refused because no acknowledgement arrived before them."""
    answered_at: float | None = None
    outcome: Outcome = "waiting"
    expired_at: float | None = None
    """When the lease expired that the executor found expired."""


class Ledger:
    """Counts over the records of all requests, which ``records`` holds by request id."""

    def __init__(self) -> None:
        self.records: dict[str, RequestRecord] = {}

    @property
    def dispatched(self) -> int:
        """Requests that were dispatched."""
        return len(self.records)

    @property
    def acknowledged(self) -> int:
        """Requests that a worker acknowledged."""
        return sum(1 for r in self.records.values() if r.acknowledged_by)

    @property
    def answered(self) -> int:
        """Requests whose reply was stored, whichever way it came."""
        return sum(1 for r in self.records.values() if r.outcome == "answered")

    @property
    def flushed(self) -> int:
        """Requests that were replied to over HTTP."""
        return sum(1 for r in self.records.values() if r.flushes)

    @property
    def lost(self) -> int:
        """Requests that were acknowledged and had no reply when their lease ran out."""
        return sum(1 for r in self.records.values() if r.acknowledged_by and r.outcome == "expired")

    @property
    def duplicates(self) -> int:
        """Requests that were acknowledged on more than one connection, or executed twice."""
        return sum(
            1 for r in self.records.values() if len(set(r.acknowledged_by)) > 1 or r.executions > 1
        )

    @property
    def unacknowledged_replies(self) -> int:
        """Replies to requests that no worker had acknowledged; the gateway refuses them."""
        return sum(r.unacknowledged_replies for r in self.records.values())

    def watch(self, worker: Observable) -> None:
        """Count the executions of a worker: a server cannot see them."""

        def started(event: RequestStarted) -> None:
            if event.request_id in self.records:
                self.records[event.request_id].executions += 1

        worker.add_event_listener("request_started", started)

    def waiting(self) -> list[RequestRecord]:
        """Return the records of requests that have not ended."""
        return [r for r in self.records.values() if r.outcome == "waiting"]

    def forget_ended(self) -> None:
        """Drop the records of requests that have ended, for runs of any length."""
        self.records = {r.request_id: r for r in self.waiting()}

    def latencies(self) -> list[float]:
        """Return the seconds from dispatch to stored reply of each answered request, sorted."""
        return sorted(
            r.answered_at - r.dispatched_at
            for r in self.records.values()
            if r.answered_at is not None
        )
