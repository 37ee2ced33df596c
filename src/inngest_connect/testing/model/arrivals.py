"""Arrivals: when a gateway handles the messages that it has read (docs/protocol.md#websocket).

A connection has one queue for heartbeats, WORKER_READY and WORKER_PAUSE, which are handled one
after another, and one for everything else, from which several are handled at the same time. So the
messages of one queue begin in their order, and only the second queue's can end in another one.
"""

import heapq
from collections.abc import Callable
from typing import Final

from ...protocol import connect_pb2 as pb
from .connection import GatewayConnection

CONTROL: Final = frozenset({pb.WORKER_HEARTBEAT, pb.WORKER_READY, pb.WORKER_PAUSE})


class Arrivals:
    """Messages that wait until they are handled. Times are monotonic seconds."""

    def __init__(self, random_bits: Callable[[int], int]) -> None:
        self._random_bits = random_bits
        self._waiting: list[tuple[float, int, int, int, bytes]] = []
        """A heap: when a message is handled, its position, connection, kind and payload."""
        self._last = 0

    def add(self, connection: GatewayConnection, kind: int, payload: bytes, now: float) -> bool:
        """Queue a message; return False if it is to be handled immediately."""
        settings = connection.settings
        delay = settings.handling_delay
        if kind in CONTROL and settings.control_delay is not None:
            delay = settings.control_delay
        if not delay:
            return False
        seconds = delay * self._random_bits(16) / 65536
        if kind in CONTROL:
            at = connection.control_at = max(now, connection.control_at) + seconds
        else:
            at = self._data_handled_at(connection, now, seconds)
        self.later(at, connection.number, kind, payload)
        return True

    @staticmethod
    def _data_handled_at(connection: GatewayConnection, now: float, seconds: float) -> float:
        busy = connection.busy_until
        while busy and busy[0] <= now:
            heapq.heappop(busy)
        full = len(busy) >= connection.settings.data_handlers
        at = (heapq.heappop(busy) if full else now) + seconds
        heapq.heappush(busy, at)
        return at

    def later(self, at: float, number: int, kind: int, payload: bytes = b"") -> None:
        """Have something handled at that time."""
        self._last += 1
        heapq.heappush(self._waiting, (at, self._last, number, kind, payload))

    def next_at(self) -> float | None:
        """When the next message is handled."""
        return self._waiting[0][0] if self._waiting else None

    def pop_due(self, now: float) -> tuple[int, int, bytes] | None:
        """Return connection, kind and payload of the next message if it is due."""
        if self._waiting and self._waiting[0][0] <= now:
            return heapq.heappop(self._waiting)[2:]
        return None
