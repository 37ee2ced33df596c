"""Counts: which situations a simulation has been through, and which promises were in question.

A simulation that never gets into a situation proves nothing about it, and neither does an invariant
whose premise is never true.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from .promises.table import PROMISES, Tally


@dataclass(slots=True)
class Counts:
    """What happened in one schedule. A situation counts once, however often it occurred."""

    situations: set[str] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)
    """How often the premise of each promise was true."""

    def situation(self, name: str) -> None:
        """The worker is in a situation that schedules are made to bring about."""
        self.situations.add(name)


@dataclass(slots=True)
class Totals:
    """In how many schedules each situation occurred, and how often each premise was true."""

    situations: Counter[str] = field(default_factory=Counter)
    tally: Tally = field(default_factory=Tally)

    def add(self, counts: Counts) -> None:
        """Add one schedule."""
        self.situations.update(counts.situations)
        self.tally.update(counts.tally)

    def update(self, other: "Totals") -> None:
        """Add the schedules of another process."""
        self.situations.update(other.situations)
        self.tally.update(other.tally)

    def lines(self) -> Iterable[str]:
        """Two tables: situations, the rarest first, and promises in the order of their table."""
        yield "schedules with these situations:"
        for name, number in sorted(self.situations.items(), key=lambda item: (item[1], item[0])):
            yield f"{number:12,}  {name}"
        yield "how often each promise was in question:"
        for name, premise in PROMISES.items():
            yield f"{self.tally[name]:12,}  {name:22}  {premise}"
