"""HeartbeatMonitor: when to send a heartbeat, and when the peer is dead.

A peer is dead by one of three rules. Two heartbeats are unanswered when the next is due; or nothing
at all is received for three intervals; or bytes wait to be sent and none is taken for three
intervals, whatever is received meanwhile: a peer that never reads is of no use. An interval can be
shorter than the round trip of the line, so no rule applies before ``shortest_patience`` and four
round trips have passed.

A busy line is not a dead one. While bytes move, replies on their way out or a long message on its
way in, answers are late but will come. That holds for ``LONGEST_MESSAGE`` after the last complete
message, so that a peer that lets one message trickle is given up, too.

The first heartbeat is due immediately, because its answer proves that the gateway has reached the
phase in which it acknowledges. On a draining socket no heartbeat is sent: one would end the grace
in which the gateway still serves it. See docs/protocol.md#heartbeat.
"""

from typing import Final

TOLERATED_MISSES: Final = 2
SILENT_INTERVALS: Final = 3
ROUND_TRIPS: Final = 4

# Seconds of a round trip that count. A longer one is not of the line: the process was stopped, or
# its machine slept, between a heartbeat and its answer.
LONGEST_ROUND_TRIP: Final = 10.0

# Seconds for one message to arrive whole, or for a gateway to answer behind what it receives.
LONGEST_MESSAGE: Final = 120.0

# Seconds of silence on a draining socket; its gateway closes it after 25.
DRAIN_PATIENCE: Final = 30.0


class HeartbeatMonitor:
    """Times are monotonic seconds; ``interval`` is seconds between heartbeats."""

    def __init__(self, interval: float, now: float, shortest_patience: float = 0.0) -> None:
        self.interval = interval
        self.last_sent_at: float | None = None
        self.last_answered_at: float | None = None
        self.last_received_at = now
        self.round_trip: float | None = None
        self.unanswered = 0
        self._next_at: float | None = now
        self._shortest_patience = shortest_patience
        self._patience_of_the_line = 0.0
        self._unanswered_since = now
        self._moved_at = float("-inf")
        self._stalled_at: float | None = None
        self._drain_patience = 0.0

    def received(self, now: float) -> None:
        """Anything arrived from the gateway."""
        self.last_received_at = now

    def answered(self, now: float) -> float | None:
        """A GATEWAY_HEARTBEAT arrived. Returns the round trip, None when none was asked for."""
        self.last_answered_at = now
        # Answers carry no number. One answer ends all that were asked for: the gateway that sends
        # it is alive now, and whether it skipped one before does not matter.
        asked, self.unanswered = self.unanswered, 0
        if not asked or self.last_sent_at is None:
            return None
        self.round_trip = now - self.last_sent_at
        self._patience_of_the_line = ROUND_TRIPS * min(self.round_trip, LONGEST_ROUND_TRIP)
        return self.round_trip

    def line_observed(self, moved: bool | None, now: float) -> None:
        """Whether bytes that waited, in either direction, moved; None when none waited."""
        if moved:
            self._moved_at = now
        # A stall begins with the first look that finds the same bytes waiting, and ends with any
        # movement or with an empty queue. Looks are as far apart as this worker's ticks.
        if moved is not False:
            self._stalled_at = None
        elif self._stalled_at is None:
            self._stalled_at = now

    def stop(self) -> None:
        """Send no more heartbeats, so nothing is unanswered; the gateway closes in its time."""
        self._drain_patience = DRAIN_PATIENCE
        self._next_at = None
        self.unanswered = 0

    def next_deadline(self) -> float:
        """When a heartbeat is due, or a rule that gives the peer up."""
        first = self._silent_at()
        if self._next_at is not None:
            first = min(first, self._next_at)
        if self._stalled_at is not None:
            first = min(first, self._stalled_at + self._patience())
        return first

    def _patience(self) -> float:
        return max(
            SILENT_INTERVALS * self.interval,
            self._shortest_patience,
            self._patience_of_the_line,
            self._drain_patience,
        )

    def _busy_until(self) -> float:
        """Until when moving bytes excuse an answer that is late."""
        return self._moved_lately() + self._patience()

    def _silent_at(self) -> float:
        return max(self.last_received_at, self._moved_lately()) + self._patience()

    def _moved_lately(self) -> float:
        return min(self._moved_at, self.last_received_at + LONGEST_MESSAGE)

    def dead(self, now: float) -> bool:
        """Whether the peer has to be given up at ``now``."""
        # The same sums as in next_deadline. A difference may round to less than the intervals, and
        # then the deadline would be due again and again without any effect.
        if now >= self._silent_at():
            return True
        if self._stalled_at is not None and now >= self._stalled_at + self._patience():
            return True
        if not self._due(now) or self.unanswered < TOLERATED_MISSES:
            return False
        shortest = max(self._shortest_patience, self._patience_of_the_line)
        late_at = self._unanswered_since + shortest
        return now >= max(late_at, self._busy_until())

    def cause_of_death(self, now: float) -> str:
        """Why the peer has to be given up, in words."""
        silence = f"nothing received for {now - self.last_received_at:.1f} s"
        if self._next_at is not None and now - self._next_at >= self.interval:
            # A heartbeat should have been sent long ago, so the silence proves nothing.
            return (
                f"{silence}, because this process was stopped or its event loop was blocked; "
                "whether the gateway still knows the connection is not certain"
            )
        return f"the gateway is silent: {self.unanswered} heartbeat(s) unanswered, {silence}"

    def take_due(self, now: float) -> bool:
        """Whether a heartbeat is to be sent now; if so, it counts as sent."""
        if not self._due(now):
            return False
        # Patience counts from the first heartbeat without an answer, not from the last.
        if not self.unanswered:
            self._unanswered_since = now
        self.last_sent_at = now
        self.unanswered += 1
        self._next_at = now + self.interval
        return True

    def _due(self, now: float) -> bool:
        return self._next_at is not None and now >= self._next_at
