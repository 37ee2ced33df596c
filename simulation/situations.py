"""Situations: combinations of faults, work and settings that random faults alone rarely make.

Each function adds the entries of one situation to a draft, and the settings that it needs. What
really came of it is counted where it happens (``counts``), not here.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from .entry import Entry
from .model_api import ANSWERS
from .second_worker import LIMITS
from .short_lives import HANDSHAKE_ENDS


@dataclass(slots=True)
class Draft:
    """A schedule in the making. Times are virtual seconds."""

    draw: random.Random
    busy: float
    """Entries begin before."""
    entries: list[Entry]
    core: dict[str, Any] = field(default_factory=dict)
    """Settings of the worker that differ from what was drawn."""
    gateway: dict[str, Any] = field(default_factory=dict)
    remembered_bytes: int | None = None

    def time(self) -> float:
        """Some time before ``busy``."""
        return round(self.draw.random() * self.busy, 3)

    def add(self, at: float, kind: str, amount: float = 0.0, detail: Any = None) -> None:
        """Plan an entry; 0 s at the earliest."""
        self.entries.append(Entry(round(max(at, 0.0), 3), kind, round(amount, 4), detail))

    def work(self, at: float, count: int, seconds: float, detail: Any = "async") -> None:
        """Plan requests that arrive within a second, and run for about so long."""
        for _ in range(count):
            duration = seconds * (0.8 + 0.4 * self.draw.random())
            self.add(at + self.draw.random(), "request", duration, detail)

    def between(self, low: float, high: float) -> float:
        """A number from ``low`` to ``high``."""
        return low + (high - low) * self.draw.random()


def replies_without_a_connection(draft: Draft) -> None:
    """The socket is lost and cannot be replaced while functions end: replies have to be flushed."""
    at = draft.time()
    draft.work(at, 4, 6.0)
    draft.add(at + 1.5, "api", draft.between(20.0, 90.0), draft.draw.choice(("mixed", *ANSWERS)))
    draft.add(at + 2.0, "reset")


def flushes_refused(draft: Draft) -> None:
    """The API lets workers connect and refuses flushes, while acknowledgements are lost."""
    at = draft.time()
    draft.core["max_worker_concurrency"] = None
    draft.work(at, 7, 3.0)
    draft.add(at + 1.0, "lose_acknowledgements", 25.0)
    draft.add(at + 1.0, "flush_api", draft.between(20.0, 90.0), "mixed")


def flush_after_acknowledgement(draft: Draft) -> None:
    """An acknowledgement comes late, while a slow flush of the same reply is under way."""
    at = draft.time()
    draft.core["flushes_at_once"] = 8
    draft.work(at, 6, 2.0)
    draft.add(at + 1.5, "black_hole", draft.between(5.5, 9.0))
    draft.add(at + 1.0, "flush_api", 20.0, "slow")


def starts_refused(draft: Draft) -> None:
    """The connection is lost, and the start endpoint answers badly."""
    at = draft.time()
    draft.add(at, "start_api", draft.between(5.0, 100.0), draft.draw.choice(ANSWERS))
    draft.add(at + 0.1, "reset")


def keys(draft: Draft) -> None:
    """A key is rotated, or both are refused for a while, with an outage and replies to flush."""
    at = draft.time()
    count = draft.core["signing_keys"] = draft.draw.choice((1, 2, 2))
    choices = ((), (0,), (1,), (1,)) if count == 2 else ((),)
    first = draft.draw.choice(choices)
    draft.work(at, 3, 4.0)
    draft.add(at + 1.0, "keys", draft.between(20.0, 200.0), first)
    draft.add(at + 1.5, "reset")
    if draft.draw.random() < 0.5:
        later = at + draft.between(10.0, 60.0)
        draft.work(later, 2, 4.0)
        draft.add(later + 1.0, "keys", 100.0, draft.draw.choice(choices))
        draft.add(later + 1.5, "reset")


def buffer_overflows(draft: Draft) -> None:
    """Many functions end while nothing can be delivered."""
    at = draft.time()
    draft.core["max_buffer_bytes"] = 2_000
    draft.core["max_worker_concurrency"] = draft.draw.choice((None, 3))
    draft.work(at, 16, 7.0 if draft.core["max_worker_concurrency"] is None else 1.5)
    draft.add(at + 3.0, "api", draft.between(10.0, 60.0), draft.draw.choice((None, 503, "hang")))
    draft.add(at + 3.5, draft.draw.choice(("reset", "half_open")))
    draft.work(at + 8.0, 4, 1.0)


def drain_during_a_shutdown(draft: Draft) -> None:
    """The worker is closed while functions run, and its gateway drains meanwhile."""
    at = draft.time()
    draft.core["shutdown_timeout"] = draft.draw.choice((None, None, 60.0))
    draft.work(at, 2, 40.0)
    draft.add(at + 3.0, "close")
    for _ in range(draft.draw.choice((1, 2))):
        draft.add(at + draft.between(2.5, 25.0), "drain", draft.draw.choice((0.0, 0.0, 5.0)))


def only_replies_left(draft: Draft) -> None:
    """``shutdown_timeout`` passes when every function has ended and replies wait."""
    at = draft.time()
    draft.core["shutdown_timeout"] = 10.0
    draft.work(at, 3, 4.0)
    draft.add(at + 2.0, "api", 60.0, draft.draw.choice((None, 503, "hang")))
    draft.add(at + 2.5, "reset")
    draft.add(at + 3.0, "close")


def handshakes_refused(draft: Draft) -> None:
    """Gateways close sockets during attempts, or never go on with a handshake."""
    at = draft.time()
    end = draft.draw.choice(("any", "any", "any", *HANDSHAKE_ENDS))
    draft.add(at, "refuse_handshakes", draft.between(3.0, 100.0), end)
    draft.add(at + 0.1, draft.draw.choice(("reset", "drain")))


def never_connected(draft: Draft) -> None:
    """The first handshake stalls, and ``startup_timeout`` passes or does not."""
    draft.core["startup_timeout"] = draft.between(5.0, 60.0)
    draft.add(0.0, "refuse_handshakes", draft.between(1.0, 100.0), None)


def lease_races(draft: Draft) -> None:
    """One side stops for about as long as a lease lasts."""
    at = draft.time()
    lease = draft.gateway["lease"] = 40.0
    draft.gateway["extend_lease_interval"] = "10s"
    seconds = draft.between(lease - 12.0, lease + 10.0)
    draft.work(at, 3, 60.0)
    draft.work(at, 2, seconds)
    kind = draft.draw.choice(("freeze_worker", "freeze_gateway", "sleep", "black_hole"))
    draft.add(at + draft.between(1.5, 15.0), kind, seconds)


def stale_advice(draft: Draft) -> None:
    """The API goes on naming gateways that drain or died."""
    at = draft.time()
    draft.add(at, "stale_advice", draft.between(5.0, 60.0))
    for _ in range(3):
        kind = draft.draw.choice(("drain", "kill_gateway"))
        draft.add(at + draft.between(0.0, 10.0), kind)


def slow_line(draft: Draft) -> None:
    """What the worker writes waits, and leaves slowly or not at all."""
    at = draft.time()
    draft.work(at, 6, draft.draw.choice((1.0, 10.0, 40.0)))
    seconds = draft.between(5.0, 60.0)
    draft.add(at + draft.between(0.0, 1.0), "slow_line", seconds, draft.draw.random() < 0.5)
    draft.work(at + seconds / 2, 2, 2.0)


def large_replies(draft: Draft) -> None:
    """Replies around the largest that a gateway takes; few are remembered."""
    at = draft.time()
    draft.core["max_reply_bytes"] = 2_000
    for size in (1_500, 1_890, 1_900, 1_910, 1_920, 1_930, 3_000):
        draft.work(at, 1, 1.0, ("return", size))
    draft.add(at + draft.between(0.0, 3.0), draft.draw.choice(("reset", "drain", "half_open")))


def functions_misbehave(draft: Draft) -> None:
    """Functions resist their cancellation, end what is not theirs, and fail; then a shutdown."""
    at = draft.time()
    draft.core["on_lease_lost"] = "cancel"
    draft.core["max_worker_concurrency"] = None
    for behavior in ("late", "late", "misbehave", "error"):
        draft.work(at, 1, draft.draw.choice((2.0, 60.0)), (behavior, 100))
    draft.add(at + 2.0, "revoke_lease")
    draft.add(at + 5.0, "pause_application", draft.between(1.0, 60.0))
    if draft.draw.random() < 0.5:
        draft.core["shutdown_timeout"] = draft.draw.choice((0.0, 5.0, 10.0))
        draft.add(at + 8.0, "close")


def answered_comes_again(draft: Draft) -> None:
    """Requests are delivered again after their answer, when some replies are not kept any more."""
    at = draft.time()
    draft.remembered_bytes = draft.draw.choice((None, 2_000, 2_000))
    draft.work(at, 6, 1.0, ("return", draft.draw.choice((100, 3_000))))
    for _ in range(3):
        draft.add(at + draft.between(2.0, 124.0), "deliver_answered_again", 125.0)
    draft.work(at + 20.0, 6, 1.0)
    draft.add(at + draft.between(2.0, 100.0), draft.draw.choice(("reset", "drain", "crash")))


def connections_die_young(draft: Draft) -> None:
    """Every connection ends right after it was ready, again and again."""
    at = draft.time()
    ends = draft.draw.choice(("drop", "close", "drain", "any"))
    draft.work(at, 3, 20.0)
    draft.add(at, "die_young", draft.between(10.0, 150.0), ends)
    draft.add(at + 0.1, "reset")


def frozen_worker_is_given_up(draft: Draft) -> None:
    """The worker's process stops, and its gateway ends the connection that takes nothing."""
    at = draft.time()
    draft.work(at, 4, draft.between(1.0, 40.0))
    draft.add(at + 2.0, draft.draw.choice(("freeze_worker", "sleep")), draft.between(7.0, 100.0))
    draft.add(at + 7.0, draft.draw.choice(("reset", "half_open", "drain")))


def store_fails(draft: Draft) -> None:
    """The server stores nothing for a while: it closes connections, and refuses flushes."""
    at = draft.time()
    draft.work(at, 4, draft.draw.choice((2.0, 40.0)))
    draft.add(at + draft.between(0.5, 4.0), "fail_store", draft.between(1.0, 60.0))
    if draft.draw.random() < 0.5:
        draft.add(at + draft.between(0.5, 10.0), draft.draw.choice(("reset", "drain", "close")))


def gateway_cannot_write(draft: Draft) -> None:
    """Lines take nothing of what gateways write, which end them after their time limit or not."""
    at = draft.time()
    draft.work(at, 4, draft.draw.choice((1.0, 10.0)))
    draft.add(at + draft.between(0.0, 3.0), "block_gateway", draft.between(1.0, 12.0))
    draft.work(at + 3.0, 2, 2.0)


def gateways_stop(draft: Draft) -> None:
    """The gateways stop for so long that the router passes them over."""
    at = draft.time()
    draft.work(at, 2, 10.0)
    draft.add(at + 0.5, "freeze_gateway", draft.between(8.0, 25.0))
    draft.work(at + draft.between(5.0, 20.0), 3, 1.0)


def another_worker(draft: Draft) -> None:
    """A second process takes a part of the work, and vanishes; acknowledgements may come late."""
    at = draft.time()
    detail = draft.draw.random() < 0.5, draft.draw.choice(LIMITS)
    draft.add(at, "second_worker", draft.between(10.0, 150.0), detail)
    draft.work(at + 3.0, 8, draft.draw.choice((1.0, 30.0, 100.0)))
    for _ in range(draft.draw.choice((0, 1, 3))):
        kinds = ("drain", "black_hole", "freeze_worker", "reset", "half_open", "kill_gateway")
        draft.add(at + draft.between(3.0, 5.0), draft.draw.choice(kinds), draft.between(1.0, 20.0))


Plan = Callable[[Draft], None]
WEIGHTS: Final[dict[Plan, int]] = {
    replies_without_a_connection: 4,
    flushes_refused: 7,
    flush_after_acknowledgement: 2,
    starts_refused: 3,
    keys: 4,
    buffer_overflows: 3,
    drain_during_a_shutdown: 3,
    only_replies_left: 1,
    handshakes_refused: 5,
    never_connected: 2,
    lease_races: 3,
    stale_advice: 2,
    slow_line: 4,
    large_replies: 1,
    functions_misbehave: 3,
    answered_comes_again: 3,
    connections_die_young: 2,
    frozen_worker_is_given_up: 2,
}
"""How likely each situation is, compared with the others."""
OF_THE_SERVER: Final[tuple[Plan, ...]] = (
    store_fails,
    gateway_cannot_write,
    gateways_stop,
    another_worker,
    another_worker,
)
"""What happens at the server or beside the worker, as likely one as the other."""


def add_situations(draft: Draft) -> None:
    """Add none, one or two situations."""
    for _ in range(draft.draw.choice((0, 1, 1, 1, 2))):
        draft.draw.choices(list(WEIGHTS), list(WEIGHTS.values()))[0](draft)
    if draft.draw.random() < 0.3:
        draft.draw.choice(OF_THE_SERVER)(draft)
