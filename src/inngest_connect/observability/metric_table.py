"""Every metric of a worker: one table, from which the instruments and their views are created.

Names follow the semantic conventions of OpenTelemetry. A label takes its values from a small closed
set, or from the functions that this worker has; never from what a remote side wrote.
"""

import enum
from dataclasses import dataclass
from typing import Final

from ..protocol import (
    CLOSE_ABNORMAL,
    CLOSE_GOING_AWAY,
    CLOSE_INTERNAL_ERROR,
    CLOSE_MESSAGE_TOO_BIG,
    CLOSE_NORMAL,
    CLOSE_POLICY_VIOLATION,
    CLOSE_PROTOCOL_ERROR,
    REASON_AUTHENTICATION_FAILED,
    REASON_GATEWAY_CLOSING,
    REASON_INTERNAL_ERROR,
)

Labels = tuple[tuple[str, str], ...]
"""The attributes of one series, in a form that can be a key."""

Values = dict[str, dict[Labels, float]]
"""Value by labels, by the name of the instrument."""

OTHER: Final = "_OTHER"
"""Stands for a value outside the closed set, as the semantic conventions spell it."""


class Kind(enum.Enum):
    """How values come to a provider, and how those of several workers on it become one."""

    COUNTER = enum.auto()
    """Read when it collects, and added; what closed workers have counted stays in the sum."""
    UP_DOWN = enum.auto()
    """Read when it collects, and added."""
    GAUGE = enum.auto()
    """Read when it collects; the highest counts."""
    HISTOGRAM = enum.auto()
    """Durations, passed on as they are measured."""


@dataclass(frozen=True, slots=True)
class Metric:
    """``buckets``, of a histogram, are upper bounds in seconds."""

    kind: Kind
    unit: str
    description: str
    buckets: tuple[float, ...] = ()


_METRICS: Final[dict[str, Metric]] = {}


def _metric(
    name: str, kind: Kind, unit: str, description: str, buckets: tuple[float, ...] = ()
) -> str:
    name = f"inngest.connect.{name}"
    _METRICS[name] = Metric(kind, unit, description, buckets)
    return name


_C, _U, _G, _H = Kind.COUNTER, Kind.UP_DOWN, Kind.GAUGE, Kind.HISTOGRAM
_NETWORK: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_WORK: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_OUTAGE: Final = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)

# fmt: off
EXECUTION_DURATION: Final = _metric(
    "execution.duration", _H, "s", "Time that a function took, by its result", _WORK)
QUEUE_DURATION: Final = _metric(
    "queue.duration", _H, "s", "From a request's arrival to the start", _WORK)
HANDSHAKE_DURATION: Final = _metric(
    "handshake.duration", _H, "s", "From the API call to a ready connection", _NETWORK)
HEARTBEAT_DURATION: Final = _metric(
    "heartbeat.duration", _H, "s", "Round trip of a heartbeat", _NETWORK)
OUTAGE_DURATION: Final = _metric(
    "outage.duration", _H, "s", "Time without a connection, once it is over", _OUTAGE)

CONNECTION_STATE: Final = _metric(
    "connection.state", _U, "{worker}", "1 for the state that the worker is in, else 0")
CONNECTIONS_OPENED: Final = _metric("connections.opened", _C, "{connection}", "Connections made")
CONNECTIONS_LOST: Final = _metric(
    "connections.lost", _C, "{connection}", "Connections that ended before they were replaced")
REQUESTS_IN_FLIGHT: Final = _metric(
    "requests.in_flight", _U, "{request}", "Requests that are not delivered yet, by their progress")
REQUESTS_LIMIT: Final = _metric(
    "requests.limit", _U, "{request}", "Functions that may run concurrently; absent if unlimited")
SATURATION: Final = _metric(
    "saturation", _G, "1", "Running and queued requests over the limit; absent without a limit")
OLDEST_RUNNING: Final = _metric(
    "requests.oldest_running_age", _G, "s",
    "Since the start of the function that has run for the longest time")
REQUESTS_RECEIVED: Final = _metric("requests.received", _C, "{request}", "Requests received")
REQUESTS_ACKNOWLEDGED: Final = _metric(
    "requests.acknowledged", _C, "{request}", "Requests acknowledged")
REQUESTS_COMPLETED: Final = _metric(
    "requests.completed", _C, "{request}", "Requests answered, by function and status")
FUNCTIONS_FAILED: Final = _metric(
    "functions.failed", _C, "{failure}", "Exceptions of functions and of their steps, by function")
REQUESTS_REFUSED: Final = _metric(
    "requests.refused", _C, "{request}", "Requests for an app or function that this worker lacks")
LEASES_EXTENDED: Final = _metric("leases.extended", _C, "{lease}", "Extensions granted")
LEASES_LOST: Final = _metric("leases.lost", _C, "{lease}", "Leases lost before the request ended")
REPLIES_DELIVERED: Final = _metric(
    "replies.delivered", _C, "{reply}", "Replies that the server has stored, by the way they took")
REPLIES_LOST: Final = _metric("replies.lost", _C, "{reply}", "Replies given up")
REPLIES_UNACKNOWLEDGED: Final = _metric(
    "replies.unacknowledged", _U, "{reply}", "Replies that the server has not stored yet")
OLDEST_REPLY: Final = _metric(
    "replies.oldest_age", _G, "s", "Since the end of the function whose reply waits longest")
CHILD_PROCESSES: Final = _metric(
    "processes.alive", _U, "{process}", "Child processes that are ready or finish their work")
BUFFER_SIZE: Final = _metric("buffer.size", _U, "By", "Size of the unacknowledged replies")
REQUESTS_RECOVERED: Final = _metric(
    "requests.recovered", _C, "{request}",
    "Requests of a dead process that were found in the journal, by what it had left")
JOURNAL_ENTRIES: Final = _metric(
    "journal.entries", _U, "{request}", "Requests that another process would find in the journal")
JOURNAL_LAG: Final = _metric(
    "journal.lag", _G, "s", "Since the oldest change that the journal does not have")
LOOP_LAG: Final = _metric("loop.lag", _G, "s", "How late an event loop is")
ERRORS: Final = _metric("errors", _C, "{error}", "Error events, by kind")
RECORDS_DROPPED: Final = _metric(
    "records.dropped", _C, "{record}", "Log records and events that a blocked receiver did not get")
# fmt: on

HISTOGRAMS: Final = {n: each for n, each in _METRICS.items() if each.kind is Kind.HISTOGRAM}
OBSERVABLES: Final = {n: each for n, each in _METRICS.items() if each.kind is not Kind.HISTOGRAM}

ALERTED_KINDS: Final = (
    "child_process_died", "journal_damaged", "journal_slow", "journal_unavailable", "loop_blocked",
)  # fmt: skip
"""Kinds of error that an alert is about, although most processes never have one."""
SILENT: Final = "gateway_silent"
VIOLATION: Final = "protocol_violation"

_BY_REASON: Final = {
    REASON_GATEWAY_CLOSING: "gateway_closing",
    REASON_AUTHENTICATION_FAILED: "authentication_failed",
    REASON_INTERNAL_ERROR: "internal_error",
}
_BY_CODE: Final = {
    CLOSE_NORMAL: "closed",
    CLOSE_GOING_AWAY: "going_away",
    CLOSE_PROTOCOL_ERROR: "protocol_error",
    1003: "protocol_error",
    1007: "protocol_error",
    CLOSE_ABNORMAL: "abnormal",
    CLOSE_POLICY_VIOLATION: "refused",
    CLOSE_MESSAGE_TOO_BIG: "message_too_big",
    CLOSE_INTERNAL_ERROR: "internal_error",
}
LOSS_REASONS: Final = frozenset(
    {*_BY_REASON.values(), *_BY_CODE.values(), SILENT, VIOLATION, OTHER}
)


def loss_reason(code: int, reason: str) -> str:
    """One of LOSS_REASONS for how a connection ended; ``reason`` is remote text."""
    return _BY_REASON.get(reason) or _BY_CODE.get(code, OTHER)
