"""HeartbeatMonitor: when to send a heartbeat, and when the peer is dead.

Two rules decide death (PROTOCOL.md, decisions; issue 3): a second heartbeat goes unanswered, or
nothing at all arrives for three intervals. The first heartbeat is due at once, because its answer
proves that the gateway has reached the phase in which it acknowledges. On a socket that is being
drained no heartbeat is sent, since one would end the grace in which the gateway still serves it.
"""

from typing import Final

TOLERATED_MISSES: Final = 2
SILENT_INTERVALS: Final = 3

DRAIN_PATIENCE: Final = 30.0
"""Seconds of silence on a draining socket; its gateway closes it after 25 (PROTOCOL.md, 8)."""


class HeartbeatMonitor:
    """Times are monotonic seconds; ``interval`` is seconds between heartbeats."""

    def __init__(self, interval: float, now: float) -> None:
        self.interval = interval
        self.last_sent_at: float | None = None
        self.last_answered_at: float | None = None
        self.last_received_at = now
        """When anything arrived from the gateway; set by the message handler."""
        self.round_trip: float | None = None
        self.unanswered = 0
        self._next_at: float | None = now
        self._patience = SILENT_INTERVALS * interval

    def answered(self, now: float) -> float | None:
        """A GATEWAY_HEARTBEAT arrived. Returns the round trip, None when none was asked for."""
        self.last_answered_at = now
        asked, self.unanswered = self.unanswered, 0
        if not asked or self.last_sent_at is None:
            return None
        self.round_trip = now - self.last_sent_at
        return self.round_trip

    def stop(self) -> None:
        """Send no more: nothing need be answered either, until the gateway closes in its time."""
        self._patience = max(self._patience, DRAIN_PATIENCE)
        self._next_at = None
        self.unanswered = 0

    def next_deadline(self) -> float:
        silent_at = self._silent_at()
        return silent_at if self._next_at is None else min(silent_at, self._next_at)

    def _silent_at(self) -> float:
        return self.last_received_at + self._patience

    def dead(self, now: float) -> bool:
        """Whether the peer has to be given up at ``now``."""
        # The same sum as in next_deadline: a difference may round to less than the intervals, and
        # the deadline would then be due for ever without anything happening.
        if now >= self._silent_at():
            return True
        return self._due(now) and self.unanswered >= TOLERATED_MISSES

    def take_due(self, now: float) -> bool:
        """Whether a heartbeat is to be sent now; if so, it counts as sent."""
        if not self._due(now):
            return False
        self.last_sent_at = now
        self.unanswered += 1
        self._next_at = now + self.interval
        return True

    def _due(self, now: float) -> bool:
        return self._next_at is not None and now >= self._next_at
