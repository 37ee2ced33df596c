"""Runs many seeds on all cores, and explains those that fail."""

import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from .counts import Counts, Totals
from .schedule import Schedule, make_schedule
from .shrink import shrink
from .simulation import Simulation
from .timeline import Timeline

_CHUNK: Final = 50
_CHUNKS: Final = 40
"""For one process. A thread that was killed where it stood keeps some of its memory."""

_Chunk = tuple[int, int, bool]
"""First seed, count, and whether the whole stack is simulated."""
_ChunkResult = tuple[int, list[tuple[int, str]], Totals]
"""How many schedules were run, the failures, and what happened."""


@dataclass(slots=True)
class Report:
    """Results of many seeds. ``failures`` are seeds and what was violated; ``seconds`` is real."""

    schedules: int = 0
    seconds: float = 0.0
    jobs: int = 1
    failures: list[tuple[int, str]] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)

    @property
    def per_second_and_job(self) -> float:
        """Schedules per second and process."""
        return self.schedules / self.seconds / self.jobs if self.seconds else 0.0


def world(stack: bool) -> tuple[Callable[[int], Schedule], type[Simulation]]:
    """Return how schedules are made and run: for the whole stack, or for the core alone."""
    if not stack:
        return make_schedule, Simulation
    # Only here: it imports the whole worker, which the core's simulation does not need.
    from .stack import StackSimulation, make_stack_schedule

    return make_stack_schedule, StackSimulation


def failure_of(
    schedule: Schedule,
    timeline: Timeline | None = None,
    counts: Counts | None = None,
    simulation: type[Simulation] = Simulation,
) -> str | None:
    """Return what a schedule violates, or None. An exception of the worker is a failure too.

    ``counts`` is filled with what happened.
    """
    try:
        simulation(schedule, note=timeline, counts=counts).run()
    except Exception as error:  # noqa: BLE001 - any exception is a bug of the worker
        return f"{type(error).__name__}: {error}"
    return None


def run_seeds(
    first: int,
    count: int,
    *,
    stack: bool = False,
    jobs: int | None = None,
    on_progress: Callable[[Report], None] | None = None,
    most_failures: int = 20,
) -> Report:
    """Run ``count`` seeds from ``first`` in ``jobs`` processes, by default one for each core.

    ``on_progress`` is called with the report so far, which is filled further. Ends early after
    ``most_failures``.
    """
    report = Report(jobs=jobs or os.cpu_count() or 1)
    begun = time.perf_counter()
    chunks = [
        (at, min(_CHUNK, first + count - at), stack) for at in range(first, first + count, _CHUNK)
    ]
    for done, failures, totals in _results(chunks, report.jobs):
        report.schedules += done
        report.failures += failures
        report.totals.update(totals)
        report.seconds = time.perf_counter() - begun
        if on_progress is not None:
            on_progress(report)
        if len(report.failures) >= most_failures:
            break
    report.failures.sort()
    return report


def _results(chunks: list[_Chunk], jobs: int) -> Iterator[_ChunkResult]:
    if jobs == 1:
        yield from map(_run_chunk, chunks)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, _begin_process, maxtasksperchild=_CHUNKS) as pool:
        yield from pool.imap_unordered(_run_chunk, chunks)


def _begin_process() -> None:
    # Ctrl-C reaches all processes of a terminal; only the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The modules stay until the process ends. Searching them for garbage is a tenth of the time.
    gc.freeze()


def _run_chunk(chunk: _Chunk) -> _ChunkResult:
    first, count, stack = chunk
    make, simulation = world(stack)
    failures, totals = [], Totals()
    for seed in range(first, first + count):
        counts = Counts()
        text = failure_of(make(seed), counts=counts, simulation=simulation)
        totals.add(counts)
        if text is not None:
            failures.append((seed, text))
    return count, failures, totals


@dataclass(frozen=True, slots=True)
class Explanation:
    """``holds`` is whether no invariant is violated; ``text`` is human-readable.

    ``schedule`` is what was run, shrunk if it fails.
    """

    schedule: Schedule
    holds: bool
    text: str


def explain(seed: int, *, stack: bool = False) -> Explanation:
    """Describe what happens in one seed; a schedule that fails is shrunk first."""
    make, simulation = world(stack)
    schedule = make(seed)
    failure = failure_of(schedule, simulation=simulation)
    if failure is not None:
        schedule = shrink(
            schedule, lambda smaller: failure_of(smaller, simulation=simulation) is not None
        )
    timeline = Timeline()
    violated = failure_of(schedule, timeline, simulation=simulation)
    outcome = "all invariants hold" if violated is None else f"VIOLATED {violated}"
    entries = "\n".join(f"{entry.at:9.3f}  {entry}" for entry in schedule.entries)
    text = "\n".join(
        (
            f"seed {seed}, {len(schedule.entries)} entries"
            + (" after shrinking" if failure is not None else ""),
            entries,
            "",
            timeline.text(),
            "",
            outcome,
        )
    )
    return Explanation(schedule, violated is None, text)
