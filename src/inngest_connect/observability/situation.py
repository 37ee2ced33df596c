"""``situation``: what is wrong, since when, why, and when the worker tries again.

The first question of somebody who is on call. The status page, ``/state.json`` and the live view
show the same answer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ..core.events import Reconnecting
from ..state_machine import HISTORY_LENGTH, ConnectionState, StateChange
from .debug_state import DebugState
from .health import Health
from .recent_activity import RecentActivity

_S = ConnectionState
_SATURATED: Final = 10.0
"""Seconds without a free slot and without the end of a function that are worth a warning."""
_UNCONNECTED: Final = frozenset({_S.CONNECTING, _S.RECONNECTING})


@dataclass(frozen=True, slots=True)
class Situation:
    """``state`` is the inner state, which is DRAINING_RECONNECTING during a drain."""

    state: ConnectionState
    since: float | None
    """Seconds; CONNECTING and RECONNECTING take turns in an outage and count as one. None when it
    began before anything was observed."""
    cause: str | None
    """Why it is not simply ACTIVE."""
    failures: int
    """Attempts to connect that failed in a row."""
    next_attempt: float | None
    """Seconds; 0 while an attempt is under way, None when none is planned."""
    warnings: tuple[str, ...]
    """What else is wrong at present."""


def situation(
    state: DebugState,
    health: Health,
    history: Iterable[StateChange],
    recent: RecentActivity,
    now: float,
) -> Situation:
    """The situation at ``now``, which is of the clock of the worker."""
    announced = recent.reconnecting()
    reconnecting = announced and announced[1]
    return Situation(
        state.state,
        _since(state.state, tuple(history), recent, now),
        _cause(state, reconnecting),
        reconnecting.failures if reconnecting else 0,
        state.next_attempt,
        tuple(_warnings(state, health)),
    )


def _since(
    state: ConnectionState, history: tuple[StateChange, ...], recent: RecentActivity, now: float
) -> float | None:
    same = _UNCONNECTED if state in _UNCONNECTED else {state}
    if state in _UNCONNECTED and recent.unserved_since is not None:
        return now - recent.unserved_since  # the history of a long outage is forgotten
    for change in reversed(history):
        if change.state in same and change.previous not in same:
            return now - change.at
    # It was so from the beginning, unless the beginning is forgotten.
    return recent.age() if len(history) < HISTORY_LENGTH else None


def _cause(state: DebugState, reconnecting: Reconnecting | None) -> str | None:
    match state.state:
        case _S.CONNECTING | _S.RECONNECTING:
            if reconnecting is None:
                return "the first attempt to connect" if not state.consecutive_failures else None
            return reconnecting.cause
        case _S.DRAINING_RECONNECTING:
            failed = f"; the last attempt failed: {reconnecting.cause}" if reconnecting else ""
            return (
                "the gateway announced that it closes; the worker still serves, and connects to "
                f"another one{failed}"
            )
        case _S.CLOSING:
            unfinished = state.running + state.queued
            return (
                f"a shutdown was requested; it waits for {unfinished} function(s) and "
                f"{state.unacknowledged_replies} result(s) to deliver"
            )
        case _S.CLOSED:
            return "the worker has ended"
    return None


def _warnings(state: DebugState, health: Health) -> Iterable[str]:
    if state.external_state is _S.CLOSED:
        return
    if health.not_live is not None:
        yield health.not_live
    elif health.not_ready is not None and state.external_state is _S.ACTIVE:
        yield health.not_ready
    if state.saturated_age is not None and state.saturated_age >= _SATURATED and state.queued:
        yield (
            f"all {state.max_worker_concurrency} slots are taken, and no function has ended for "
            f"{state.saturated_age:.0f} s; {state.queued} request(s) wait"
        )
    if state.journal_failure is not None:
        yield f"the journal is not written: {state.journal_failure}"
