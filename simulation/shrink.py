"""Shortens a failing schedule, by leaving out what the failure does not need."""

from collections.abc import Callable

from .schedule import Schedule


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """Return a shorter schedule that still ``fails``: without halves first, then single entries."""
    size = max(len(schedule.entries) // 2, 1)
    while True:
        smaller = _without_one_piece(schedule, size, fails)
        if smaller is not None:
            schedule = smaller
            size = min(size, max(len(schedule.entries) // 2, 1))
        elif size == 1:
            return schedule
        else:
            size //= 2


def _without_one_piece(
    schedule: Schedule, size: int, fails: Callable[[Schedule], bool]
) -> Schedule | None:
    for start in range(0, len(schedule.entries), size):
        piece = frozenset(range(start, min(start + size, len(schedule.entries))))
        smaller = schedule.without(piece)
        if fails(smaller):
            return smaller
    return None
