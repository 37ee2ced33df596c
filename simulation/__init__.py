"""Deterministic simulation: the real core of a worker among model gateways and a model network.

``Simulation(make_schedule(seed)).run()`` runs a worker for ten minutes of virtual time, and raises
InvariantViolated when something that must never happen does. ``python -m simulation`` runs many
seeds; ``make simulate`` is a short form.
"""

from .counts import Counts, Totals
from .entry import Entry
from .invariants import InvariantViolated
from .recorded import recorded, replayed
from .runner import Explanation, Report, explain, failure_of, run_seeds
from .schedule import Schedule, make_schedule
from .shrink import shrink
from .simulation import Simulation
from .timeline import Timeline

__all__ = [
    "Counts",
    "Entry",
    "Explanation",
    "InvariantViolated",
    "Report",
    "Schedule",
    "Simulation",
    "Timeline",
    "Totals",
    "explain",
    "failure_of",
    "make_schedule",
    "recorded",
    "replayed",
    "run_seeds",
    "shrink",
]
