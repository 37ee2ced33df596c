"""How long to wait before an attempt: the interface of a strategy, and the two strategies here."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from .wire.user_text import class_name, is_a, shown_value

# Seconds. The 0 is spread over the first second; the last one repeats indefinitely.
DEFAULT_SCHEDULE: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)

# Seconds over which a delay of 0 is spread: a gateway that dies drops thousands of workers in one
# instant, and a fraction of 0 s would not spread them.
FIRST_SPREAD: Final = 1.0

# The fraction by which a delay is shortened or lengthened. A fifth keeps ten thousand workers that
# were refused together so close together that most of them are refused again. Chosen by
# measurement, as the other spreads: docs/reliability.md#a-fleet.
JITTER: Final = 0.5

# Seconds by which jitter changes a delay at most: two minutes are enough for any fleet, and more
# would only keep single workers away for longer.
LONGEST_JITTER: Final = 60.0

# Seconds between tries of one reply. Short: a reply is of use only while its lease is valid.
FLUSH_SCHEDULE: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)

# Less than that of attempts, for the same reason.
FLUSH_JITTER: Final = 0.2


# Seconds. A worker that waits longer than a day does not come back in practice.
LONGEST_DELAY: Final = 86_400.0


class RetryStrategy(Protocol):
    """How long to wait before an attempt.

    Called on a separate thread, for a limited time. When it raises, returns something other
    than 0 to 86,400 s, or does not return, that is an ``error`` of kind ``retry_strategy_failed``,
    and the default schedule is used for this attempt.
    """

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """Return seconds to wait after ``failures`` consecutive failures (0 = the first attempt).

        ``random`` gives numbers in [0, 1), for jitter.
        """
        ...


class ScheduleRetry:
    """The delays of ``schedule`` (seconds), one after the other; the last one repeats.

    ``jitter`` is the fraction by which each delay may be shortened or lengthened, by at most 60 s,
    so that a thousand workers that lost the same gateway do not come back in the same instant; an
    entry of 0 s becomes 0 to 1 s. With ``jitter=0`` every delay is exact.
    """

    def __init__(
        self, schedule: Sequence[float] = DEFAULT_SCHEDULE, jitter: float = JITTER
    ) -> None:
        try:
            # Bytes are a sequence of numbers, and not meant.
            is_bytes = is_a(schedule, bytes, bytearray)
            self._schedule = () if is_bytes else tuple(map(seconds_of, schedule))
        except Exception:  # noqa: BLE001 - of the iteration, which is user code
            self._schedule = ()
        if not self._schedule:
            raise ValueError(
                f"a retry schedule needs delays of 0 to 86400 s, not {shown_value(schedule)}"
            )
        if problem_of(jitter) or jitter >= 1:
            raise ValueError(f"jitter is a fraction from 0 to below 1, not {shown_value(jitter)}")
        self._jitter = jitter

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """The entry of the schedule for so many failures, with jitter."""
        # Without the spread, all workers of a gateway that died would be at its successor, and at
        # the API, in the same instant, and again after each of their delays.
        seconds = self._schedule[min(failures, len(self._schedule) - 1)]
        if not seconds and self._jitter:
            return FIRST_SPREAD * random()
        return seconds + min(self._jitter * seconds, LONGEST_JITTER) * (2 * random() - 1)


class FixedRetry:
    """The same delay (seconds) before every attempt but the first."""

    def __init__(self, seconds: float) -> None:
        if problem_of(seconds):
            raise ValueError(f"a retry delay is 0 to 86400 s, not {shown_value(seconds)}")
        self._seconds = seconds_of(seconds)

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """The fixed delay, 0 before the first attempt."""
        return self._seconds if failures else 0.0


def is_own(strategy: RetryStrategy) -> bool:
    """Whether it is a strategy of this module, which answers immediately. A subclass is not."""
    # By the exact type: a subclass is code of the user, which may block or raise.
    return type(strategy) in (ScheduleRetry, FixedRetry)


def problem_of(delay: object) -> str | None:
    """What is wrong with an answer of a retry strategy, None for a usable delay."""
    try:
        seconds_of(delay)
    except ValueError as problem:
        return str(problem)
    return None


def seconds_of(answer: Any) -> float:
    """The answer of a retry strategy as a plain number. Raises ValueError.

    Runs no code of the user: a subclass of ``float`` is read by the methods of ``float``, and of
    anything that is not a number only the class is named.
    """
    if not is_a(answer, int, float):
        raise ValueError(f"returned a value of type {class_name(answer)}, not seconds")
    # NaN fails the comparison below, and so does an int that is too large for a float: neither can
    # be passed to a timer.
    number = float.__float__(answer) if is_a(answer, float) else int.__int__(answer)
    if 0 <= number <= LONGEST_DELAY:
        return float(number)
    shown = f"{number:g}" if isinstance(number, float) else "a number"
    raise ValueError(f"returned {shown}, not 0 to {LONGEST_DELAY:g} seconds")
