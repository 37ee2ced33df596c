"""``python -m chaos``: real workers under random faults, and the ledger at the end."""

import argparse
import json
import sys

from . import run_chaos


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


def main() -> int:
    """Parse the command line; the exit code is 1 when something was lost."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long faults happen")
    parser.add_argument("--seed", type=int, default=1, help="which faults happen when")
    given = parser.parse_args()
    return run(given.seconds, given.seed)


def _say(text: str) -> None:
    sys.stderr.write(f"  {text}\n")


if __name__ == "__main__":
    sys.exit(main())
