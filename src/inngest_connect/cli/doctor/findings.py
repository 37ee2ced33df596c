"""What a check has found: its mark, a summary, and a remedy for each problem."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final


class Mark(enum.Enum):
    """Words, so that a terminal without colors shows them too."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"
    SKIP = "SKIP"


@dataclass(frozen=True, slots=True)
class Problem:
    """``remedy`` says what to do; ``fatal`` is whether it keeps a worker from working."""

    text: str
    remedy: str
    fatal: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found. ``details`` are further lines, ``data`` is for programs."""

    summary: str
    problems: tuple[Problem, ...] = ()
    details: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    skipped: bool = False
    blocked_by: str = ""
    """The check whose failure is the reason that this one could not run."""

    @property
    def mark(self) -> Mark:
        """By the worst problem."""
        if self.skipped:
            return Mark.SKIP
        if any(problem.fatal for problem in self.problems):
            return Mark.FAIL
        return Mark.WARN if self.problems else Mark.OK


def failed(text: str, remedy: str, **data: Any) -> Finding:
    """A check that ends with one problem."""
    return Finding(text, (Problem(text, remedy),), data=data)


def skipped(reason: str) -> Finding:
    """A check that does not apply here; checks that need it can run."""
    return Finding(reason, skipped=True)


def blocked(by: str) -> Finding:
    """A check that cannot run, and neither can those that need it."""
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
        """The finding's."""
        return self.finding.mark


def exit_code(results: Sequence[Result]) -> int:
    """0 when nothing failed, else that of the first failed check."""
    failures = (one.number for one in results if one.mark is Mark.FAIL)
    return next((FIRST_EXIT_CODE + number for number in failures), 0)
