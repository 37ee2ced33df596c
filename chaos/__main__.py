"""The command ``python -m chaos``, which ``make chaos`` runs."""

import argparse
import json
import signal
import sys

from . import run_chaos

INTERRUPTED = 130


def run(seconds: float, seed: int) -> int:
    """Print each stop of a process, then one line of JSON and the problems.

    The exit code is 1 when there are problems, and 130 after Ctrl-C, which ends all processes.
    """
    sys.stderr.write(f"chaos for {seconds:g} s, seed {seed}\n")
    try:
        report = run_chaos(seconds, seed, _show)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
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


def _show(fault: str) -> None:
    sys.stderr.write(f"  {fault}\n")


def main() -> int:
    """Parse the command line and run it; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m chaos",
        description="Run real workers under random faults, and check that nothing is lost.",
        epilog="The exit code is 1 when something is lost or wrong, and 130 after Ctrl-C.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seconds", type=_positive, default=60.0, help="how long faults happen")
    parser.add_argument("--seed", type=int, default=1, help="which faults happen, and when")
    given = parser.parse_args()
    signal.signal(signal.SIGINT, _interrupt_once)
    return run(given.seconds, given.seed)


def _interrupt_once(*_: object) -> None:
    # A second Ctrl-C must not interrupt the end of the processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _positive(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
