"""LimitedApi: a model of the start endpoint that serves a limited rate of calls."""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from inngest_connect.core.settings import Timing

CALL_LIMIT: Final = Timing().start_timeout

# What the API serves at once after it had nothing to do: seconds of its rate, and calls at least.
BURST: Final = 0.1
SMALLEST_BURST: Final = 5.0


class Overload(Enum):
    """What happens to the calls above the rate. The values are the titles in tables."""

    REFUSE = "429"
    REFUSE_FOR = "429, Retry-After"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that failed. ``status`` and ``retry_after`` are those of ``StartFailed``."""

    status: int | None
    text: str
    retry_after: float | None = None


@dataclass(slots=True)
class LimitedApi:
    """Times are virtual seconds. ``rate`` is calls per second, None without a limit.

    With ``Overload.QUEUE`` calls wait in one line. A client gives up after 10 s, and its call keeps
    its place: an overloaded server does not know which of its calls nobody waits for.
    """

    overload: Overload
    rate: float | None = None
    retry_after: float = 5.0
    away_until: float = 0.0
    calls: int = 0
    per_second: Counter[int] = field(default_factory=Counter)
    """Calls in each second since ``limit()``, those that fail included."""
    _since: float = 0.0
    _tokens: float = 0.0
    _filled_at: float = 0.0
    _free_at: float = 0.0

    def limit(self, rate: float, now: float) -> None:
        """Serve this rate from now on, and count calls from now on."""
        self.rate, self._since = rate, now
        self.calls = 0
        self.per_second.clear()
        self._tokens, self._filled_at, self._free_at = self._burst(rate), now, now

    def call(self, now: float) -> tuple[float, Refusal | None]:
        """Take a call. Returns when the client learns its result, and the refusal if it is one."""
        self.calls += 1
        self.per_second[int(now - self._since)] += 1
        if now < self.away_until:
            return now, Refusal(None, "connection refused")
        if self.rate is None:
            return now, None
        if self.overload is Overload.QUEUE:
            self._free_at = max(self._free_at, now) + 1 / self.rate
            if self._free_at <= now + CALL_LIMIT:
                return self._free_at, None
            return now + CALL_LIMIT, Refusal(None, "timed out")
        grown = self._tokens + (now - self._filled_at) * self.rate
        self._tokens, self._filled_at = min(grown, self._burst(self.rate)), now
        if self._tokens >= 1:
            self._tokens -= 1
            return now, None
        retry_after = self.retry_after if self.overload is Overload.REFUSE_FOR else None
        return now, Refusal(429, "too many calls", retry_after)

    def _burst(self, rate: float) -> float:
        return max(BURST * rate, SMALLEST_BURST)
