"""Attempts: when the next attempt to connect begins.

The schedule is that of the retry strategy, and never ends. What counts as a failure:

- an attempt that does not reach READY;
- a serving connection that ends, or is drained, before it has lived for two heartbeat intervals. A
  gateway that drops every connection after READY would otherwise be called without a pause.

READY ends the count of failed attempts; only a connection that has lived ends the count of young
ones. The first loss in a row waits for the strategy's first delay, or for up to one second when the
gateway closed the connection because it closes itself; a drained connection, which still serves,
waits for up to two. So a worker comes back quickly, and a fleet that lost the same gateway does not
come back in the same instant.

An attempt that reached nothing outside this machine, because a name has no address or there is no
route, proves nothing about the other side and costs it nothing. So it never counts for more than
``OFFLINE_FAILURES``: a machine that was offline for hours comes back soon after its network does.

Evidence shortens a wait, and never prolongs one. An answer of the API to another call is evidence
while attempts fail because the API does not answer; so is a process that continues after it was
stopped, or after its machine slept. To notice that, the clock is read every ``LOOK_AGAIN`` seconds.

A retry strategy of the user is not called here. A command asks for it, and its answer is an input.
Without a usable answer in time the default schedule is used, so that no strategy can keep a worker
from coming back. See docs/protocol.md#reconnecting.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..commands import AskRetryDelay
from ..events import Reconnecting
from ..outbox import Outbox
from ..retry import (
    DEFAULT_SCHEDULE,
    LONGEST_JITTER,
    RetryStrategy,
    ScheduleRetry,
    is_own,
    seconds_of,
)
from ..wire.user_text import class_name

# A failure count that is at the slow end of the default schedule.
SLOW_FAILURES: Final = 9

# Seconds over which the workers of a gateway that has closed come back.
GOING_AWAY_SPREAD: Final = 1.0

# Seconds over which the workers of a gateway that drains connect elsewhere. Longer, because they
# still serve what they have; short, because until the old socket is closed its gateway holds new
# requests back, and servers wait for 5 to 25 s in all.
DRAIN_SPREAD: Final = 2.0

# The fraction of Retry-After that is added at random. A limit refuses many workers in one second,
# with the same number; to come back in the same second would be to be refused again.
RETRY_AFTER_JITTER: Final = 1.0

# Seconds over which workers come back that learn together that the API answers again.
EVIDENCE_SPREAD: Final = 2.0

# Seconds from one attempt to one that evidence brought forward. Evidence can be wrong, when a proxy
# lets one endpoint pass and not the other; then this is the pace.
EVIDENCE_SPACING: Final = 10.0

# The delay of the default schedule after as many failures is 10 s.
OFFLINE_FAILURES: Final = 4

# Seconds between two readings of the clock without a connection; with one, heartbeats are enough. A
# timer stops while the machine sleeps, and continues with the rest of its time afterwards.
LOOK_AGAIN: Final = 5.0

# Seconds for the user's retry strategy. More than ``aio.hook`` allows (4 s), whose error names what
# went wrong; this is the limit if even that answer does not come.
ANSWER_LIMIT: Final = 6.0

LONGEST_EXCLUSION: Final = 16


@dataclass(slots=True)
class Question:
    """The user's retry strategy is being asked for the delay before the next attempt."""

    number: int
    asked_at: float
    failures: int
    shown_failures: int
    cause: str
    at_least: float


class Attempts:
    """Times are monotonic seconds. ``random`` returns numbers in [0, 1)."""

    def __init__(self, retry: RetryStrategy, random: Callable[[], float], outbox: Outbox) -> None:
        self.failures = 0
        """Failures in a row, young connections included."""
        self.retry_at: float | None = None
        """When the next attempt begins, None when none is planned."""
        self.excluded: dict[str, None] = {}
        self._retry = retry
        self._outbox = outbox
        self._default = ScheduleRetry()
        self._question: Question | None = None
        self._questions = 0
        self._random = random
        self._young = 0
        self._going_away = 0
        self._begun_at = 0.0
        self._looked_at: float | None = None
        self._api_away = False

    # --- what happened ---------------------------------------------------------------------

    def begun(self, now: float) -> None:
        """An attempt begins: what was planned is done."""
        self.abandon()
        self._begun_at = self._looked_at = now

    def api_answered(self) -> None:
        """The attempt has got as far as a gateway: whatever ends it now is not the API's fault."""
        self._api_away = False

    def api_failed(self, status: int | None) -> None:
        """``status`` as in StartFailed. After 429 an answer to another call proves nothing."""
        self._api_away = status != 429

    def failed(
        self,
        cause: str,
        now: float,
        retry_after: float | None = None,
        *,
        offline: bool = False,
    ) -> None:
        """An attempt failed: plan the next one.

        ``retry_after`` is only a lower bound, in seconds, and never above the default schedule's
        longest delay: taken literally, 0 makes a storm and 3600 a worker that is away for an hour.
        ``offline``: nothing outside this machine was reached.
        """
        # Offline, the count stops at OFFLINE_FAILURES, and a higher one from before is kept for the
        # time when the network is back; until then the shorter delay is used.
        if not offline or self.failures < OFFLINE_FAILURES:
            self.failures += 1
        at_least = 0.0
        if retry_after is not None:
            wished = min(retry_after, DEFAULT_SCHEDULE[-1])
            jitter = min(RETRY_AFTER_JITTER * wished, LONGEST_JITTER)
            at_least = wished + jitter * self._random()
        failures = min(self.failures, OFFLINE_FAILURES) if offline else self.failures
        self._plan_by_schedule(failures, cause, now, at_least)

    def refused_by_closing_gateway(self, cause: str, now: float) -> None:
        """A gateway that closes refused the handshake. The first one in a row is not a failure."""
        # The API may name the same gateway again, or another one of a fleet that is being deployed.
        # Each of them refuses for a moment; a series of refusals is a failure like any other.
        self._going_away += 1
        if self._going_away > 1:
            self.failed(cause, now)
        else:
            self.plan(self._soon(), cause, now)

    def slow_down(self) -> None:
        """What failed will not change by itself soon."""
        self.failures = max(self.failures, SLOW_FAILURES)

    def ready(self) -> None:
        """The attempt serves. It ends the failed attempts, and not the young connections."""
        self.failures = self._young
        self._going_away = 0
        self.abandon()
        self.excluded.clear()

    def lived(self) -> None:
        """The serving connection has proved itself."""
        self.failures = self._young = 0

    def lost(
        self,
        cause: str,
        now: float,
        *,
        young: bool,
        going_away: bool,
        still_serves: bool,
    ) -> None:
        """A serving connection ended or is drained: plan the attempt that replaces it."""
        self._looked_at = now
        # The delay depends on the young connections before this one, and this one counts for the
        # next: so the first that ends young is replaced quickly, and a series of them slows down.
        if not young:
            self.lived()
        if self._young or not going_away:
            self._plan_by_schedule(self._young, cause, now)
        elif still_serves:
            # A drain. The worker still serves, so no ``reconnecting`` is shown for it.
            self.retry_at = now + DRAIN_SPREAD * self._random()
        else:
            self.plan(self._soon(), cause, now)
        self._young += young
        self.failures = self._young

    # --- when to begin ---------------------------------------------------------------------

    def plan(
        self,
        delay: float,
        cause: str,
        now: float,
        failures: int | None = None,
    ) -> None:
        """Begin an attempt ``delay`` seconds from now, reported as after ``failures``."""
        self._question = None
        self.retry_at = now + delay
        self._outbox.put(
            Reconnecting(self.failures if failures is None else failures, delay, cause)
        )

    def abandon(self) -> None:
        """Plan no more."""
        self._question = None
        self.retry_at = None

    def _plan_by_schedule(
        self, failures: int, cause: str, now: float, at_least: float = 0.0
    ) -> None:
        if is_own(self._retry):
            delay = self._retry.delay(failures, self._random)
            self.plan(max(delay, at_least), cause, now)
            return
        # The question has a number, because its answer can come when the attempt that it is about
        # has long begun or was given up, or when another question was asked.
        self._questions += 1
        self._question = Question(self._questions, now, failures, self.failures, cause, at_least)
        self.retry_at = now + ANSWER_LIMIT  # the answer replaces it
        self._outbox.put(AskRetryDelay(self._questions, failures))

    def strategy_answered(
        self, question: int, answer: object, problem: str | None, now: float
    ) -> None:
        """The user's strategy returned ``answer``, or nothing because of ``problem``."""
        asked = self._question
        if asked is None or asked.number != question:
            return  # too late: the default is used, or there is nothing to plan any more
        delay = 0.0
        if problem is None:
            try:
                delay = seconds_of(answer)
            except ValueError as error:
                problem = str(error)
        if problem is not None:
            delay = self._default.delay(asked.failures, self._random)
            text = (
                f"the retry strategy {class_name(self._retry)} failed: {problem}. "
                "The default schedule is used for this attempt"
            )
            self._outbox.error("retry_strategy_failed", text)
        # The delay counts from the failure. A strategy that took four seconds has used them up.
        waited = now - asked.asked_at
        delay = max(max(delay, asked.at_least) - waited, 0.0)
        self.plan(delay, asked.cause, now, asked.shown_failures)

    def due(self, now: float) -> bool:
        """Whether to begin an attempt now."""
        self._looked_at = now
        if self._question is not None and self.retry_at is not None and now >= self.retry_at:
            problem = f"it did not return within {ANSWER_LIMIT:g} s"
            self.strategy_answered(self._question.number, None, problem, now)
        return self.retry_at is not None and now >= self.retry_at

    def look_at(self) -> float | None:
        """When to read the clock again without a connection."""
        return None if self._looked_at is None else self._looked_at + LOOK_AGAIN

    def evidence_of_api(self, now: float) -> None:
        """The API has answered another call."""
        # Only if the API was what failed: that it accepts a flush proves nothing about a gateway
        # that cannot be reached.
        if self._api_away:
            self._api_away = False
            not_before = self._begun_at + EVIDENCE_SPACING
            self._bring_forward(max(now, not_before), "the API answers again", now)

    def continued(self, now: float) -> None:
        """Time has passed without a turn, so what failed before proves nothing about now."""
        self._bring_forward(now, "the process or its machine was stopped for a while", now)

    def _bring_forward(self, at: float, cause: str, now: float) -> None:
        # Every worker of a fleet has this evidence in the same second.
        at += EVIDENCE_SPREAD * self._random()
        if self.retry_at is not None and at < self.retry_at:
            self.plan(at - now, cause, now)

    def _soon(self) -> float:
        return GOING_AWAY_SPREAD * self._random()

    # --- where to ----------------------------------------------------------------------------

    def exclude_none(self) -> None:
        """Any gateway will do."""
        self.excluded.clear()

    def exclude(self, gateway_group: str) -> None:
        """Ask the API for another gateway than this; advice that it may ignore."""
        # A dict as an ordered set: a group that is excluded again becomes the newest, and the
        # oldest is forgotten first. The list is sent with every call, so it has to stay short.
        self.excluded.pop(gateway_group, None)
        self.excluded[gateway_group] = None
        if len(self.excluded) > LONGEST_EXCLUSION:
            self.excluded.pop(next(iter(self.excluded)))
