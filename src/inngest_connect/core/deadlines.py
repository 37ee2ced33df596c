"""Deadlines: many keys, each with one time, cheap to move and to ask for the earliest.

A heap with lazy deletion: a deadline that moves pushes a new entry, and the old one is dropped when
it comes to the top. So 10,000 leases cost what is due, not what exists.
"""

import heapq
import math


def earliest(*times: float | None) -> float | None:
    """The smallest of those that are not None; None when all are."""
    first: float | None = None
    for at in times:
        if at is not None and (first is None or at < first):
            first = at
    return first


class Deadlines:
    """Times are monotonic seconds.

    Nothing is due before ``first``. It is compared after every input of the worker, and may be
    earlier than what ``earliest`` finds: that costs one look, while to keep it exact would cost a
    search with every change.
    """

    def __init__(self) -> None:
        self.first = math.inf
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __contains__(self, key: str) -> bool:
        return key in self._at

    def get(self, key: str) -> float | None:
        """The deadline of ``key``, None when it has none."""
        return self._at.get(key)

    def set(self, key: str, at: float) -> None:
        """Set or move the deadline of ``key``."""
        self._at[key] = at
        if at < self.first:
            self.first = at
        heapq.heappush(self._heap, (at, key))
        # Entries that were moved or discarded stay in the heap until they come to its top, which a
        # long interval delays. Rebuilt when they are the most of it, it stays in proportion.
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._at):
            self._heap = [(when, name) for name, when in self._at.items()]
            heapq.heapify(self._heap)

    def discard(self, key: str) -> None:
        """Forget the deadline of ``key``, if it has one."""
        # ``first`` stays: too early is allowed.
        self._at.pop(key, None)

    def earliest(self) -> float | None:
        """The earliest deadline, None when there are none."""
        heap = self._heap
        while heap:
            at, key = heap[0]
            if self._at.get(key) == at:  # else it was moved or discarded since
                self.first = at
                return at
            heapq.heappop(heap)
        self.first = math.inf
        return None

    def pop_due(self, now: float) -> str | None:
        """Remove and return one key whose time has come, or None."""
        at = self.earliest()
        if at is None or at > now:
            return None
        _, key = heapq.heappop(self._heap)
        del self._at[key]
        return key
