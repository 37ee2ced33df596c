"""``make bench``: ours and the official workers, side by side. ``python -m bench --help``.

Every peer runs all the time, with its own process and its own gateway, and gets a window of load in
turn. So all are measured within seconds of one another, on a machine whose speed changes. It prints
medians over the rounds, their range, and ratios of figures of the same round.
"""

import argparse
import asyncio
import datetime
import json
import logging
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import growth, parts, peers, plots, prices
from .measurement import Measurement, measure
from .scenarios import REFERENCE, Scenario, scenarios

RESULTS = Path(__file__).with_name("results")
Rounds = dict[str, list[Measurement]]


async def compare(
    names: list[str], chosen: list[Scenario], rounds: int, seconds: float
) -> tuple[dict[str, Rounds], dict[str, list[float]]]:
    """Figures by scenario and peer, and the latencies of the reference scenario by peer."""
    results: dict[str, Rounds] = {}
    latencies: dict[str, list[float]] = {name: [] for name in names}
    async with peers.running(names) as running:
        for scenario in chosen:
            found: Rounds = {name: [] for name in names}
            for peer in running:
                await measure(peer.gateway, peer.worker, scenario, seconds / 2)  # warms up
            for _ in range(rounds):
                for peer in running:
                    one, all_of_it = await measure(peer.gateway, peer.worker, scenario, seconds)
                    found[peer.name].append(one)
                    if scenario == REFERENCE:
                        latencies[peer.name] += all_of_it
            results[scenario.name] = found
            say("\n".join(rows(scenario.name, found)))
    return results, latencies


def rows(name: str, found: Rounds) -> list[str]:
    return [f"| {name} | {peers.TITLES[peer]} | {cells(m, found)} |" for peer, m in found.items()]


HEADER = (
    "| scenario | worker | requests/s (min-max) | of official | processor us/request (min-max) | "
    "of official | latency ms p50 / p99 | acknowledged ms p50 / p99 |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def cells(measured: list[Measurement], found: Rounds) -> str:
    rate = [m.requests_per_second for m in measured]
    spent = [m.processor * 1e6 for m in measured]
    official = found.get("official", measured)
    pairs = list(zip(measured, official, strict=True))
    faster = [a.requests_per_second / b.requests_per_second for a, b in pairs]
    leaner = [a.processor / b.processor for a, b in pairs]
    latency = [median(m.latency_p50 * 1e3 for m in measured)]
    latency.append(median(m.latency_p99 * 1e3 for m in measured))
    acknowledged = [median(m.acknowledgement_p50 * 1e3 for m in measured)]
    acknowledged.append(median(m.acknowledgement_p99 * 1e3 for m in measured))
    return " | ".join(
        (
            f"{median(rate):,.0f} ({min(rate):,.0f}-{max(rate):,.0f})",
            f"{median(faster):.2f}",
            f"{median(spent):,.0f} ({min(spent):,.0f}-{max(spent):,.0f})",
            f"{median(leaner):.2f}",
            " / ".join(f"{value:.1f}" for value in latency),
            " / ".join(f"{value:.1f}" for value in acknowledged),
        )
    )


def median(values: Any) -> float:
    return float(statistics.median(values))


async def run(options: argparse.Namespace) -> dict[str, Any]:
    names = ["ours", "embedded", "none", "official", "bare"]
    if peers.go_is_there():
        names.append("go")
    if peers.javascript_is_there():
        names.append("javascript")
    machine = peers.machine()
    say(json.dumps(machine))
    say(f"{options.rounds} rounds, windows of {options.seconds:g} s\n\n{HEADER}")
    chosen = scenarios("quick" if options.quick else "matrix" if options.matrix else "table")
    results, latencies = await compare(names, chosen, options.rounds, options.seconds)
    document: dict[str, Any] = {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "scenarios": {
            name: {peer: [asdict(m) for m in measured] for peer, measured in found.items()}
            for name, found in results.items()
        },
        "latencies": latencies,
    }
    document["parts"] = await parts.measure_parts(options.rounds, options.seconds)
    say(parts.table(document["parts"]))
    document["paths"] = await parts.measure_paths(options.rounds)
    say(parts.paths_table(document["paths"]))
    named = list(prices.VARIANTS)[: 2 if options.quick else None]
    found = await prices.measure_prices(named, options.rounds, options.seconds)
    say(prices.price_table(found))
    document["prices"] = {name: [asdict(m) for m in each] for name, each in found.items()}
    document["start"] = await growth.start_up(3 if options.quick else 10)
    say(growth.start_table(document["start"]))
    if not options.quick:
        document["children"] = await prices.measure_children(options.rounds, options.seconds)
        say(prices.children_table(document["children"]))
        document["growth"] = await growth.measure_growth(say)
    return document


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").strip())
    parser.add_argument("--quick", action="store_true", help="two scenarios, within a minute")
    parser.add_argument("--matrix", action="store_true", help="all scenarios; half an hour")
    parser.add_argument("--rounds", type=int, help="windows of each peer and scenario")
    parser.add_argument("--seconds", type=float, help="length of a window")
    parser.add_argument("--plot", type=Path, help="draw the plots of an earlier result again")
    options = parser.parse_args()
    if options.plot is not None:
        plots.draw(json.loads(options.plot.read_text()), RESULTS)
        return 0
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (0.6 if options.quick else 0.8)
    logging.disable(logging.WARNING)  # the gateway's library logs each full buffer
    if not Path("/proc/self/stat").exists():
        say("the processor time of another process can only be read where there is /proc")
        return 2
    document = asyncio.run(run(options))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{document['at'].replace(':', '')}.json"
    path.write_text(json.dumps(document, indent=1))
    say(f"\nwritten: {path.relative_to(Path.cwd())}")
    for drawn in plots.draw(document, RESULTS):
        say(f"written: {drawn.relative_to(Path.cwd())}")
    return 0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
