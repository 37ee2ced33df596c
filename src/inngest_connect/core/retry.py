"""When to try again. Policies are small siblings behind one method."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

DEFAULT_SCHEDULE: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds: at once, then slower, then every five minutes for ever (PROTOCOL.md, decisions)."""

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
    """Walks through ``schedule`` (seconds) and stays at its last entry for ever.

    ``jitter`` is the fraction by which each delay may be shortened or lengthened, so that a
    thousand workers that lost the same gateway do not come back in the same instant.
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
        return seconds * (1 + self._jitter * (2 * random() - 1))


class FixedRetry:
    """The same delay (seconds) before every attempt but the first."""

    def __init__(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"a retry delay is 0 s or more, not {seconds!r}")
        self._seconds = seconds

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        return self._seconds if failures else 0.0
