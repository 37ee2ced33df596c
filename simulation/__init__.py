"""Deterministic simulation: the real decisions of a worker, in a world made of models.

``World(make_schedule(seed)).run()`` plays up to ten minutes of a worker's life in virtual time, and
raises InvariantViolated when something that must never happen does. ``inngest-connect simulate``
runs many of them.
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
