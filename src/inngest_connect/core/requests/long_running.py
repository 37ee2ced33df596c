"""LongRunning: functions that do not end, and a worker that has no free slot for a long time.

A function that waits for something that never happens keeps its slot and its lease, and the worker
looks healthy. Nothing can be decided about it, because it may be working; so it is reported, by
name and age, and again each time it is twice as old. The same holds for a worker whose slots are
all taken while no function ends.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from ..deadlines import Deadlines, earliest
from ..settings import CoreSettings
from ..wire.durations import span

# Seconds for which Inngest waits for one request. An extension after that keeps a lease for which
# nothing waits.
LONGEST_RUN: Final = 7200.0

# Seconds without a free slot before that is reported; less when functions are to be reported
# earlier.
FULL_WARNING: Final = 300.0


class LongRunning:
    """Times are monotonic seconds. Costs one entry of a table for each function that is started.

    Nothing is due before ``first``, which is compared after every input of the worker; it may be
    earlier than what ``next_deadline`` finds.
    """

    def __init__(self, settings: CoreSettings, error: Callable[[str, str, str], None]) -> None:
        """``error`` reports an error about a request: its kind, a text and the request's id."""
        self.first = math.inf
        self.full_since: float | None = None
        """Since when every slot is taken and no function has ended; None while one is free."""
        self._warn_after = settings.long_running_warning
        self._limit = settings.max_worker_concurrency
        self._error = error
        # All functions are reported at the same age. So what was reported is older than what was
        # not, and both tables are in order of age.
        self._unreported: OrderedDict[str, float] = OrderedDict()
        self._reported: OrderedDict[str, float] = OrderedDict()
        self._again = Deadlines()
        self._full_warning = min(FULL_WARNING, self._warn_after or FULL_WARNING)
        self._full_warning_at: float | None = None

    def started(self, request_id: str, running: int, now: float) -> None:
        """A function was started; ``running`` is how many run now."""
        # On the hot path: one entry, and one comparison that keeps ``first`` early enough.
        self._unreported[request_id] = now
        if self._warn_after is not None and now + self._warn_after < self.first:
            self.first = now + self._warn_after
        if self._limit is not None and running >= self._limit:
            self.full_since = now
            self._full_warning_at = now + self._full_warning
            self.first = min(self.first, self._full_warning_at)

    def ended(self, request_id: str) -> None:
        """A function has ended, so a slot is free."""
        if self._unreported.pop(request_id, None) is None:
            self._reported.pop(request_id, None)
            self._again.discard(request_id)
        self.full_since = self._full_warning_at = None

    def oldest_age(self, now: float) -> float | None:
        """Seconds for which the oldest function has run, None without one. For any thread."""
        for table in (self._reported, self._unreported):
            # A copy, because the next entry of a table that is changed meanwhile cannot be read.
            for started_at in tuple(table.values()):
                return now - started_at
        return None

    def next_deadline(self) -> float | None:
        """When something has to be reported, None when nothing can become too old."""
        warning = None
        if self._warn_after is not None and self._unreported:
            warning = next(iter(self._unreported.values())) + self._warn_after
        first = earliest(warning, self._again.earliest(), self._full_warning_at)
        self.first = math.inf if first is None else first
        return first

    def tick(self, now: float, queued: int) -> None:
        """Report what has become too old."""
        while self._warn_after is not None and self._unreported:
            oldest, started_at = next(iter(self._unreported.items()))
            if now < started_at + self._warn_after:
                break
            self._reported[oldest] = self._unreported.pop(oldest)
            self._again.set(oldest, now)
        while (request_id := self._again.pop_due(now)) is not None:
            age = now - self._reported[request_id]
            self._again.set(request_id, now + age)
            slots = f" and one of {self._limit} slots" if self._limit is not None else ""
            text = (
                f"a function has been running for {span(age)}; it keeps its lease{slots}. If it "
                "waits for what never comes, give what it waits for a time limit, and restart the "
                "worker. long_running_warning sets when this is reported"
            )
            self._error("function_long_running", text, request_id)
        if self._full_warning_at is not None and now >= self._full_warning_at:
            assert self.full_since is not None
            age = now - self.full_since
            self._full_warning_at = now + age
            oldest, started_at = next(iter((self._reported or self._unreported).items()))
            text = (
                f"all {self._limit} slots are taken and no function has ended for {span(age)}; "
                f"{queued} requests wait here. The oldest function, named here, has been running "
                f"for {span(now - started_at)}. Find out what it waits for, or raise "
                "max_worker_concurrency"
            )
            self._error("no_free_slot", text, oldest)
        self.next_deadline()
