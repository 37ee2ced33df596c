"""What a check has found: its mark, what it says, and a remedy for each problem."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final


class Mark(enum.Enum):
    """A word as well as a colour, for terminals and eyes without colours."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"
    SKIP = "SKIP"


@dataclass(frozen=True, slots=True)
class Problem:
    """``remedy`` says what to do; ``fatal`` is whether a worker could not work like this."""

    text: str
    remedy: str
    fatal: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says. ``details`` are lines for people, ``data`` is for programs."""

    summary: str
    problems: tuple[Problem, ...] = ()
    details: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    skipped: bool = False
    blocked_by: str = ""
    """The check whose failure is the reason that this one could not run."""

    @property
    def mark(self) -> Mark:
        if self.skipped:
            return Mark.SKIP
        if any(problem.fatal for problem in self.problems):
            return Mark.FAIL
        return Mark.WARN if self.problems else Mark.OK


def failed(text: str, remedy: str, **data: Any) -> Finding:
    """A check that ends with one problem."""
    return Finding(text, (Problem(text, remedy),), data=data)


def skipped(reason: str) -> Finding:
    """A check that does not apply here; what needs it can go on."""
    return Finding(reason, skipped=True)


def blocked(by: str) -> Finding:
    """A check that cannot run."""
    return Finding(f"cannot run before this is right: {by}", skipped=True, blocked_by=by)


FIRST_EXIT_CODE: Final = 10
"""The exit code of a failed check is this plus its number."""


@dataclass(frozen=True, slots=True)
class Result:
    """A check that was done, or skipped. ``seconds`` is how long it took."""

    number: int
    name: str
    finding: Finding
    seconds: float

    @property
    def mark(self) -> Mark:
        return self.finding.mark


def exit_code(results: Sequence[Result]) -> int:
    """0 when nothing failed; else it tells the first check that did."""
    failures = [one.number for one in results if one.mark is Mark.FAIL]
    return FIRST_EXIT_CODE + failures[0] if failures else 0
