"""LongRunning: functions that do not end, and a worker that has no free slot for a long time.

A function that waits for what never comes keeps its slot and its lease, and the worker looks
healthy. Nothing can be decided about it, because it may be working; so it is reported, by name and
age, and again each time it has become twice as old. The same holds for a worker whose slots are all
taken while no function ends.
"""

from collections.abc import Callable
from typing import Final

from .commands import Command
from .deadlines import Deadlines, earliest
from .observations import ErrorOccurred
from .settings import CoreSettings

LONGEST_RUN: Final = 7200.0
"""Seconds for which Inngest waits for one request. An extension after that keeps a lease that
nobody asks for."""

FULL_WARNING: Final = 300.0
"""Seconds without a free slot before that is reported; less when functions are to be reported
earlier."""


class LongRunning:
    """Times are monotonic seconds. Costs one entry of a heap for each function that is started."""

    def __init__(
        self, settings: CoreSettings, error: Callable[[str, str, str], ErrorOccurred]
    ) -> None:
        """``error`` makes an error about a request from a kind, a text and the request's id."""
        self.full_since: float | None = None
        """Since when every slot is taken and no function has ended; None while one is free."""
        self.deadlines = Deadlines()
        self._warn_after = settings.long_running_warning
        self._limit = settings.max_worker_concurrency
        self._error = error
        self._started: dict[str, float] = {}
        self._full_warning = min(FULL_WARNING, self._warn_after or FULL_WARNING)
        self._full_warning_at: float | None = None

    def started(self, request_id: str, running: int, now: float) -> None:
        """A function was started; ``running`` is how many run now."""
        self._started[request_id] = now
        if self._warn_after is not None:
            self.deadlines.set(request_id, now + self._warn_after)
        if self._limit is not None and running >= self._limit:
            self.full_since = now
            self._full_warning_at = now + self._full_warning

    def ended(self, request_id: str) -> None:
        self._started.pop(request_id, None)
        self.deadlines.discard(request_id)
        self.full_since = self._full_warning_at = None

    def oldest(self) -> str | None:
        """The request whose function has run for the longest time."""
        return min(self._started, key=self._started.__getitem__, default=None)

    def oldest_age(self, now: float) -> float | None:
        oldest = min(tuple(self._started.values()), default=None)
        return None if oldest is None else now - oldest

    def due(self, now: float) -> bool:
        if self.deadlines.first <= now:
            return True
        return self._full_warning_at is not None and self._full_warning_at <= now

    def next_deadline(self) -> float | None:
        return earliest(self.deadlines.earliest(), self._full_warning_at)

    def tick(self, now: float, queued: int, out: list[Command]) -> None:
        """Report what has become too old."""
        while (request_id := self.deadlines.pop_due(now)) is not None:
            age = now - self._started[request_id]
            self.deadlines.set(request_id, now + age)
            slots = f" and one of {self._limit} slots" if self._limit is not None else ""
            text = (
                f"a function has been running for {_span(age)}; it keeps its lease{slots}. If it "
                "waits for what never comes, give what it waits for a time limit, and restart the "
                "worker. long_running_warning sets when this is reported"
            )
            out.append(self._error("function_long_running", text, request_id))
        if self._full_warning_at is not None and now >= self._full_warning_at:
            assert self.full_since is not None
            age = now - self.full_since
            self._full_warning_at = now + age
            oldest = self.oldest()
            assert oldest is not None
            text = (
                f"all {self._limit} slots are taken and no function has ended for {_span(age)}; "
                f"{queued} requests wait here. The oldest function, named here, has been running "
                f"for {_span(now - self._started[oldest])}. Find out what it waits for, or raise "
                "max_worker_concurrency"
            )
            out.append(self._error("no_free_slot", text, oldest))


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
