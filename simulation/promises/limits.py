"""Limits: the times by which a worker has to have done something.

A worker is asked when it wants to be called next. If that is later than one of these, a timer is
missing, or what was due at that time was not done.
"""

from collections.abc import Hashable, Iterator
from typing import Final

NEVER: Final = float("inf")
ROUNDING: Final = 1e-6
"""Seconds by which two sums of the same times may differ."""


class Limits:
    """One time for each key. ``first`` is not later than any of them, and may be earlier."""

    def __init__(self) -> None:
        self.first = NEVER
        self._at: dict[Hashable, float] = {}

    def set(self, key: Hashable, at: float) -> None:
        """Set or move a limit."""
        self._at[key] = at
        if at < self.first:
            self.first = at

    def get(self, key: Hashable) -> float | None:
        """Return the limit of ``key``, None without one."""
        return self._at.get(key)

    def clear(self, key: Hashable) -> float | None:
        """Remove a limit, because what it was set for has happened, or is not due any more."""
        return self._at.pop(key, None)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(list(self._at))

    def missed(self, due: float) -> tuple[Hashable, float] | None:
        """Return a limit that is earlier than ``due`` and its key, None when there is none."""
        if due <= self.first + ROUNDING:
            return None
        if not self._at:
            self.first = NEVER
            return None
        key, self.first = min(self._at.items(), key=lambda item: item[1])
        return (key, self.first) if due > self.first + ROUNDING else None
