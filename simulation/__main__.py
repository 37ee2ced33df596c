"""``python -m simulation``: thousands of simulated schedules. ``make simulate`` runs it."""

import argparse
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from . import explain, run_seeds


def replay(seed: int) -> int:
    """Tell one seed as a timeline; exit code 1 when it violates something."""
    explanation = explain(seed)
    sys.stdout.write(explanation.text + "\n")
    return 0 if explanation.holds else 1


def simulate(first: int, count: int, jobs: int) -> int:
    """Run seeds with a progress bar, 0 ``jobs`` on all cores; exit code 1 when one fails."""
    columns = (
        TextColumn("simulating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("failed {task.fields[failed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("simulating", total=count, failed=0)
        report = run_seeds(
            first,
            count,
            jobs=jobs or None,
            on_progress=lambda done, failed: progress.update(task, completed=done, failed=failed),
        )
    sys.stdout.write(
        f"{report.schedules} schedules in {report.seconds:.1f} s with {report.jobs} processes "
        f"({report.per_second_and_job:.0f} a second and process), {len(report.failures)} failed\n"
    )
    for seed, text in report.failures:
        sys.stdout.write(f"seed {seed}: {text}\n  python -m simulation --seed {seed}\n")
    return 1 if report.failures else 0


def main() -> int:
    """Parse the command line; the exit code is 1 when an invariant is violated."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, help="how many schedules to run")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0 for one on each core")
    parser.add_argument("--seed", type=int, help="replay one as a timeline, shrunk if it fails")
    given = parser.parse_args()
    if given.seed is not None:
        return replay(given.seed)
    return simulate(given.first, given.seeds, given.jobs)


if __name__ == "__main__":
    sys.exit(main())
