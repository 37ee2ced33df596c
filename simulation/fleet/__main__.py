"""The command ``python -m simulation.fleet``, which ``make fleet`` runs."""

import argparse
import sys
from pathlib import Path

from . import HEADER, SCENARIOS, Overload, draw, measure
from .alternatives import ALTERNATIVES


def main() -> int:
    """Measure every scenario, print the table, and draw it where ``--plot`` says."""
    parser = argparse.ArgumentParser(prog="python -m simulation.fleet", description=__doc__)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=500.0, help="calls the API serves in 1 s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=Path, help="the SVG file to write")
    parser.add_argument(
        "--alternatives", action="store_true", help="compare other delays, each in one scenario"
    )
    options = parser.parse_args()
    if options.alternatives:
        titles, line = HEADER.splitlines()
        sys.stdout.write(f"| delay {titles}\n| --- {line}\n")
        for it in ALTERNATIVES:
            with it.applied():
                measurement = measure(
                    it.scenario,
                    it.overload,
                    workers=options.workers,
                    rate=options.rate,
                    seed=options.seed,
                    retry=it.retry,
                    run=it.run,
                )
            sys.stdout.write(f"| {it.title} {measurement.row()}\n")
            sys.stdout.flush()
        return 0
    sys.stdout.write(HEADER + "\n")
    measurements = []
    for scenario in SCENARIOS:
        for overload in Overload:
            measurement = measure(
                scenario,
                overload,
                workers=options.workers,
                rate=options.rate,
                seed=options.seed,
            )
            measurements.append(measurement)
            sys.stdout.write(measurement.row() + "\n")
            sys.stdout.flush()
    if options.plot is not None:
        options.plot.write_text(draw(measurements, options.rate), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
