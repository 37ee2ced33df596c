"""Schedule: everything that happens to one worker in one simulation, decided in advance.

A seed determines the settings and the list of entries; the simulation draws its short delays from a
second random source. So a failing schedule can be shrunk by leaving entries out.
"""

import random
from dataclasses import dataclass, replace
from typing import Any, Final

from inngest_connect.core.settings import CoreSettings
from inngest_connect.protocol import GATEWAY_READ_LIMIT
from inngest_connect.testing.model.settings import GatewaySettings

from .entry import Entry
from .model_api import ANSWERS
from .results import REPLY_LIMIT
from .situations import Draft, add_situations

MINUTES: Final = 10
_SECONDS: Final = MINUTES * 60.0
_CALM: Final = 40.0
"""Seconds between the last fault and the quiet rest."""
_QUIET_FROM: Final = 0.6
"""The rest of a schedule has no faults, so everything can and must recover."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """``delay`` is the longest time that a message takes through the network. Times in seconds."""

    seed: int
    entries: tuple[Entry, ...]
    core: CoreSettings
    gateway: GatewaySettings
    delay: float
    quiet_from: float
    gateways: int
    odd_gateways: GatewaySettings | None = None
    """Those of every second gateway, if they differ: intervals then change with the connection."""
    remembered_bytes: int | None = None
    """How much of the replies that were stored a worker keeps; None for its default."""

    def without(self, dropped: frozenset[int]) -> "Schedule":
        """Return the same schedule without the entries at these positions."""
        kept = tuple(e for index, e in enumerate(self.entries) if index not in dropped)
        return replace(self, entries=kept)


_WEIGHTS: Final = {
    "drain": 5,
    "reset": 4,
    "black_hole": 2,
    "half_open": 2,
    "api": 4,
    "freeze_worker": 1,
    "freeze_gateway": 1,
    "sleep": 1,
    "pause_application": 1,
    "kill_gateway": 2,
    "lose_acknowledgements": 2,
    "deliver_again": 2,
    "revoke_lease": 1,
    "garbage": 1,
    "close_code": 2,
    "crash": 1,
}
"""How likely each kind of fault is, compared with the others."""
_CLOSES: Final = (
    (1000, ""), (1001, "connect_gateway_closing"), (1008, "connect_authentication_failed"),
    (1011, "connect_internal_error"), (1012, "restart"),
)  # fmt: skip


def make_schedule(seed: int, *, journal: bool = True) -> Schedule:
    """Return the schedule of this seed, always the same one; ``journal``: with or without."""
    draw = random.Random(seed)
    longest = _SECONDS * _QUIET_FROM
    busy = draw.choice((30.0, 60.0, 120.0, longest))
    entries = [_request(draw, busy) for _ in range(draw.choice((1, 3, 8, 20)))]
    for _ in range(draw.choice((0, 1, 2, 4, 8))):
        entries += _fault(draw, busy)
    if draw.random() < 0.3:
        entries.append(Entry(_time(draw, busy), "close"))
        if draw.random() < 0.3:
            entries.append(Entry(_time(draw, busy), "abort"))
    draft = Draft(draw, busy, entries)
    add_situations(draft)
    kept = _journal(seed, busy, entries) if journal else {}
    entries.sort(key=lambda entry: entry.at)
    # Minutes of idle heartbeats after the last fault show nothing that one minute does not.
    quiet_from = max(min(busy + _CALM, longest), entries[-1].at + _CALM)
    core = CoreSettings(**(_core_settings(draw) | _limits(seed) | kept | draft.core))
    settings = _gateway_settings(draw)
    gateway = GatewaySettings(**(settings | _server(seed, settings["lease"]) | draft.gateway))
    return Schedule(
        seed,
        tuple(entries),
        core,
        gateway,
        delay=draw.choice((0.001, 0.05, 1.0)),
        quiet_from=quiet_from,
        gateways=draw.choice((1, 1, 3)),
        remembered_bytes=draft.remembered_bytes,
        odd_gateways=replace(gateway, **_odd_gateway(seed)),
    )


def _time(draw: random.Random, until: float) -> float:
    return round(draw.random() * until, 3)


def _request(draw: random.Random, busy: float) -> Entry:
    duration = draw.choice((0.000_1, 0.01, 1.0, 10.0, 60.0, 300.0, 7200.0)) * (0.5 + draw.random())
    detail = draw.choice(("async", "async", "sync"))
    return Entry(_time(draw, busy), "request", round(duration, 4), detail)


def _fault(draw: random.Random, busy: float) -> list[Entry]:
    at = _time(draw, busy)
    kind = draw.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    seconds = draw.choice((0.05, 1.0, 7.0, 30.0, 100.0))
    if kind == "api":
        away = Entry(at, kind, seconds, draw.choice(ANSWERS))
        # With the loss of the connection it is an outage, which takes many attempts.
        return [away, Entry(at, "reset")] if draw.random() < 0.5 else [away]
    if kind == "close_code":
        return [Entry(at, kind, 0.0, draw.choice(_CLOSES))]
    if kind == "drain":
        return _drains(draw, at)
    if kind in (
        "black_hole",
        "freeze_worker",
        "freeze_gateway",
        "lose_acknowledgements",
        "sleep",
        "pause_application",
    ):
        return [Entry(at, kind, seconds)]
    return [Entry(at, kind)]


def _drains(draw: random.Random, at: float) -> list[Entry]:
    """One gateway, replaced immediately or only later, or several one after another."""
    if draw.random() < 0.7:
        return [Entry(at, "drain", draw.choice((0.0, 0.0, 0.0, 5.0, 40.0)))]
    gap = draw.choice((0.01, 0.5, 2.0))
    drains = [Entry(round(at + count * gap, 3), "drain") for count in range(4)]
    if draw.random() < 0.5:
        return drains
    # A reply whose acknowledgement is lost keeps the drained socket open for a while.
    return [Entry(at, "lose_acknowledgements", 7.0), Entry(at, "request", 0.01, "async"), *drains]


def _core_settings(draw: random.Random) -> dict[str, Any]:
    return {
        "max_worker_concurrency": draw.choice((None, None, 1, 3)),
        "max_buffer_bytes": draw.choice((500_000_000, 500_000_000, 2_000)),
        "shutdown_timeout": draw.choice((None, None, 0.0, 10.0)),
        "on_lease_lost": draw.choice(("cancel", "continue")),
        "signing_keys": draw.choice((0, 1, 2)),
        "flushes_at_once": draw.choice((1, 8)),
    }


def _limits(seed: int) -> dict[str, Any]:
    # Drawn separately, so that the rest of a schedule does not depend on it.
    draw = random.Random(~seed - 1)
    return {
        "startup_timeout": draw.choice((None, None, None, None, None, None, 30.0, 2.0)),
        "long_running_warning": draw.choice((3600.0, 3600.0, 60.0, None)),
        "max_reply_bytes": draw.choice((GATEWAY_READ_LIMIT, GATEWAY_READ_LIMIT, REPLY_LIMIT)),
    }


def _journal(seed: int, busy: float, entries: list[Entry]) -> dict[str, Any]:
    """Every second schedule has a journal, and more crashes. Drawn separately as in ``_limits``."""
    draw = random.Random(~seed - 4)
    if draw.random() < 0.5:
        return {}
    if draw.random() < 0.5:
        entries += [Entry(_time(draw, busy), "crash") for _ in range(draw.choice((1, 1, 2, 4)))]
    if draw.random() < 0.3:
        entries.append(
            Entry(_time(draw, busy), "stall_journal", draw.choice((0.05, 1.0, 7.0, 30.0)))
        )
    return {"journal": "file", "journal_commit": draw.choice(("beside", "required"))}


def _gateway_settings(draw: random.Random) -> dict[str, Any]:
    lease = draw.choice((40.0, 120.0))
    return {
        "lease": lease,
        "extend_lease_interval": f"{lease / 4:g}s",
        "heartbeat_interval": draw.choice(("10s", "10s", "5s")),
        "status_interval": draw.choice(("0s", "0s", "30s")),
        "drain_window": draw.choice((5.0, 25.0)),
        "sync_delay": draw.choice((0.0, 0.0, 3.0)),
        "handling_delay": draw.choice((0.0, 0.0, 0.05, 0.5)),
        "hold_during_drain": draw.random() < 0.7,
        "replay_predecessor": draw.random() < 0.8,
    }


def _server(seed: int, lease: float) -> dict[str, Any]:
    """Limits and delays of the environment, drawn separately as in ``_limits``."""
    draw = random.Random(~seed - 2)
    return {
        "control_delay": draw.choice((None, None, 0.0, 1.0)),
        "lease_poll": draw.choice((0.0, 30.0)),
        "leases_outlive_requests": draw.random() < 0.8,
        "acknowledge_within": lease + 5.0,
        "longest_wait": draw.choice((7200.0, 7200.0, 100.0)),
        "unroutable_after": draw.choice((None, None, 0.0)),
        "reply_poll": draw.choice((0.0, 0.0, 4.0)),
        "collect_after_acknowledgement": draw.random() < 0.3,
        "count_delay": draw.choice((0.0, 0.5)),
        "session_lifetime": draw.choice((300.0, 20.0)),
        "skip_unchanged_sync": draw.random() < 0.5,
        "count_lifetime": draw.choice((720.0, 720.0, 60.0)),
        "lease_key_lifetime": draw.choice((7200.0, 7200.0, 5.0)),
    }


def _odd_gateway(seed: int) -> dict[str, Any]:
    draw = random.Random(~seed - 3)
    return {
        "heartbeat_interval": draw.choice(("10s", "10s", "5s", "2s")),
        "status_interval": draw.choice(("0s", "10s")),
        "drain_window": draw.choice((5.0, 25.0)),
    }
