"""Counts: which situations a simulation has been through, and which premises were true in it.

A simulation that never gets into a situation proves nothing about it, and neither does an invariant
whose premise is never true.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counts:
    """What happened at least once in one schedule, by name."""

    situations: set[str] = field(default_factory=set)
    premises: set[str] = field(default_factory=set)

    def situation(self, name: str) -> None:
        """The worker is in a situation that schedules are made to bring about."""
        self.situations.add(name)

    def premise(self, name: str) -> None:
        """What an invariant is about is the case, so it was really checked."""
        self.premises.add(name)


@dataclass(slots=True)
class Totals:
    """In how many schedules each situation and premise occurred."""

    situations: Counter[str] = field(default_factory=Counter)
    premises: Counter[str] = field(default_factory=Counter)

    def add(self, counts: Counts) -> None:
        """Add one schedule."""
        self.situations.update(counts.situations)
        self.premises.update(counts.premises)

    def update(self, other: "Totals") -> None:
        """Add the schedules of another process."""
        self.situations.update(other.situations)
        self.premises.update(other.premises)

    def lines(self) -> Iterable[str]:
        """A table, the rarest first; nothing if nothing was counted."""
        for title, counter in (("situations", self.situations), ("premises", self.premises)):
            if counter:
                yield f"schedules with these {title}:"
            for name, number in sorted(counter.items(), key=lambda item: (item[1], item[0])):
                yield f"{number:9}  {name}"
