"""Health: may this process live on, and may it be relied on for work? For probes.

*Live* means that both event loops run: restarting the process is the remedy when it is not.
*Ready* means that a gateway sends work here: the state is ACTIVE as seen outside, no shutdown has
begun, and the gateway was heard of lately, so that a connection that only looks alive is not ready.
"""

from dataclasses import dataclass
from typing import Final

from ..state_machine import ConnectionState
from .debug_state import DebugState

BLOCKED_LIMIT: Final = 30.0
"""Seconds that an event loop may be late before the process is not live any more."""

SILENCE_LIMIT: Final = 20.0
"""Seconds without any message from the gateway: two heartbeats."""


@dataclass(frozen=True, slots=True)
class Health:
    """The reasons are for people; None when all is well."""

    not_live: str | None
    not_ready: str | None

    @property
    def live(self) -> bool:
        return self.not_live is None

    @property
    def ready(self) -> bool:
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
    for name, lag in (("connection's", state.io_loop_lag), ("caller's", state.caller_loop_lag)):
        if lag > limit:
            return f"the {name} event loop is blocked for {lag:.1f} s"
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
        return f"nothing heard from the gateway for {age or 0.0:.1f} s"
    return None
