"""Measurement: the figures of one scenario, as a row of a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from inngest_connect.core.retry import RetryStrategy

from .fleet import Fleet
from .limited_api import Overload
from .scenarios import SCENARIOS

HEADER: Final = (
    "| what happens | API above its limit | calls each | peak | p95 | 50 % | 99 % | 100 % | lost |"
    "\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """``per_second`` is the calls in each second; ``recoveries`` is sorted seconds.

    ``lost`` counts connections that ended before another one served. A worker that connects twice,
    because its gateway is drained twice, recovers twice.
    """

    scenario: str
    overload: Overload
    calls: int
    per_second: dict[int, int]
    recoveries: Sequence[float]
    lost: int

    @property
    def calls_per_recovery(self) -> float:
        """Calls of the API that one recovery needed on average."""
        return self.calls / len(self.recoveries)

    @property
    def peak(self) -> int:
        """Calls in the second that had most."""
        return max(self.per_second.values())

    @property
    def busy(self) -> float:
        """The 95th percentile of the calls in a second that had any."""
        return percentile(sorted(self.per_second.values()), 95)

    def after(self, percent: float) -> float:
        """Seconds after which so many percent of the recoveries were complete."""
        return percentile(self.recoveries, percent)

    def row(self) -> str:
        """The line below ``HEADER``."""
        times = " | ".join(f"{self.after(percent):.1f} s" for percent in (50, 99, 100))
        return (
            f"| {self.scenario} | {self.overload.value} | {self.calls_per_recovery:.2f} "
            f"| {self.peak:,} | {self.busy:,.0f} | {times} | {self.lost:,} |"
        )


def measure(
    scenario: str,
    overload: Overload,
    *,
    workers: int,
    rate: float,
    seed: int,
    retry: RetryStrategy | None = None,
    run: Callable[[Fleet], None] | None = None,
) -> Measurement:
    """Run one scenario, or ``run`` in its place. Raises RuntimeError if a worker stays away."""
    fleet = Fleet(workers, rate, overload, retry, seed)
    (run or SCENARIOS[scenario])(fleet)
    if fleet.recovering:
        raise RuntimeError(f"{scenario}: {fleet.recovering} workers did not come back")
    return Measurement(
        scenario,
        overload,
        fleet.api.calls,
        dict(fleet.api.per_second),
        sorted(fleet.recoveries),
        fleet.lost_connections,
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the sorted ``values`` that so many percent of them do not exceed."""
    return values[max(ceil(len(values) * percent / 100) - 1, 0)]
