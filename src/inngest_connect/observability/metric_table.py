"""Every metric of a worker: one table, which the instruments and their views are made from.

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
    COUNTER = enum.auto()
    UP_DOWN = enum.auto()
    GAUGE = enum.auto()


@dataclass(frozen=True, slots=True)
class ObservableSpec:
    kind: Kind
    unit: str
    description: str


@dataclass(frozen=True, slots=True)
class HistogramSpec:
    unit: str
    description: str
    buckets: tuple[float, ...]
    """Upper bounds in seconds."""


_NETWORK: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_WORK: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_OUTAGE: Final = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)

EXECUTION_DURATION: Final = "inngest.connect.execution.duration"
QUEUE_DURATION: Final = "inngest.connect.queue.duration"
HANDSHAKE_DURATION: Final = "inngest.connect.handshake.duration"
HEARTBEAT_DURATION: Final = "inngest.connect.heartbeat.duration"
OUTAGE_DURATION: Final = "inngest.connect.outage.duration"

HISTOGRAMS: Final = {
    EXECUTION_DURATION: HistogramSpec("s", "Time that a function took, by its result", _WORK),
    QUEUE_DURATION: HistogramSpec("s", "From a request's arrival to the start", _WORK),
    HANDSHAKE_DURATION: HistogramSpec("s", "From the API call to a ready connection", _NETWORK),
    HEARTBEAT_DURATION: HistogramSpec("s", "Round trip of a heartbeat", _NETWORK),
    OUTAGE_DURATION: HistogramSpec("s", "Time without a connection, once it is over", _OUTAGE),
}

CONNECTION_STATE: Final = "inngest.connect.connection.state"
CONNECTIONS_OPENED: Final = "inngest.connect.connections.opened"
CONNECTIONS_LOST: Final = "inngest.connect.connections.lost"
REQUESTS_IN_FLIGHT: Final = "inngest.connect.requests.in_flight"
REQUESTS_LIMIT: Final = "inngest.connect.requests.limit"
SATURATION: Final = "inngest.connect.saturation"
OLDEST_RUNNING: Final = "inngest.connect.requests.oldest_running_age"
REQUESTS_RECEIVED: Final = "inngest.connect.requests.received"
REQUESTS_ACKNOWLEDGED: Final = "inngest.connect.requests.acknowledged"
REQUESTS_COMPLETED: Final = "inngest.connect.requests.completed"
REQUESTS_REFUSED: Final = "inngest.connect.requests.refused"
LEASES_EXTENDED: Final = "inngest.connect.leases.extended"
LEASES_LOST: Final = "inngest.connect.leases.lost"
REPLIES_DELIVERED: Final = "inngest.connect.replies.delivered"
REPLIES_LOST: Final = "inngest.connect.replies.lost"
REPLIES_UNACKNOWLEDGED: Final = "inngest.connect.replies.unacknowledged"
BUFFER_SIZE: Final = "inngest.connect.buffer.size"
LOOP_LAG: Final = "inngest.connect.loop.lag"
ERRORS: Final = "inngest.connect.errors"
RECORDS_DROPPED: Final = "inngest.connect.records.dropped"

OBSERVABLES: Final = {
    CONNECTION_STATE: ObservableSpec(
        Kind.UP_DOWN, "{worker}", "1 for the state that the worker is in, else 0"
    ),
    CONNECTIONS_OPENED: ObservableSpec(Kind.COUNTER, "{connection}", "Connections made"),
    CONNECTIONS_LOST: ObservableSpec(
        Kind.COUNTER, "{connection}", "Connections that ended before they were replaced"
    ),
    REQUESTS_IN_FLIGHT: ObservableSpec(
        Kind.UP_DOWN, "{request}", "Requests that are not delivered yet, by their progress"
    ),
    REQUESTS_LIMIT: ObservableSpec(
        Kind.UP_DOWN, "{request}", "Functions that may run at once; absent without a limit"
    ),
    SATURATION: ObservableSpec(
        Kind.GAUGE, "1", "Running and queued requests over the limit; absent without a limit"
    ),
    OLDEST_RUNNING: ObservableSpec(
        Kind.GAUGE, "s", "Since the start of the function that has run for the longest time"
    ),
    REQUESTS_RECEIVED: ObservableSpec(Kind.COUNTER, "{request}", "Requests received"),
    REQUESTS_ACKNOWLEDGED: ObservableSpec(Kind.COUNTER, "{request}", "Requests acknowledged"),
    REQUESTS_COMPLETED: ObservableSpec(
        Kind.COUNTER, "{request}", "Requests answered, by function and status"
    ),
    REQUESTS_REFUSED: ObservableSpec(
        Kind.COUNTER, "{request}", "Requests for an app or function that is not here"
    ),
    LEASES_EXTENDED: ObservableSpec(Kind.COUNTER, "{lease}", "Extensions granted"),
    LEASES_LOST: ObservableSpec(Kind.COUNTER, "{lease}", "Leases lost before the request ended"),
    REPLIES_DELIVERED: ObservableSpec(
        Kind.COUNTER, "{reply}", "Replies that the server has stored, by the way they took"
    ),
    REPLIES_LOST: ObservableSpec(Kind.COUNTER, "{reply}", "Replies given up"),
    REPLIES_UNACKNOWLEDGED: ObservableSpec(
        Kind.UP_DOWN, "{reply}", "Replies that the server has not stored yet"
    ),
    BUFFER_SIZE: ObservableSpec(Kind.UP_DOWN, "By", "Size of the unacknowledged replies"),
    LOOP_LAG: ObservableSpec(Kind.GAUGE, "s", "How late an event loop is"),
    ERRORS: ObservableSpec(Kind.COUNTER, "{error}", "Error events, by kind"),
    RECORDS_DROPPED: ObservableSpec(
        Kind.COUNTER, "{record}", "Log records and events that a blocked receiver did not get"
    ),
}

COUNTERS: Final = frozenset(n for n, spec in OBSERVABLES.items() if spec.kind is Kind.COUNTER)
HIGHEST: Final = frozenset({SATURATION, OLDEST_RUNNING, LOOP_LAG})
"""Of several workers the highest value counts; all others are added up."""

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
