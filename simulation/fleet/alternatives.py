"""Alternatives: other delays than those of the core, each where it makes the most difference.

Every alternative changes one thing. The core is the real one: its constants are replaced while it
runs, and other shapes of jitter are retry strategies.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final
from unittest.mock import patch

from inngest_connect.core import retry as core_retry
from inngest_connect.core.connections import attempts as core_attempts
from inngest_connect.core.retry import DEFAULT_SCHEDULE, RetryStrategy, ScheduleRetry

from .fleet import Fleet
from .limited_api import Overload
from .scenarios import cold_start

KILLED: Final = "one gateway of ten killed"
ONE_BY_ONE: Final = "gateways drained one by one"
OUTAGE: Final = "API away for 5 min, all connections lost"
AT_ONCE: Final = "all gateways drained at once"
COLD: Final = "all workers started at once"


class Shape:
    """The schedule with each delay between two fractions of its entry; 0 to 1 s at first."""

    def __init__(self, shortest: float, longest: float) -> None:
        self._shortest = shortest
        self._longest = longest

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """A delay of this shape, in seconds."""
        entry = DEFAULT_SCHEDULE[min(failures, len(DEFAULT_SCHEDULE) - 1)]
        if not entry:
            return random()
        return entry * (self._shortest + (self._longest - self._shortest) * random())


@dataclass(frozen=True, slots=True)
class Alternative:
    """``retry_after`` is the fraction of Retry-After that is added at random.

    The other numbers are seconds over which workers are spread. None is the value of the core.
    """

    title: str
    scenario: str
    overload: Overload = Overload.REFUSE
    retry: RetryStrategy | None = None
    first: float | None = None
    drain: float | None = None
    retry_after: float | None = None
    run: Callable[[Fleet], None] | None = None
    """Runs in place of the scenario."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Replace the values of the core for a while."""
        with (
            patch.object(core_retry, "FIRST_SPREAD", _or(self.first, core_retry.FIRST_SPREAD)),
            patch.object(
                core_attempts, "DRAIN_SPREAD", _or(self.drain, core_attempts.DRAIN_SPREAD)
            ),
            patch.object(
                core_attempts,
                "RETRY_AFTER_JITTER",
                _or(self.retry_after, core_attempts.RETRY_AFTER_JITTER),
            ),
        ):
            yield


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


CHOSEN: Final = "**±50 %, at most 60 s**"
SHAPES: Final[dict[str, RetryStrategy]] = {
    "±20 %": Shape(0.8, 1.2),
    "±35 %": Shape(0.65, 1.35),
    CHOSEN: ScheduleRetry(),
    "±50 %": Shape(0.5, 1.5),
    "half of it to all of it": Shape(0.5, 1.0),
    "0 to all of it": Shape(0.0, 1.0),
    "0 to twice of it": Shape(0.0, 2.0),
}

# The values of the core are bold.
ALTERNATIVES: Final = [
    *(
        Alternative(f"failed attempts: {title}", COLD, retry=retry)
        for title, retry in SHAPES.items()
    ),
    *(
        Alternative(f"failed attempts: {title}", scenario, retry=SHAPES[title])
        for scenario in (AT_ONCE, OUTAGE)
        for title in ("±20 %", CHOSEN, "±50 %")
    ),
    *(
        Alternative(f"`Retry-After`: {title}", COLD, Overload.REFUSE_FOR, retry_after=fraction)
        for title, fraction in {
            "exactly": 0.0,
            "and up to 20 %": 0.2,
            "and up to 50 %": 0.5,
            "**and up to as much again**": 1.0,
        }.items()
    ),
    *(
        Alternative(f"drain: 0 to {title} s", ONE_BY_ONE, drain=seconds)
        for title, seconds in {"0.5": 0.5, "1": 1.0, "**2**": 2.0, "3": 3.0, "4": 4.0}.items()
    ),
    *(
        Alternative(f"lost connection: 0 to {title} s", KILLED, first=seconds)
        for title, seconds in {"0.5": 0.5, "**1**": 1.0, "1.5": 1.5, "2": 2.0}.items()
    ),
    *(
        Alternative(f"start: {title}", COLD, run=partial(cold_start, within=seconds))
        for title, seconds in {
            "**at once**": 0.0,
            "0 to 1 s": 1.0,
            "0 to 2 s": 2.0,
            "0 to 5 s": 5.0,
        }.items()
    ),
]
