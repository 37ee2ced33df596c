"""Entry: one thing that happens in a schedule."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """One fault or request, ``at`` virtual seconds; ``faults.py`` says what the others mean."""

    at: float
    kind: str
    amount: float = 0.0
    detail: Any = None

    def __str__(self) -> str:
        shown = [self.kind]
        if self.amount:
            shown.append(f"{self.amount:g}")
        if self.detail is not None:
            shown.append(repr(self.detail))
        return " ".join(shown)
