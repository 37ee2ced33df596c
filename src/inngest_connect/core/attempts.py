"""Attempts: when the next attempt to connect begins.

The schedule is that of the retry strategy, and never ends. What counts as a failure:

- an attempt that does not reach READY;
- a serving connection that ends, or is drained, before it has lived for two heartbeat intervals. A
  gateway that drops every connection after READY would otherwise be called without a pause.

READY ends the count of failed attempts; only a connection that has lived ends the count of young
ones. The first loss in a row waits for the strategy's first delay, or for up to half a second when
the gateway itself said that it closes: a worker comes back quickly, and a fleet that lost the same
gateway does not come in the same instant.

Evidence shortens a wait, and never prolongs one: an answer of the API to another call while
attempts fail for want of such an answer, and a process that continues after it was stopped.
"""

from collections.abc import Callable
from typing import Final

from .commands import Command
from .observations import Reconnecting
from .retry import DEFAULT_SCHEDULE, RetryStrategy

SLOW_FAILURES: Final = 9
"""Failure count that stands for the slow end of any schedule."""

GOING_AWAY_SPREAD: Final = 0.5
"""Seconds over which the workers of a gateway that closes come back. Short: until the old socket is
closed, its gateway holds new requests back, and servers wait for 5 to 25 s in all."""

EVIDENCE_SPREAD: Final = 2.0
"""Seconds over which workers come back that learn together that the API answers again."""

EVIDENCE_SPACING: Final = 10.0
"""Seconds from one attempt to one that evidence brought forward. Evidence can be wrong, when a
proxy lets one endpoint pass and not the other; then this is the pace."""

LONGEST_EXCLUSION: Final = 16


class Attempts:
    """Times are monotonic seconds. ``random`` returns numbers in [0, 1)."""

    def __init__(self, retry: RetryStrategy, random: Callable[[], float]) -> None:
        self.failures = 0
        """Failures in a row, young connections included."""
        self.retry_at: float | None = None
        """When the next attempt begins, None when none is planned."""
        self.excluded: dict[str, None] = {}
        self._retry = retry
        self._random = random
        self._young = 0
        self._going_away = 0
        self._begun_at = 0.0
        self._api_away = False

    # --- what happened ---------------------------------------------------------------------

    def begun(self, now: float) -> None:
        self.retry_at = None
        self._begun_at = now

    def api_answered(self) -> None:
        """The attempt has got as far as a gateway: whatever ends it now is not the API's fault."""
        self._api_away = False

    def api_failed(self, status: int | None) -> None:
        """``status`` as in StartFailed. After 429 an answer to another call proves nothing."""
        self._api_away = status != 429

    def failed(
        self, cause: str, now: float, out: list[Command], retry_after: float | None = None
    ) -> None:
        """An attempt failed: plan the next one.

        ``retry_after`` is only a lower bound, in seconds, and never above the default schedule's
        longest delay: obeyed literally, 0 makes a storm and 3600 a worker that is away for an hour.
        """
        self.failures += 1
        delay = self._retry.delay(self.failures, self._random)
        if retry_after is not None:
            wished = min(retry_after, DEFAULT_SCHEDULE[-1])
            delay = max(delay, wished * (1 + 0.2 * self._random()))
        self.plan(delay, cause, now, out)

    def refused_by_closing_gateway(self, cause: str, now: float, out: list[Command]) -> None:
        """A gateway that closes refused the handshake. The first one in a row is not a failure."""
        self._going_away += 1
        if self._going_away > 1:
            self.failed(cause, now, out)
        else:
            self.plan(self._soon(), cause, now, out)

    def slow_down(self) -> None:
        """What failed will not change by itself soon."""
        self.failures = max(self.failures, SLOW_FAILURES)

    def ready(self) -> None:
        self.failures = self._young
        self._going_away = 0
        self.retry_at = None
        self.excluded.clear()

    def lived(self) -> None:
        """The serving connection has proved itself."""
        self.failures = self._young = 0

    def lost(
        self,
        cause: str,
        now: float,
        out: list[Command],
        *,
        young: bool,
        going_away: bool,
        still_serves: bool,
    ) -> None:
        """A serving connection ended or is drained: plan the attempt that replaces it."""
        if not young:
            self.lived()
        if self._young or not going_away:
            delay = self._retry.delay(self._young, self._random)
            self.plan(delay, cause, now, out)
        elif still_serves:
            self.retry_at = now + self._soon()  # a drain, which nobody outside notices
        else:
            self.plan(self._soon(), cause, now, out)
        self._young += young
        self.failures = self._young

    # --- when to begin ---------------------------------------------------------------------

    def plan(self, delay: float, cause: str, now: float, out: list[Command]) -> None:
        """Begin an attempt ``delay`` seconds from now."""
        self.retry_at = now + delay
        out.append(Reconnecting(self.failures, delay, cause))

    def abandon(self) -> None:
        """Plan no more."""
        self.retry_at = None

    def evidence_of_api(self, now: float, out: list[Command]) -> None:
        """The API has answered another call."""
        if self._api_away:
            self._api_away = False
            not_before = self._begun_at + EVIDENCE_SPACING
            self._bring_forward(max(now, not_before), "the API answers again", now, out)

    def continued(self, now: float, out: list[Command]) -> None:
        """The process was stopped for a while, so what failed before says nothing about now."""
        self._bring_forward(now, "the process continues after it was stopped", now, out)

    def _bring_forward(self, at: float, cause: str, now: float, out: list[Command]) -> None:
        at += EVIDENCE_SPREAD * self._random()
        if self.retry_at is not None and at < self.retry_at:
            self.plan(at - now, cause, now, out)

    def _soon(self) -> float:
        return GOING_AWAY_SPREAD * self._random()

    # --- where to ----------------------------------------------------------------------------

    def exclude(self, gateway_group: str) -> None:
        """Ask the API for another gateway than this; advice that it may ignore."""
        self.excluded.pop(gateway_group, None)
        self.excluded[gateway_group] = None
        if len(self.excluded) > LONGEST_EXCLUSION:
            self.excluded.pop(next(iter(self.excluded)))
