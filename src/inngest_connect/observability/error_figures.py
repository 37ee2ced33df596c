"""ErrorFigures: how often each kind of error has happened, and whether it still matters.

Somebody who looks at night needs what is wrong now. So a kind is *resolved* when what it was about
has passed: for a connection, when another one serves; otherwise, when it has not happened for a
while. A lost result is never resolved: somebody waits for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..core.events import Disconnected, ErrorOccurred, FunctionFailed, LeaseLost, WebSocketFailed
from ..core.wire.remote_text import clean
from .records import LOST_RESULTS

STABLE_SECONDS: Final = 60.0
"""How long a connection serves before the errors of those before it are resolved: one that is lost
again and again is trouble although the worker is ACTIVE most of the time."""

QUIET_SECONDS: Final = 900.0
"""How long a kind that is not about a connection has not happened when it is resolved."""

_MOST_KINDS: Final = 64
"""There are half as many; an executor of the user's can name others."""
OTHER: Final = "other"

ErrorEvent = ErrorOccurred | Disconnected | LeaseLost | WebSocketFailed | FunctionFailed

_OF_A_CONNECTION: Final = frozenset(
    {
        "authentication_failed",
        "connection_failed",
        "disconnected",
        "gateway_endpoint_refused",
        "gateway_silent",
        "handshake_refused",
        "malformed_message",
        "protocol_violation",
        "rate_limited",
        "retry_strategy_failed",
        "start_failed",
        "sync_failed",
        "websocket_error",
    }
)


@dataclass(slots=True)
class KindOfError:
    """``last`` is the latest of ``count`` events; times are monotonic seconds."""

    kind: str
    count: int
    first_at: float
    last_at: float
    last: ErrorEvent


def kind_of(event: ErrorEvent) -> str:
    """The stable word for it."""
    return event.kind if isinstance(event, ErrorOccurred) else event.name


def message_of(event: ErrorEvent) -> str:
    """What happened, for people; printable."""
    match event:
        case FunctionFailed():
            step = f" in the step {event.step!r}" if event.step else ""
            message = f"{event.function_slug} raised{step} {event.error or 'an exception'}"
        case Disconnected():
            reason = f": {event.reason}" if event.reason else ""
            message = f"the connection was lost, code {event.code}{reason}"
        case LeaseLost():
            message = f"the lease of a request for {event.function_slug} was lost"
        case _:
            message = event.message
    # A message of this package is printed in full; parts from the network are short already.
    return message if message.isprintable() else clean(message)


class ErrorFigures:
    """Written where an event happens; read from any thread."""

    def __init__(self) -> None:
        self._kinds: dict[str, KindOfError] = {}
        self._connected_at: float | None = None

    def count(self, event: ErrorEvent, now: float) -> None:
        """Count one error."""
        kind = kind_of(event)
        if kind not in self._kinds and len(self._kinds) >= _MOST_KINDS:
            kind = OTHER
        known = self._kinds.get(kind)
        if known is None:
            self._kinds[kind] = KindOfError(kind, 1, now, now, event)
        else:
            known.count += 1
            known.last_at, known.last = now, event

    def connected(self, now: float) -> None:
        """A connection serves."""
        self._connected_at = now

    def kinds(self) -> list[KindOfError]:
        """The one that happened last comes first."""
        return sorted(self._kinds.copy().values(), key=lambda kind: kind.last_at, reverse=True)

    def resolved(self, now: float) -> Callable[[KindOfError], bool]:
        """Whether a kind no longer matters at ``now``."""
        connected_at = self._connected_at

        def is_resolved(kind: KindOfError) -> bool:
            if kind.kind in LOST_RESULTS:
                return False
            if kind.kind not in _OF_A_CONNECTION:
                return now - kind.last_at >= QUIET_SECONDS
            if connected_at is None or connected_at < kind.last_at:
                return False
            return now - connected_at >= STABLE_SECONDS

        return is_resolved
