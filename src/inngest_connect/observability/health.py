"""Health: whether the process works, and whether it gets work. For probes.

*Live* means that both event loops run; when they do not, a restart of the process is the remedy.
*Ready* means that a gateway sends work here: the state is ACTIVE as seen outside, no shutdown has
begun, and a message came lately, so that a connection that only looks alive is not ready.
"""

from dataclasses import dataclass
from typing import Final

from ..state_machine import ConnectionState
from .debug_state import DebugState

BLOCKED_LIMIT: Final = 30.0
"""Seconds that an event loop may be late before the process is no longer live."""

SILENCE_LIMIT: Final = 20.0
"""Seconds without any message from the gateway: two heartbeats."""


@dataclass(frozen=True, slots=True)
class Health:
    """Human-readable reasons, or None when there is none."""

    not_live: str | None
    not_ready: str | None

    @property
    def live(self) -> bool:
        """Whether the process works."""
        return self.not_live is None

    @property
    def ready(self) -> bool:
        """Whether a gateway sends work to it."""
        return self.not_ready is None


def judge(
    state: DebugState, blocked_limit: float = BLOCKED_LIMIT, silence_limit: float = SILENCE_LIMIT
) -> Health:
    """Limits in seconds."""
    not_live = _not_live(state, blocked_limit)
    return Health(not_live, not_live or _not_ready(state, silence_limit))


def _not_live(state: DebugState, limit: float) -> str | None:
    if state.external_state is ConnectionState.CLOSED:
        return "the worker is CLOSED"
    for owner, lag in (("connection", state.io_loop_lag), ("application", state.caller_loop_lag)):
        if lag > limit:
            return f"the {owner}'s event loop is blocked for {lag:.1f} s"
    return None


def _not_ready(state: DebugState, limit: float) -> str | None:
    if state.shutdown_requested:
        return "shutting down"
    if state.external_state is not ConnectionState.ACTIVE:
        failures = state.consecutive_failures
        after = f" after {failures} failed attempt(s)" if failures else ""
        return f"the connection is {state.external_state.value}{after}"
    age = state.last_message_age
    if age is None or age > limit:
        return f"no message from the gateway for {age or 0.0:.1f} s"
    return None
