"""Recorder: what the page shows of the last minutes, which no snapshot can tell.

``observe`` runs on the connection's thread for every event, so it only adds to a ring that was
made beforehand: one row for each second, with a histogram of latencies. Everything is computed
when it is read, on another thread and without a lock; a reader may miss the event of the moment.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..aio.clock import monotonic
from ..core.events import (
    Connected,
    Disconnected,
    Draining,
    ErrorOccurred,
    Event,
    LeaseLost,
    Reconnecting,
    RequestCompleted,
    RequestReceived,
    StateChanged,
    WebSocketFailed,
)

WINDOW_SECONDS: Final = 300
COLUMN_SECONDS: Final = 5
COLUMNS: Final = WINDOW_SECONDS // COLUMN_SECONDS
ERRORS_KEPT: Final = 50

_RING: Final = WINDOW_SECONDS + 2 * COLUMN_SECONDS
_BOUNDS: Final = [0.0001 * 1.2**step for step in range(100)]
"""Upper limits of the latency buckets, 0.1 ms to about two hours, each 20 % above the last."""
_SECOND, _RECEIVED, _COMPLETED, _FAILED, _LATENCIES = range(5)
"""What is where in a row; the histogram is the rest of it."""
_EMPTY: Final = [0] * (_LATENCIES + len(_BOUNDS) + 1)

Trouble = ErrorOccurred | Disconnected | LeaseLost | WebSocketFailed


@dataclass(frozen=True, slots=True)
class Rates:
    """Of a stretch of time. Counts are per second, latencies in seconds; None of no request."""

    received: float
    completed: float
    failed: float
    p50: float | None
    p95: float | None
    p99: float | None


class Recorder:
    """``on_change`` is called when something happened that is worth showing at once."""

    def __init__(
        self,
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._on_change = on_change
        self._clock = clock
        self._began = clock()
        self._ring = [_EMPTY.copy() for _ in range(_RING)]
        self._troubles: deque[tuple[float, Trouble]] = deque(maxlen=ERRORS_KEPT)
        self._reconnecting: tuple[float, Reconnecting] | None = None
        self._actions: dict[type[Event], Callable[[Any], None]] = {
            RequestReceived: self._count_received,
            RequestCompleted: self._count_completed,
            ErrorOccurred: self._keep_trouble,
            LeaseLost: self._keep_trouble,
            WebSocketFailed: self._keep_trouble,
            Disconnected: self._disconnected,
            Reconnecting: self._keep_reconnecting,
            Connected: self._connected,
            StateChanged: self._changed,
            Draining: self._changed,
        }

    # --- on the connection's thread ---------------------------------------------------------

    def observe(self, observation: Event) -> None:
        """Count an event."""
        action = self._actions.get(type(observation))
        if action is not None:
            action(observation)

    def _row(self) -> list[int]:
        second = int(self._clock())
        row = self._ring[second % _RING]
        if row[_SECOND] != second:
            row[:] = _EMPTY
            row[_SECOND] = second
        return row

    def _count_received(self, _: RequestReceived) -> None:
        self._row()[_RECEIVED] += 1

    def _count_completed(self, request: RequestCompleted) -> None:
        row = self._row()
        row[_COMPLETED] += 1
        if request.status == "ERROR":
            row[_FAILED] += 1
        row[_LATENCIES + bisect_left(_BOUNDS, request.queued_seconds + request.seconds)] += 1

    def _keep_trouble(self, trouble: Trouble) -> None:
        self._troubles.append((self._clock(), trouble))

    def _disconnected(self, observation: Disconnected) -> None:
        if not observation.expected:
            self._keep_trouble(observation)
        self._on_change()

    def _keep_reconnecting(self, observation: Reconnecting) -> None:
        self._reconnecting = (self._clock(), observation)
        self._on_change()

    def _connected(self, _: Connected) -> None:
        self._reconnecting = None
        self._on_change()

    def _changed(self, _: Event) -> None:
        self._on_change()

    # --- on any thread ----------------------------------------------------------------------

    def age(self) -> float:
        """Seconds since the recorder was made; before that nothing is known."""
        return self._clock() - self._began

    def troubles(self) -> tuple[tuple[float, Trouble], ...]:
        """The last errors with the monotonic time of each, oldest first."""
        return tuple(self._troubles)

    def reconnecting(self) -> tuple[float, Reconnecting] | None:
        """The attempt that is being waited for or made, and when it was announced."""
        return self._reconnecting

    def columns(self) -> list[Rates]:
        """The last five minutes in columns of five seconds, oldest first, whole seconds only."""
        end = int(self._clock())
        last = (end - 1) // COLUMN_SECONDS
        return [
            self._rates(column * COLUMN_SECONDS, min((column + 1) * COLUMN_SECONDS, end))
            for column in range(last - COLUMNS + 1, last + 1)
        ]

    def last_seconds(self, seconds: int = 60) -> Rates:
        """The last so many whole seconds as one."""
        end = int(self._clock())
        return self._rates(end - seconds, end)

    def _rates(self, begin: int, end: int) -> Rates:
        rows = [
            row
            for second in range(begin, end)
            if (row := self._ring[second % _RING])[_SECOND] == second
        ]
        busy = [row[_LATENCIES:] for row in rows if row[_COMPLETED]]
        histogram = list(map(sum, zip(*busy, strict=True)))
        length = end - begin
        return Rates(
            received=sum(row[_RECEIVED] for row in rows) / length,
            completed=sum(row[_COMPLETED] for row in rows) / length,
            failed=sum(row[_FAILED] for row in rows) / length,
            p50=_percentile(histogram, 0.50),
            p95=_percentile(histogram, 0.95),
            p99=_percentile(histogram, 0.99),
        )


def _percentile(histogram: Sequence[int], fraction: float) -> float | None:
    """The upper limit of the bucket in which that fraction is reached."""
    wanted = fraction * sum(histogram)
    seen = 0
    for bucket, count in enumerate(histogram):
        seen += count
        if count and seen >= wanted:
            return _BOUNDS[min(bucket, len(_BOUNDS) - 1)]
    return None
