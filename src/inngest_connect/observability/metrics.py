"""Metrics: what one worker tells its OpenTelemetry instruments.

What the core counts anyway is read when somebody collects and costs nothing before. Only durations
are recorded as they happen; and what happens without being counted elsewhere is counted here, in
plain integers. Without an OpenTelemetry SDK a request costs well under a microsecond.
"""

from collections.abc import Callable
from typing import Final

from opentelemetry.metrics import MeterProvider

from ..core import events as seen
from ..state_machine import ConnectionState
from . import metric_table as table
from .debug_state import DebugState
from .instruments import Instruments, Values, instruments_of
from .metric_table import OTHER, Labels
from .providers import global_meter_provider

Series = tuple[str, Labels]
"""The name of an instrument and the labels of one of its series."""

_STATES: Final = tuple(
    (state, (("state", state.value),))
    for state in ConnectionState
    if state is not ConnectionState.PAUSED  # reserved, and never entered
)
_LOST_REPLIES: Final = {
    "reply_evicted": "evicted",
    "reply_refused": "refused",
    "reply_undelivered": "undelivered",
}
_SOCKET: Final[Series] = (table.REPLIES_DELIVERED, (("via", "socket"),))
_FLUSH: Final[Series] = (table.REPLIES_DELIVERED, (("via", "flush"),))
_LEASES_LOST: Final[Series] = (table.LEASES_LOST, ())
_REFUSED: Final[Series] = (table.REQUESTS_REFUSED, ())
_NO_LABELS: Final[dict[str, str]] = {}


def _lost(reason: str) -> Series:
    return table.CONNECTIONS_LOST, (("reason", reason),)


def _reply_lost(reason: str) -> Series:
    return table.REPLIES_LOST, (("reason", reason),)


_FROM_THE_START: Final = (
    # Series exist before the first event: a rate needs a value before and one after.
    _SOCKET,
    _FLUSH,
    _LEASES_LOST,
    _REFUSED,
    *(_lost(reason) for reason in sorted(table.LOSS_REASONS)),
    *(_reply_lost(reason) for reason in _LOST_REPLIES.values()),
)


class _Tally:
    """A count that is at hand where it is counted: looking a series up costs ten times as much."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Metrics:
    """``count`` where it happens, ``record`` after it on a thread that may block."""

    def __init__(
        self, state: Callable[[], DebugState], meter_provider: MeterProvider | None = None
    ) -> None:
        """``meter_provider`` None is the global one, even if it is configured later."""
        self._state = state
        self._provider = meter_provider
        self._tallies: dict[Series, _Tally] = {series: _Tally() for series in _FROM_THE_START}
        self._by_socket = self._tallies[_SOCKET]
        self._by_flush = self._tallies[_FLUSH]
        self._functions: dict[str, dict[str, str]] = {}
        """Labels by slug, of functions that were started: nobody else may become a label."""
        self._completions: dict[tuple[str, str], tuple[_Tally, dict[str, str]]] = {}
        self._blamed: tuple[str | None, str] = ("", "")
        self._instruments: Instruments = instruments_of(meter_provider)
        histograms = self._instruments.histograms
        self._queue = histograms[table.QUEUE_DURATION].record
        self._execution = histograms[table.EXECUTION_DURATION].record
        self._heartbeat = histograms[table.HEARTBEAT_DURATION].record
        self._handshake = histograms[table.HANDSHAKE_DURATION].record
        self._outage = histograms[table.OUTAGE_DURATION].record
        self._counts: dict[type[seen.Event], Callable[..., None]] = {
            seen.RequestStarted: self._request_started,
            seen.RequestCompleted: self._request_completed,
            seen.ReplyAcknowledged: self._reply_acknowledged,
            seen.Disconnected: self._disconnected,
            seen.LeaseLost: self._lease_lost,
            seen.ErrorOccurred: self._error_occurred,
        }
        self._records: dict[type[seen.Event], Callable[..., None]] = {
            seen.RequestStarted: self._record_queue,
            seen.RequestCompleted: self._record_execution,
            seen.HeartbeatAnswered: self._record_heartbeat,
            seen.Connected: self._record_handshake,
        }
        self._instruments.attach(self)

    def close(self) -> None:
        """The worker has ended, or is of no interest any more: leave only its counts behind."""
        self._instruments.detach(self)

    def observe(self, event: seen.Event) -> None:
        """Count and measure one event, with a provider that does not block."""
        self.count(event)
        self.measure(event)

    def count(self, observation: seen.Event) -> None:
        """Count one observation. On the thread that observes: it only adds to integers."""
        count = self._counts.get(type(observation))
        if count is not None:
            count(observation)

    def collected(self) -> bool:
        """Whether durations reach anybody: the providers of OpenTelemetry's API itself, which are
        in use as long as no SDK is set up, keep nothing."""
        provider = self._provider if self._provider is not None else global_meter_provider()
        return not type(provider).__module__.startswith("opentelemetry.metrics")

    def measure(self, observation: seen.Event) -> None:
        """Record the durations of an observation that was counted: calls the user's provider."""
        record = self._records.get(type(observation))
        if record is not None:
            record(observation)

    # --- as it happens ---------------------------------------------------------------------

    def _request_started(self, started: seen.RequestStarted) -> None:
        if started.function_slug not in self._functions:
            self._functions[started.function_slug] = {"function": started.function_slug}

    def _request_completed(self, completed: seen.RequestCompleted) -> None:
        known = self._completions.get((completed.function_slug, completed.status))
        if known is None:
            if completed.function_slug not in self._functions:
                # It was refused and never ran: its slug is remote text.
                self._tally(_completed(OTHER, completed.status)).count += 1
                return
            known = self._remember(completed.function_slug, completed.status)
        known[0].count += 1

    def _remember(self, function: str, status: str) -> "tuple[_Tally, dict[str, str]]":
        series = _completed(function, status)
        known = self._completions[function, status] = self._tally(series), dict(series[1])
        return known

    def _tally(self, series: Series) -> "_Tally":
        return self._tallies.setdefault(series, _Tally())

    def _reply_acknowledged(self, acknowledged: seen.ReplyAcknowledged) -> None:
        tally = self._by_socket if acknowledged.via == "socket" else self._by_flush
        tally.count += 1

    def _disconnected(self, ended: seen.Disconnected) -> None:
        if ended.expected:
            return
        blamed, kind = self._blamed
        ours = kind if blamed == ended.connection_id else None
        self._tally(_lost(ours or table.loss_reason(ended.code, ended.reason))).count += 1

    def _lease_lost(self, _: seen.LeaseLost) -> None:
        self._tally(_LEASES_LOST).count += 1

    def _error_occurred(self, error: seen.ErrorOccurred) -> None:
        kind = error.kind
        self._tally((table.ERRORS, (("kind", kind),))).count += 1
        if kind in (table.SILENT, table.VIOLATION):
            # Our own decision to drop the connection; its end follows and looks like any other.
            self._blamed = error.connection_id, kind
        elif kind in _LOST_REPLIES:
            self._tally(_reply_lost(_LOST_REPLIES[kind])).count += 1
        elif kind == "request_refused":
            self._tally(_REFUSED).count += 1

    # --- what calls the provider -------------------------------------------------------------

    def _record_queue(self, started: seen.RequestStarted) -> None:
        labels = self._functions.get(started.function_slug)
        if labels is not None:
            self._queue(started.queued_seconds, labels)

    def _record_execution(self, completed: seen.RequestCompleted) -> None:
        known = self._completions.get((completed.function_slug, completed.status))
        if known is not None:
            self._execution(completed.seconds, known[1])

    def _record_heartbeat(self, answered: seen.HeartbeatAnswered) -> None:
        self._heartbeat(answered.round_trip, _NO_LABELS)

    def _record_handshake(self, connected: seen.Connected) -> None:
        self._handshake(connected.handshake_seconds, _NO_LABELS)
        if connected.outage_seconds is not None:
            self._outage(connected.outage_seconds, _NO_LABELS)

    # --- when somebody collects ------------------------------------------------------------

    def values(self) -> Values:
        """Everything that can be read later. May be called from any thread."""
        values = readings(self._state())
        for (name, labels), tally in self._tallies.copy().items():
            values.setdefault(name, {})[labels] = tally.count
        return values


def readings(state: DebugState) -> Values:
    """What a snapshot says."""
    counters = state.counters
    values: Values = {
        table.CONNECTION_STATE: {labels: int(state.state is one) for one, labels in _STATES},
        table.CONNECTIONS_OPENED: {(): counters.get("connections", 0)},
        table.REQUESTS_RECEIVED: {(): counters.get("requests_received", 0)},
        table.REQUESTS_ACKNOWLEDGED: {(): counters.get("requests_acknowledged", 0)},
        table.LEASES_EXTENDED: {(): counters.get("lease_extensions", 0)},
        table.REQUESTS_IN_FLIGHT: {
            (("progress", "running"),): state.running,
            (("progress", "queued"),): state.queued,
            (("progress", "answered"),): state.unacknowledged_replies,
        },
        table.OLDEST_RUNNING: {(): state.oldest_running_age or 0.0},
        table.REPLIES_UNACKNOWLEDGED: {(): state.unacknowledged_replies},
        table.BUFFER_SIZE: {(): state.buffer_bytes},
        table.RECORDS_DROPPED: {(): counters.get("records_dropped", 0)},
        table.LOOP_LAG: {
            (("loop", "connection"),): state.io_loop_lag,
            (("loop", "caller"),): state.caller_loop_lag,
        },
    }
    limit = state.max_worker_concurrency
    if limit is not None:
        values[table.REQUESTS_LIMIT] = {(): limit}
        values[table.SATURATION] = {(): (state.running + state.queued) / limit}
    return values


def _completed(function: str, status: str) -> Series:
    return table.REQUESTS_COMPLETED, (("function", function), ("status", status))
