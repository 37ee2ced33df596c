"""The command ``python -m simulation``, which ``make simulate`` runs."""

import argparse
import gc
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from . import Report, explain, recorded, run_seeds

INTERRUPTED = 130


def replay(seed: int, record: Path | None = None, stack: bool = False) -> int:
    """Print one seed as a timeline. The exit code is 1 when it violates an invariant.

    The schedule, shrunk if it fails, is written to ``record``.
    """
    explanation = explain(seed, stack=stack)
    sys.stdout.write(explanation.text + "\n")
    if record is not None:
        record.write_text(recorded(explanation.schedule), encoding="utf-8")
    return 0 if explanation.holds else 1


def simulate(first: int, count: int, jobs: int, stack: bool = False) -> int:
    """Run seeds with a progress bar, on all cores if ``jobs`` is 0.

    The exit code is 1 when a seed violates an invariant, and 130 after Ctrl-C, which keeps the
    results so far.
    """
    columns = (
        TextColumn("simulating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("failed {task.fields[failed]}"),
        TimeRemainingColumn(),
    )
    report = Report()
    interrupted = False
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("simulating", total=count, failed=0)

        def show(so_far: Report) -> None:
            nonlocal report
            report = so_far
            failed = len(so_far.failures)
            progress.update(task, completed=so_far.schedules, failed=failed)

        try:
            run_seeds(first, count, stack=stack, jobs=jobs or None, on_progress=show)
        except KeyboardInterrupt:
            interrupted = True
    sys.stdout.write(
        f"{report.schedules} schedules in {report.seconds:.1f} s with {report.jobs} processes "
        f"({report.per_second_and_job:.0f} a second and process), {len(report.failures)} failed"
        f"{', interrupted' if interrupted else ''}\n"
    )
    for line in report.totals.lines():
        sys.stdout.write(f"{line}\n")
    flag = "--stack " if stack else ""
    for seed, text in sorted(report.failures):
        sys.stdout.write(f"seed {seed}: {text}\n  python -m simulation {flag}--seed {seed}\n")
    if interrupted:
        return INTERRUPTED
    return 1 if report.failures else 0


def main() -> int:
    """Parse the command line and run it; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m simulation",
        description="Simulate a worker in virtual time, one schedule of faults for each seed.",
        epilog="The exit code is 1 when an invariant is violated, and 130 after Ctrl-C.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seeds", type=_positive, default=20_000, help="how many schedules to run")
    parser.add_argument("--first", type=_natural, default=0, help="the first seed")
    parser.add_argument("--jobs", type=_natural, default=0, help="processes; 0 for one per core")
    parser.add_argument(
        "--seed",
        type=_natural,
        default=argparse.SUPPRESS,
        help="print this seed as a timeline instead, shrunk if it fails",
    )
    parser.add_argument(
        "--stack",
        action="store_true",
        help="simulate the whole worker with its sockets and threads, not the core alone",
    )
    parser.add_argument(
        "--record", type=Path, help="with --seed: write the schedule to this file, as a test"
    )
    given = parser.parse_args()
    signal.signal(signal.SIGINT, _interrupt_once)
    if "seed" in given:
        return replay(given.seed, given.record, given.stack)
    gc.freeze()  # the modules stay, so that searching them for garbage is lost time
    return simulate(given.first, given.seeds, given.jobs, given.stack)


def _interrupt_once(*_: object) -> None:
    # A second Ctrl-C must not interrupt the end of the processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is negative")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive")
    return number


if __name__ == "__main__":
    sys.exit(main())
