"""When to try again. Policies are small siblings behind one method."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

DEFAULT_SCHEDULE: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds: 0 (spread over the first second), then slower, then every five minutes."""

FIRST_SPREAD: Final = 1.0
"""Seconds over which a delay of 0 is spread: a gateway that dies drops thousands of workers in one
instant, and a fraction of 0 s is no jitter."""

FLUSH_SCHEDULE: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Seconds between tries of one reply. Short: the reply is of use only while its lease lives."""


class RetryStrategy(Protocol):
    """How long to wait before an attempt."""

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """Return seconds to wait after ``failures`` consecutive failures (0 = the first attempt).

        ``random`` gives numbers in [0, 1), for jitter.
        """
        ...


class ScheduleRetry:
    """Walks through ``schedule`` (seconds) and stays at its last entry.

    ``jitter`` is the fraction by which each delay may be shortened or lengthened, so that a
    thousand workers that lost the same gateway do not come back in the same instant; an entry of
    0 s becomes 0 to 1 s. With ``jitter=0`` every delay is exact.
    """

    def __init__(self, schedule: Sequence[float] = DEFAULT_SCHEDULE, jitter: float = 0.2) -> None:
        if not schedule or any(seconds < 0 for seconds in schedule):
            raise ValueError(f"a retry schedule needs delays of 0 s or more, not {schedule!r}")
        if not 0 <= jitter < 1:
            raise ValueError(f"jitter is a fraction from 0 to below 1, not {jitter!r}")
        self._schedule = tuple(schedule)
        self._jitter = jitter

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        seconds = self._schedule[min(failures, len(self._schedule) - 1)]
        if not seconds and self._jitter:
            return FIRST_SPREAD * random()
        return seconds * (1 + self._jitter * (2 * random() - 1))


class FixedRetry:
    """The same delay (seconds) before every attempt but the first."""

    def __init__(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"a retry delay is 0 s or more, not {seconds!r}")
        self._seconds = seconds

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        return self._seconds if failures else 0.0
