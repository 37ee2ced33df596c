"""What can happen to all workers at once. Each scenario runs a new fleet to its end."""

from collections.abc import Callable
from typing import Final

from .fleet import Fleet

OUTAGE: Final = 300.0

# Seconds between the gateways of a rolling deployment, each of which waits for 25 s.
ROLLING_INTERVAL: Final = 30.0

LONGEST_RECOVERY: Final = 3600.0


def gateway_killed(fleet: Fleet) -> None:
    """One gateway of ten dies."""
    fleet.settle()
    fleet.kill(next(iter(fleet.gateways.values())))
    fleet.run_until_recovered(LONGEST_RECOVERY)


def rolling_deployment(fleet: Fleet) -> None:
    """The gateways are drained one after the other."""
    fleet.settle()
    begun = fleet.now
    for number, gateway in enumerate(list(fleet.gateways.values())):
        fleet.run_until(begun + number * ROLLING_INTERVAL)
        fleet.drain(gateway)
    fleet.run_until(fleet.now + ROLLING_INTERVAL)
    fleet.run_until_recovered(LONGEST_RECOVERY)


def deployment_at_once(fleet: Fleet) -> None:
    """All gateways are drained at the same time."""
    fleet.settle()
    for gateway in list(fleet.gateways.values()):
        fleet.drain(gateway)
    fleet.run_until_recovered(LONGEST_RECOVERY)


def outage(fleet: Fleet) -> None:
    """Every connection is lost, and the API is away for five minutes."""
    fleet.settle()
    fleet.api.away_until = fleet.now + OUTAGE
    fleet.cut(since=fleet.api.away_until)
    fleet.run_until_recovered(OUTAGE + LONGEST_RECOVERY)


def cold_start(fleet: Fleet, within: float = 0.0) -> None:
    """Every worker starts in the same instant, or waits for up to ``within`` seconds first."""
    fleet.api.limit(fleet.rate, fleet.now)
    for worker in fleet.workers:
        fleet.recovers(worker, fleet.now)
    fleet.start(within)
    fleet.run_until_recovered(LONGEST_RECOVERY)


SCENARIOS: Final[dict[str, Callable[[Fleet], None]]] = {
    "one gateway of ten killed": gateway_killed,
    "gateways drained one by one": rolling_deployment,
    "all gateways drained at once": deployment_at_once,
    "API away for 5 min, all connections lost": outage,
    "all workers started at once": cold_start,
}
