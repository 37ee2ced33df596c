"""Folding: what repeats itself is written once, and then counted.

The first of its kind is written immediately. Those that follow within the window are counted, and
reported by one summary with ``repeated`` and ``within_seconds``: when the window has ended, or
before the next record of another kind. Each window with repetitions is followed by one of twice its
length. There is no timer: time passes when an event arrives.
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
        counted = {"repeated": self.repeated, "within_seconds": round(now - self.since, 1)}
        self.repeated = 0
        self.since = now
        return Record(self.last.level, self.last.event, {**self.last.fields, **counted})


class Folding:
    """Not thread-safe. Every method returns the records to write now, in order."""

    def __init__(self) -> None:
        self._folds: OrderedDict[tuple[str, Any, str], _Fold] = OrderedDict()
        self._next_end = float("inf")

    def add(self, record: Record, now: float) -> list[Record]:
        """``record`` has happened: write it, or count it."""
        out = self.passed(now)
        fold = None if record.allowance is None else self._folds.get(record.kind)
        if fold is not None:
            fold.last = record
            if record.allowance is not None and fold.written >= record.allowance:
                fold.repeated += 1
                return out
            fold.written += 1
        out += self.close(now)
        if fold is None and record.allowance is not None:
            if len(self._folds) >= MOST_KINDS:
                self._folds.popitem(last=False)  # its summary is in ``out``, so nothing is lost
            self._folds[record.kind] = _Fold(record, now, now + FIRST_WINDOW)
            self._next_end = min(self._next_end, now + FIRST_WINDOW)
        return [*out, record]

    def passed(self, now: float) -> list[Record]:
        """Time has passed: summaries of the windows that have ended."""
        if now < self._next_end:
            return []
        out = []
        for kind, fold in list(self._folds.items()):
            if now < fold.ends_at:
                continue
            if not fold.repeated:
                del self._folds[kind]  # the trouble is over: the next one is a first one
                continue
            out.append(fold.summary(now))
            fold.window = min(fold.window * 2, LONGEST_WINDOW)
            fold.ends_at = now + fold.window
        self._next_end = min((f.ends_at for f in self._folds.values()), default=float("inf"))
        return out

    def close(self, now: float) -> list[Record]:
        """Summaries of all that was counted and not reported."""
        return [fold.summary(now) for fold in self._folds.values() if fold.repeated]
