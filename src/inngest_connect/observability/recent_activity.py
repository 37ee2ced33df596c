"""RecentActivity: what a worker did lately, which no snapshot contains.

Rates and latencies of the last five minutes, errors, functions, and how long there has been no
connection. For the status page and the live view. ``observe`` runs on the thread that observes, for
every event, so it only adds to numbers. Everything else is computed when it is read, on another
thread and without a lock. That is safe because readers leave the present second out, copy the
deques in one step, and see whole numbers only; at worst an event that arrives during the reading is
missing.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..aio.clock import monotonic
from ..core.events import (
    Connected,
    Disconnected,
    ErrorOccurred,
    Event,
    FunctionFailed,
    LeaseLost,
    Reconnecting,
    ReplyAcknowledged,
    RequestCompleted,
    RequestReceived,
    RequestStarted,
    StateChanged,
    WebSocketFailed,
)
from ..state_machine import ConnectionState
from .error_figures import ErrorEvent, ErrorFigures
from .function_figures import FunctionFigures

WINDOW_SECONDS: Final = 300
COLUMN_SECONDS: Final = 5
COLUMNS: Final = WINDOW_SECONDS // COLUMN_SECONDS
ERRORS_KEPT: Final = 50
FAILURES_KEPT: Final = 20

_LATENCIES: Final = [0.0001 * 1.2**step for step in range(100)]
"""Upper limits of the latency buckets: 0.1 ms to two hours, each 20 % above the one before."""
_LAST: Final = len(_LATENCIES) - 1
"""The bucket that has all longer latencies, too."""


@dataclass(slots=True)
class _Second:
    """The counts of one second; ``histogram`` has a count for each of ``_LATENCIES``."""

    number: int
    received: int = 0
    completed: int = 0
    failed: int = 0
    histogram: list[int] = field(default_factory=lambda: [0] * len(_LATENCIES))


@dataclass(frozen=True, slots=True)
class Rates:
    """Counts per second and latencies in seconds; a latency is None when nothing was completed."""

    received: float
    completed: float
    failed: float
    p50: float | None
    p95: float | None
    p99: float | None


class RecentActivity:
    """What ``observe`` was told. Times are monotonic seconds."""

    def __init__(
        self, clock: Callable[[], float] = monotonic, function_slugs: Sequence[str] = ()
    ) -> None:
        """``clock`` returns monotonic seconds; figures are kept of the functions named."""
        self.functions: Final = FunctionFigures(function_slugs)
        self.error_kinds: Final = ErrorFigures()
        self.unserved_since: float | None = None
        """When the worker stopped to be ACTIVE, None while it is and before it was."""
        self._clock = clock
        self._began = clock()
        self._seconds: deque[_Second] = deque(maxlen=WINDOW_SECONDS + 2 * COLUMN_SECONDS)
        self._present = _Second(-1)
        # Separate, so that functions that fail all the time hide nothing else.
        self._errors: deque[tuple[float, ErrorEvent]] = deque(maxlen=ERRORS_KEPT)
        self._failures: deque[tuple[float, FunctionFailed]] = deque(maxlen=FAILURES_KEPT)
        self._reconnecting: tuple[float, Reconnecting] | None = None

    def observe(self, event: Event) -> None:
        """Count an event. On the thread that observes; never blocks."""
        match event:
            case RequestReceived():
                self._second(self._clock()).received += 1
            case RequestCompleted():
                now = self._clock()
                second = self._second(now)
                second.completed += 1
                if event.status == "ERROR":
                    second.failed += 1
                latency = event.queued_seconds + event.seconds
                second.histogram[bisect_left(_LATENCIES, latency, hi=_LAST)] += 1
                self.functions.count(event, now)
            case RequestStarted() | ReplyAcknowledged() | Disconnected(expected=True):
                pass  # the first two are frequent: they skip the comparisons that follow
            case ErrorOccurred() | LeaseLost() | WebSocketFailed() | Disconnected():
                now = self._clock()
                self._errors.append((now, event))
                self.error_kinds.count(event, now)
            case FunctionFailed():
                self._failures.append((self._clock(), event))
            case Reconnecting():
                self._reconnecting = (self._clock(), event)
            case Connected():
                self._reconnecting = None
                self.error_kinds.connected(self._clock())
            case StateChanged(state=ConnectionState.ACTIVE):
                self.unserved_since = None
            case StateChanged(previous=ConnectionState.ACTIVE):
                self.unserved_since = self._clock()

    def _second(self, now: float) -> _Second:
        number, second = int(now), self._present
        if second.number != number:
            second = self._present = _Second(number)
            self._seconds.append(second)
        return second

    def age(self) -> float:
        """Seconds since the construction; nothing is known of the time before."""
        return self._clock() - self._began

    def errors(self) -> tuple[tuple[float, ErrorEvent], ...]:
        """The last errors and failures of functions, each with its monotonic time, oldest first."""
        return tuple(sorted((*self._errors, *self._failures), key=lambda each: each[0]))

    def reconnecting(self) -> tuple[float, Reconnecting] | None:
        """The next or present attempt to connect, and when it was announced."""
        return self._reconnecting

    def columns(self) -> list[Rates]:
        """The last five minutes in columns of five seconds, oldest first, whole seconds only."""
        seconds, end = self._by_number(), int(self._clock())
        last = (end - 1) // COLUMN_SECONDS
        return [
            _rates(seconds, column * COLUMN_SECONDS, min((column + 1) * COLUMN_SECONDS, end))
            for column in range(last - COLUMNS + 1, last + 1)
        ]

    def last_seconds(self, count: int = 60) -> Rates:
        """The rates of the last ``count`` whole seconds."""
        end = int(self._clock())
        return _rates(self._by_number(), end - count, end)

    def lately(self) -> tuple[int, Rates]:
        """The rates of the last minute, or of the time there is, and how many seconds that is."""
        count = min(max(int(self.age()), 1), 60)
        return count, self.last_seconds(count)

    def _by_number(self) -> dict[int, _Second]:
        return {second.number: second for second in tuple(self._seconds)}


def _rates(seconds: Mapping[int, _Second], begin: int, end: int) -> Rates:
    rows = [seconds[number] for number in range(begin, end) if number in seconds]
    busy = [row.histogram for row in rows if row.completed]
    latencies = list(zip(_LATENCIES, map(sum, zip(*busy, strict=True)), strict=False))
    length = end - begin
    return Rates(
        received=sum(row.received for row in rows) / length,
        completed=sum(row.completed for row in rows) / length,
        failed=sum(row.failed for row in rows) / length,
        p50=percentile(latencies, 0.50),
        p95=percentile(latencies, 0.95),
        p99=percentile(latencies, 0.99),
    )


def percentile(counted: Iterable[tuple[float, int]], fraction: float) -> float | None:
    """The value up to which ``fraction`` of all values lie; None without values.

    ``counted`` has each value with its number of occurrences, in ascending order.
    """
    present = [(value, count) for value, count in counted if count]
    missing = fraction * sum(count for _, count in present)
    for value, count in present:
        missing -= count
        if missing <= 0:
            return value
    return None
