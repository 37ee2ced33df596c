"""Deterministic simulation: the real core of a worker among model gateways and a model network.

``World(make_schedule(seed)).run()`` simulates ten minutes of a worker in virtual time, and raises
InvariantViolated when something that must never happen does. ``python -m simulation`` runs many
seeds; ``make simulate`` is a short form.
"""

from .invariants import InvariantViolated
from .runner import Explanation, Report, explain, failure_of, run_seeds
from .schedule import Entry, Schedule, make_schedule
from .shrink import shrink
from .timeline import Timeline
from .world import World

__all__ = [
    "Entry",
    "Explanation",
    "InvariantViolated",
    "Report",
    "Schedule",
    "Timeline",
    "World",
    "explain",
    "failure_of",
    "make_schedule",
    "run_seeds",
    "shrink",
]
