"""Deterministic simulation: the real decisions of a worker, in a world made of models.

``World(make_schedule(seed)).run()`` plays ten minutes of a worker's life in virtual time, and
raises InvariantViolated when something that must never happen does.
"""

from .invariants import InvariantViolated
from .schedule import Entry, Schedule, make_schedule
from .world import World

__all__ = ["Entry", "InvariantViolated", "Schedule", "World", "make_schedule"]
