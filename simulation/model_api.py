"""ModelApi: the two endpoints of the API, in virtual time."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from inngest_connect.core import inputs

from .counts import Counts

CLIENT_TIMEOUT: Final = 10.0
TOO_LATE: Final = 20.0
"""Seconds; longer than the core waits for an answer to a start, whatever the client does."""
MINUTE: Final = 60.0

REFUSALS: Final = (401, 403, 413, 429, 500, 503)
RETRY_AFTER: Final = (0.0, 20.0, 3600.0)
"""What the client makes of the header: the past is 0, and more than an hour is an hour."""
ODD_ANSWERS: Final = ("page", "empty", "wrong_id", "hang", "lost", "lost_late", "slow", "late")
ANSWERS: Final = (None, "mixed", *ODD_ANSWERS, *REFUSALS, (429, 20.0), (503, 0.0), (503, 3600.0))
"""What the API can be made to answer.

A status, also with seconds of Retry-After; None: its name has no address. "page": a proxy answers;
"empty": 200 without a body; "wrong_id": an answer about something else; "hang": no answer within
the client's time limit; "lost", "lost_late": the call takes effect, and its answer is lost at once
or after that limit; "slow": a success after some seconds; "late": an answer that the client should
have given up; "mixed": each call gets one of all these.
"""

_TAKES_EFFECT: Final = frozenset({"empty", "wrong_id", "lost", "lost_late"})
_TEXTS: Final = {
    None: "no address for this name",
    "page": "HTTP 502 with a page of a proxy",
    "empty": "HTTP 200 without a body",
    "wrong_id": "an answer about another request",
    "hang": "timed out",
    "late": "timed out",
    "lost": "connection reset",
    "lost_late": "timed out",
}

Endpoint = Literal["start", "flush"]


@dataclass(slots=True)
class ModelApi:
    """``fault`` is one of ANSWERS, given until ``fault_until`` by one endpoint or by both."""

    draw: random.Random
    issued: Callable[[str, str, str], None]
    """Called with each connection id and its tokens, for the gateways to check."""
    can_store: Callable[[float], bool]
    """Whether the server can store a reply at a time."""
    counts: Counts = field(default_factory=Counts)
    gateways: list[str] = field(default_factory=list)
    former: list[str] = field(default_factory=list)
    """Gateways that drain or died."""
    fault: Any = None
    fault_until: float = 0.0
    endpoint: Endpoint | None = None
    accepted_keys: tuple[int, ...] | None = None
    """Indexes of the signing keys that are accepted until ``keys_until``; None for all."""
    keys_until: float = 0.0
    stale_until: float = 0.0
    """Before, it names any gateway that it ever knew, whatever a worker excludes."""
    connections: int = 0
    most_in_a_minute: int = 0
    """Start calls within a minute."""
    _starts: deque[float] = field(default_factory=deque)

    def fail(self, fault: Any, until: float, endpoint: Endpoint | None = None) -> None:
        """Answer with a fault until that time, at one endpoint or at both."""
        self.fault, self.fault_until, self.endpoint = fault, until, endpoint

    def accept_keys(self, keys: tuple[int, ...], until: float) -> None:
        """Accept only these signing keys until that time."""
        self.accepted_keys, self.keys_until = keys, until

    def start(
        self, generation: int, excluded: tuple[str, ...], secret: str, now: float, key: int = 0
    ) -> tuple[float, inputs.Input]:
        """Return after how many seconds the worker receives which input."""
        self._count_start(now)
        fault, wait = self._fault("start", key, now), 0.0
        if fault == "slow":
            wait = self._slowly()
        elif fault != "none":
            self.counts.situation(f"the API answers a start: {fault}")
            if fault in _TAKES_EFFECT:
                self.issue(secret)
            wait, status, text, retry_after = self._failure(fault)
            return (TOO_LATE if fault == "late" else wait), inputs.StartFailed(
                generation, status, text, retry_after, offline=fault is None
            )
        gateway = self._choose(excluded, now)
        if gateway is None:
            return 0.0, inputs.StartFailed(generation, 500, "no gateway found")
        connection_id, session, sync = self.issue(secret)
        return wait, inputs.StartSucceeded(
            generation, connection_id, f"ws://{gateway}", gateway, session, sync
        )

    def flush(self, request_id: str, now: float, key: int = 0) -> tuple[bool, float, inputs.Input]:
        """Return whether the reply is stored, and after how many seconds what is received."""
        fault = self._fault("flush", key, now)
        if fault == "none" and not self.can_store(now):
            self.counts.situation("a flush cannot be stored")
            return False, 0.0, inputs.FlushFailed(request_id, 500, "HTTP 500")
        if fault == "none":
            return True, 0.0, inputs.FlushSucceeded(request_id)
        self.counts.situation(f"the API answers a flush: {fault}")
        if fault == "slow":
            return True, self._slowly(), inputs.FlushSucceeded(request_id)
        wait, status, text, retry_after = self._failure(fault)
        failed = inputs.FlushFailed(request_id, status, text, retry_after)
        return fault in _TAKES_EFFECT, wait, failed

    def issue(self, secret: str) -> tuple[str, str, str]:
        """Return a new connection id, its session token and its sync token."""
        self.connections += 1
        connection_id = f"01{self.connections:024d}"
        session, sync = (f"{secret}-{kind}-{self.connections}" for kind in ("session", "sync"))
        self.issued(connection_id, session, sync)
        return connection_id, session, sync

    def _count_start(self, now: float) -> None:
        self._starts.append(now)
        while self._starts[0] < now - MINUTE:
            self._starts.popleft()
        self.most_in_a_minute = max(self.most_in_a_minute, len(self._starts))

    def _choose(self, excluded: tuple[str, ...], now: float) -> str | None:
        if now < self.stale_until and self.former and self.draw.random() < 0.7:
            gateway = self.draw.choice(self.former)
            ignored = "although it is excluded" if gateway in excluded else "or it is dead"
            self.counts.situation(f"the API names a gateway that drains, {ignored}")
            return gateway
        candidates = [g for g in self.gateways if g not in excluded] or self.gateways
        return self.draw.choice(candidates) if candidates else None

    def _fault(self, endpoint: Endpoint, key: int, now: float) -> Any:
        # "none", because None is a fault.
        if now < self.keys_until and self.accepted_keys is not None:
            if key not in self.accepted_keys:
                self.counts.situation(f"signing key {key} is refused at {endpoint}")
                return 401
            if key:
                self.counts.situation(f"the fallback key serves at {endpoint}")
        if now >= self.fault_until or self.endpoint not in (None, endpoint):
            return "none"
        if self.fault != "mixed":
            return self.fault
        return self.draw.choice((*ODD_ANSWERS, *REFUSALS, (503, self.draw.choice(RETRY_AFTER))))

    def _slowly(self) -> float:
        return CLIENT_TIMEOUT * (0.2 + 0.75 * self.draw.random())

    def _failure(self, fault: Any) -> tuple[float, int | None, str, float | None]:
        if isinstance(fault, tuple):
            status, retry_after = fault
            return 0.0, status, f"HTTP {status}", retry_after
        if isinstance(fault, int):
            return 0.0, fault, f"HTTP {fault}", None
        wait = CLIENT_TIMEOUT if fault in ("hang", "late", "lost_late") else 0.0
        return wait, None, _TEXTS[fault], None
