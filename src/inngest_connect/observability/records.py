"""What an observation says in the log: one table from observations to level and fields.

Levels: ERROR is a result that was lost, a refusal that lasts, or the end of the worker; WARN is
trouble the worker deals with; INFO is what a person on call wants to have read an hour later;
DEBUG is everything else, requests and heartbeats included.
"""

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..core import events as seen
from ..state_machine import ConnectionState

Level = Literal["debug", "info", "warning", "error"]

LOST_RESULTS: Final = frozenset({"reply_evicted", "reply_refused", "reply_undelivered"})
"""Each of these is one result that somebody waits for: never folded."""

REQUESTS: Final = frozenset(
    {
        seen.RequestReceived,
        seen.RequestStarted,
        seen.RequestCompleted,
        seen.ReplyAcknowledged,
    }
)
"""What each request causes; DEBUG, and nothing is built for them above it."""

_LOUD_ERRORS: Final = LOST_RESULTS | {"handshake_refused", "sync_failed"}
_QUIET_ERRORS: Final = frozenset(
    {
        # Each of these is followed by a record that names it: one line per attempt.
        "connection_failed",
        "gateway_endpoint_refused",
        "gateway_silent",
        "rate_limited",
        "start_failed",
        "invalid_transition",
    }
)
_TOLD_BY_NOTHING_ELSE: Final = frozenset({ConnectionState.CLOSING, ConnectionState.CLOSED})
_SOME: Final = 5
"""Records a window of what is normal now and then, and noise when a connection flaps."""
_RARE: Final = 120.0
"""Seconds between attempts from which on each of them is worth its line."""
_NUMBERS: Final = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}|0x[0-9a-f]+|[0-9a-f]{16,}|\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the log. ``allowance`` of its kind in a window are written, None means all."""

    level: Level
    event: str
    fields: dict[str, Any]
    allowance: int | None = None

    @property
    def key(self) -> tuple[str, Any, str]:
        """The same for records that say the same: event, kind, and the text without numbers."""
        fields = self.fields
        text = fields.get("detail") or fields.get("cause") or fields.get("reason") or ""
        return self.event, fields.get("kind"), _NUMBERS.sub("#", str(text))


def record_of(observation: seen.Event) -> Record:
    """The record of any observation but those of ``REQUESTS``, which are DEBUG."""
    match observation:
        case seen.ErrorOccurred():
            return _error(observation)
        case seen.StateChanged(previous, state):
            level: Level = "info" if state in _TOLD_BY_NOTHING_ELSE else "debug"
            return Record(level, "state_change", {"previous": previous.value, "state": state.value})
        case seen.Disconnected(expected=expected):
            level = "info" if expected else "warning"
            return Record(level, "disconnected", plain_fields(observation), _SOME)
        case seen.Reconnecting(failures=failures):
            fields = plain_fields(observation)
            if failures:
                allowance = 1 if observation.delay < _RARE else None
                return Record("warning", "reconnecting", fields, allowance)
            return Record("info", "reconnecting", fields, _SOME)
        case seen.Connected() | seen.Draining():
            return Record("info", observation.name, plain_fields(observation), _SOME)
        case seen.LeaseLost():
            return Record("warning", observation.name, plain_fields(observation), 1)
        case _:
            return Record("debug", observation.name, plain_fields(observation))


def plain_fields(observation: seen.Event) -> dict[str, Any]:
    """The observation's own fields, without those that are not known."""
    names: tuple[str, ...] = type(observation).__slots__
    pairs = ((name, getattr(observation, name)) for name in names)
    return {name: value for name, value in pairs if value is not None}


def _error(error: seen.ErrorOccurred) -> Record:
    fields = plain_fields(error)
    fields["detail"] = fields.pop("message")
    fatal = fields.pop("fatal")
    if fatal or error.kind in LOST_RESULTS:
        return Record("error", "error", fields)
    if error.kind in _LOUD_ERRORS:
        return Record("error", "error", fields, 1)
    if error.kind in _QUIET_ERRORS:
        return Record("debug", "error", fields)
    return Record("warning", "error", fields, _SOME if error.kind == "records_dropped" else 1)
