"""``inngest-connect chaos``: real workers under random faults, and the ledger at the end."""

import json
import sys

from ..testing.chaos import run_chaos


def run(seconds: float, seed: int) -> int:
    """Prints each stop of a process and one line of JSON; exit code 1 when something was lost."""
    sys.stderr.write(f"chaos for {seconds:g} s, seed {seed}\n")
    report = run_chaos(seconds, seed, _say)
    summary = {
        "seed": seed,
        "seconds": seconds,
        "executed": report.executed,
        **report.server,
        "stops": dict(report.stops),
        "workers": report.workers,
    }
    sys.stdout.write(json.dumps(summary) + "\n")
    for problem in report.problems:
        sys.stdout.write(f"PROBLEM {problem}\n")
    return 1 if report.problems else 0


def _say(text: str) -> None:
    sys.stderr.write(f"  {text}\n")
