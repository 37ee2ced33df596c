"""Metrics: what one worker reports to the instruments of one OpenTelemetry meter provider.

Counts and gauges are read when the provider collects, and cost nothing before. Only durations are
passed on as they are measured.
"""

from collections.abc import Callable
from typing import Final

from opentelemetry.metrics import MeterProvider

from ..core import events as seen
from ..state_machine import ConnectionState
from . import metric_table as table
from .debug_state import DebugState
from .event_counts import EventCounts
from .instruments import instruments_of
from .metric_table import Values
from .providers import global_meter_provider

_STATES: Final = tuple(
    (state, (("state", state.value),))
    for state in ConnectionState
    if state is not ConnectionState.PAUSED  # reserved, and never entered
)
_NO_LABELS: Final[dict[str, str]] = {}


class Metrics:
    """``measure`` belongs to one thread, which the provider may block."""

    def __init__(
        self,
        counts: EventCounts,
        state: Callable[[], DebugState],
        meter_provider: MeterProvider | None = None,
    ) -> None:
        """``meter_provider`` None is the global one, even if it is configured later."""
        self._counts = counts
        self._state = state
        self._provider = meter_provider
        self._instruments = instruments_of(meter_provider)
        self._instruments.attach(self)

    def close(self) -> None:
        """The worker has ended, or is not observed any more: leave only its counts behind."""
        self._instruments.detach(self)

    def collected(self) -> bool:
        """Whether durations reach anyone.

        The providers of OpenTelemetry's API itself, which are in use as long as no SDK is set up,
        keep nothing.
        """
        provider = self._provider if self._provider is not None else global_meter_provider()
        return not type(provider).__module__.startswith("opentelemetry.metrics")

    def measure(self, event: seen.Event) -> None:
        """Pass the durations of an event to the histograms, which calls the user's provider."""
        histograms = self._instruments.histograms
        match event:
            case seen.RequestStarted(function_slug=function):
                labels = {"function": function}
                histograms[table.QUEUE_DURATION].record(event.queued_seconds, labels)
            case seen.RequestCompleted(function_slug=function, status=status):
                if function in self._counts.started:
                    labels = {"function": function, "status": status}
                    histograms[table.EXECUTION_DURATION].record(event.seconds, labels)
            case seen.HeartbeatAnswered(round_trip=seconds):
                histograms[table.HEARTBEAT_DURATION].record(seconds, _NO_LABELS)
            case seen.Connected(handshake_seconds=seconds, outage_seconds=outage):
                histograms[table.HANDSHAKE_DURATION].record(seconds, _NO_LABELS)
                if outage is not None:
                    histograms[table.OUTAGE_DURATION].record(outage, _NO_LABELS)

    def values(self) -> Values:
        """Everything that can be read later. May be called from any thread."""
        return {**readings(self._state()), **self._counts.values()}


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
        table.OLDEST_REPLY: {(): state.oldest_reply_age or 0.0},
        table.CHILD_PROCESSES: {
            (): sum(each.status != "STARTING" for each in state.child_processes)
        },
        table.REPLIES_UNACKNOWLEDGED: {(): state.unacknowledged_replies},
        table.BUFFER_SIZE: {(): state.buffer_bytes},
        table.REQUESTS_RECOVERED: {
            (("left", "reply"),): counters.get("recovered_replies", 0),
            (("left", "request"),): counters.get("recovered_requests", 0),
        },
        table.JOURNAL_ENTRIES: {(): state.journal_entries},
        table.JOURNAL_LAG: {(): state.journal_lag},
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
