"""Folding: what repeats itself is written once, and then counted.

The first of its kind is written at once. Those that follow within the window are counted, and told
by one summary with ``repeated`` and ``within_seconds``: when the window has ended, or before the
next record of another kind. Each window with repetitions is followed by one of twice its length.
There is no timer: time passes when something is observed.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from .records import Record

FIRST_WINDOW: Final = 60.0
LONGEST_WINDOW: Final = 600.0
MOST_KINDS: Final = 64


@dataclass(slots=True)
class _Fold:
    """One kind of record. Times are monotonic seconds; ``since`` is when it was last written."""

    last: Record
    since: float
    ends_at: float
    window: float = FIRST_WINDOW
    written: int = 1
    repeated: int = 0

    def summary(self, now: float) -> Record:
        fields = {
            **self.last.fields,
            "repeated": self.repeated,
            "within_seconds": round(now - self.since, 1),
        }
        self.repeated = 0
        self.since = now
        return Record(self.last.level, self.last.event, fields)


class Folding:
    """Not thread-safe. Every method returns the records to write now, in order."""

    def __init__(self) -> None:
        self._folds: OrderedDict[tuple[str, Any, str], _Fold] = OrderedDict()
        self._next_end = float("inf")

    def add(self, record: Record, now: float) -> list[Record]:
        """``record`` has happened: write it, or count it."""
        out = self.passed(now)
        allowance = record.allowance
        if allowance is None:
            return [*out, *self._summaries(now), record]
        fold = self._folds.get(record.key)
        if fold is None:
            out += self._summaries(now)
            self._open(record, now, out)
            return [*out, record]
        fold.last = record
        if fold.written < allowance:
            fold.written += 1
            return [*out, *self._summaries(now), record]
        fold.repeated += 1
        return out

    def passed(self, now: float) -> list[Record]:
        """Time has passed: summaries of the windows that have ended."""
        if now < self._next_end:
            return []
        out = []
        for key, fold in list(self._folds.items()):
            if now < fold.ends_at:
                continue
            if not fold.repeated:
                del self._folds[key]  # the trouble is over: the next one is a first one
                continue
            out.append(fold.summary(now))
            fold.window = min(fold.window * 2, LONGEST_WINDOW)
            fold.ends_at = now + fold.window
        self._next_end = min((f.ends_at for f in self._folds.values()), default=float("inf"))
        return out

    def close(self, now: float) -> list[Record]:
        """The end: whatever was counted and not told."""
        return self._summaries(now)

    def _summaries(self, now: float) -> list[Record]:
        return [fold.summary(now) for fold in self._folds.values() if fold.repeated]

    def _open(self, record: Record, now: float, out: list[Record]) -> None:
        if len(self._folds) >= MOST_KINDS:
            self._folds.popitem(last=False)  # told a moment ago, so nothing is lost
        fold = self._folds[record.key] = _Fold(record, now, now + FIRST_WINDOW)
        self._next_end = min(self._next_end, fold.ends_at)
