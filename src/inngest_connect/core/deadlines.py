"""Deadlines: many keys, each with one time, cheap to move and to ask for the earliest.

A heap with lazy deletion: moving a deadline pushes a new entry and leaves the old one to be dropped
when it surfaces, so 10,000 leases cost what is due and not what exists.
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

    Nothing is due before ``first``, which is asked after every event of the worker; it may be
    earlier than what ``earliest`` finds.
    """

    def __init__(self) -> None:
        self.first = math.inf
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __contains__(self, key: str) -> bool:
        return key in self._at

    def get(self, key: str) -> float | None:
        return self._at.get(key)

    def set(self, key: str, at: float) -> None:
        """Set or move the deadline of ``key``."""
        self._at[key] = at
        if at < self.first:
            self.first = at
        heapq.heappush(self._heap, (at, key))
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._at):
            self._heap = [(when, name) for name, when in self._at.items()]
            heapq.heapify(self._heap)

    def discard(self, key: str) -> None:
        self._at.pop(key, None)

    def earliest(self) -> float | None:
        heap = self._heap
        while heap:
            at, key = heap[0]
            if self._at.get(key) == at:
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
