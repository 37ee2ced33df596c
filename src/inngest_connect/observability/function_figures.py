"""FunctionFigures: what each function of a worker did, as far as memory of a fixed size can tell.

``count`` runs where an event happens, with every execution: it adds to numbers. The rest is
computed when it is read, on another thread and without a lock: an array is copied in one step.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from ..core.events import RequestCompleted
from ..core.wire.remote_text import shortened_id

DURATIONS_KEPT: Final = 500
"""Durations of the last executions that are kept of each function, 4 kB."""


@dataclass(slots=True)
class _Function:
    executions: int = 0
    failures: int = 0
    failed_at: float | None = None
    last_error: str | None = None
    durations: "array[float]" = field(default_factory=lambda: array("d"))
    """A ring; execution number n is at n modulo ``DURATIONS_KEPT``."""
    known: tuple[int, tuple[float | None, ...]] = 0, (None, None, None)
    """The percentiles as they were after so many executions."""


@dataclass(frozen=True, slots=True)
class FunctionRow:
    """One function since the start. Percentiles are seconds of the last 500 executions, exact.

    ``failure_age`` is seconds since an execution failed last, None when none has; ``last_error`` is
    the first line of what it raised, as far as ``failure_details`` shows it.
    """

    function_slug: str
    executions: int
    failures: int
    failure_age: float | None
    last_error: str | None
    p50: float | None
    p95: float | None
    p99: float | None


class FunctionFigures:
    """Of the functions that the worker has: no other name becomes a key.

    A name is as events show it, so of names that are too long to be shown, those that begin alike
    are one.
    """

    def __init__(self, slugs: Iterable[str]) -> None:
        self._functions: Final = {shortened_id(slug): _Function() for slug in sorted(slugs)}

    def count(self, event: RequestCompleted, now: float) -> None:
        """Count an execution. On the thread that observes; never blocks."""
        function = self._functions.get(event.function_slug)
        if function is None:
            return
        durations, place = function.durations, function.executions % DURATIONS_KEPT
        if place < len(durations):
            durations[place] = event.seconds
        else:
            durations.append(event.seconds)
        function.executions += 1
        if event.status == "ERROR":
            function.failures += 1
            function.failed_at, function.last_error = now, event.error

    def rows(self, now: float) -> list[FunctionRow]:
        """One row for each function, by name."""
        return [_row(slug, function, now) for slug, function in self._functions.items()]


def _row(slug: str, function: _Function, now: float) -> FunctionRow:
    executions, percentiles = function.known
    if executions != function.executions:
        executions = function.executions
        durations = sorted(function.durations[:])
        percentiles = tuple(exact_percentile(durations, part) for part in (0.50, 0.95, 0.99))
        function.known = executions, percentiles
    failed_at = function.failed_at
    age = None if failed_at is None else now - failed_at
    error = function.last_error
    return FunctionRow(slug, executions, function.failures, age, error, *percentiles)


def exact_percentile(ascending: Sequence[float], fraction: float) -> float | None:
    """The smallest value up to which ``fraction`` of all values lie; None without values."""
    if not ascending:
        return None
    return ascending[max(ceil(fraction * len(ascending)) - 1, 0)]
