"""The log record of each event: one table from events to level and fields.

Levels: ERROR is a result that was lost, a refusal that lasts, or the end of the worker; WARNING is
trouble that the worker deals with; INFO is what matters an hour later; DEBUG is everything else,
requests and heartbeats included.
"""

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..core import events as seen
from ..state_machine import ConnectionState

Level = Literal["debug", "info", "warning", "error"]

REQUESTS: Final = frozenset(
    {
        seen.RequestReceived,
        seen.RequestStarted,
        seen.RequestCompleted,
        seen.ReplyAcknowledged,
    }
)
"""What each request causes. Above DEBUG nothing is built for them."""

LOST_RESULTS: Final = frozenset({"reply_evicted", "reply_refused", "reply_undelivered"})
"""Each of these is one result that somebody waits for: never folded."""
_LOUD_ERRORS: Final = frozenset({"handshake_refused", "sync_failed"})
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
_FEW: Final = 5
"""Records per window of what is normal now and then, and noise when a connection flaps."""
_RARE: Final = 120.0
"""Seconds between attempts from which on each attempt has its record."""
_NUMBERS: Final = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}|0x[0-9a-f]+|[0-9a-f]{16,}|\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the log. Of its kind, ``allowance`` are written in a window; None means all."""

    level: Level
    event: str
    fields: dict[str, Any]
    allowance: int | None = None

    @property
    def kind(self) -> tuple[str, Any, str]:
        """The same for records that say the same: event, kind, and the text without numbers."""
        fields = self.fields
        if "error_type" in fields:
            # Of one function, a type of exception: its texts name what it worked with, and differ.
            return self.event, fields["function_slug"], fields["error_type"]
        text = fields.get("detail") or fields.get("cause") or fields.get("reason") or ""
        return self.event, fields.get("kind"), _NUMBERS.sub("#", str(text))


def record_of(event: seen.Event) -> Record:
    """The record of any event, with the fields of the event that are known."""
    names: tuple[str, ...] = type(event).__slots__
    pairs = ((name, getattr(event, name)) for name in names)
    fields = {name: value for name, value in pairs if value is not None}
    level, allowance = _level(event)
    match event:
        case seen.ErrorOccurred():
            del fields["fatal"]
            fields["detail"] = fields.pop("message")
        case seen.Connected(gateway_url=""):
            del fields["gateway_url"]
        case seen.StateChanged():
            fields = {name: state.value for name, state in fields.items()}
    if "stack" in fields:
        fields["exception"] = fields.pop("stack")
    return Record(level, event.name, fields, allowance)


def _level(event: seen.Event) -> tuple[Level, int | None]:
    """The level of its record, and how many of a kind are written in a window."""
    match event:
        case seen.Connected() | seen.Draining() | seen.Disconnected(expected=True):
            return "info", _FEW
        case seen.Disconnected():
            return "warning", _FEW
        case seen.Reconnecting(failures=0):
            return "info", _FEW
        case seen.Reconnecting():
            return "warning", 1 if event.delay < _RARE else None
        case seen.LeaseLost():
            return "warning", 1
        case seen.Recovered():
            return "warning", None
        case seen.FunctionFailed(error_type=error_type):
            return ("warning", _FEW) if error_type else ("debug", None)
        case seen.StateChanged(state=ConnectionState.CLOSING | ConnectionState.CLOSED):
            return "info", None  # nothing else reports them
        case seen.ErrorOccurred(kind=kind, fatal=fatal):
            if fatal or kind in LOST_RESULTS:
                return "error", None
            if kind in _LOUD_ERRORS:
                return "error", 1
            if kind in _QUIET_ERRORS:
                return "debug", None
            return "warning", _FEW if kind == "records_dropped" else 1
    return "debug", None
