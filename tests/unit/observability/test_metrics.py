"""Metrics: what events and snapshots become, collected with the OpenTelemetry SDK."""

import dataclasses
import gc
import inspect
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.metrics import Meter, NoOpMeterProvider

from inngest_connect.core import events as seen
from inngest_connect.core.retry import ScheduleRetry
from inngest_connect.core.settings import CoreSettings, WorkerIdentity
from inngest_connect.core.worker_core import WorkerCore
from inngest_connect.errors import ConfigurationError
from inngest_connect.observability import metric_table
from inngest_connect.observability.debug_state import ChildProcess, DebugState, snapshot
from inngest_connect.observability.event_counts import EventCounts
from inngest_connect.observability.metrics import Metrics, readings
from inngest_connect.state_machine import ConnectionState as S

metrics_sdk = pytest.importorskip("opentelemetry.sdk.metrics")
export = pytest.importorskip("opentelemetry.sdk.metrics.export")

pytestmark = pytest.mark.unit

Points = dict[tuple[tuple[str, Any], ...], Any]


class Worker:
    """A worker's snapshot, which a test changes, and how often it was taken."""

    def __init__(self, **fields: Any) -> None:
        identity = WorkerIdentity(
            instance_id="i", apps=(), capabilities=b"{}", sdk_language="py", sdk_version="1",
            framework="connect",
        )  # fmt: skip
        core = WorkerCore(identity, CoreSettings(), ScheduleRetry(), lambda: 0.5)
        self.now = dataclasses.replace(snapshot(core, 0.0), **fields)
        self.taken = 0

    def state(self) -> DebugState:
        self.taken += 1
        return self.now


class Collector:
    """A provider of its own and what it would export."""

    def __init__(self) -> None:
        self.reader = export.InMemoryMetricReader()
        self.provider = metrics_sdk.MeterProvider([self.reader], shutdown_on_exit=False)

    def collect(self) -> dict[str, Points]:
        data = self.reader.get_metrics_data()
        found: dict[str, Points] = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = found.setdefault(metric.name, {})
                    for point in metric.data.data_points:
                        points[tuple(sorted(point.attributes.items()))] = point
        return found

    def value(self, name: str, **labels: str) -> Any:
        point = self.collect().get(name, {}).get(tuple(sorted(labels.items())))
        return None if point is None else getattr(point, "value", None)


class Observed(Metrics):
    """Counts and measures, as a worker does with each event."""

    def __init__(self, state: Callable[[], DebugState], provider: Any = None) -> None:
        super().__init__(EventCounts(), state, provider)

    def observe(self, event: seen.Event) -> None:
        self._counts.count(event)
        self.measure(event)


@pytest.fixture
def collector() -> Collector:
    return Collector()


def started(function: str = "app-fn") -> seen.RequestStarted:
    return seen.RequestStarted("r", "run", function, 0.2)


def completed(function: str = "app-fn", status: str = "DONE") -> seen.RequestCompleted:
    return seen.RequestCompleted("r", "run", function, status, 1.5, 0.2)


def lost(code: int, reason: str, connection_id: str = "c") -> seen.Disconnected:
    return seen.Disconnected(connection_id, "group", code, reason, expected=False)


def test_a_request_is_counted_and_timed_by_function_and_status(collector: Collector) -> None:
    metrics = Observed(Worker().state, collector.provider)

    for event in (started(), completed(), started(), completed(status="ERROR")):
        metrics.observe(event)

    found = collector.collect()
    done = (("function", "app-fn"), ("status", "DONE"))
    assert found[metric_table.REQUESTS_COMPLETED][done].value == 1
    execution = found[metric_table.EXECUTION_DURATION]
    assert (execution[done].count, execution[done].sum) == (1, 1.5)
    assert len(execution) == 2
    queue = found[metric_table.QUEUE_DURATION][(("function", "app-fn"),)]
    assert (queue.count, queue.sum) == (2, pytest.approx(0.4))


def test_failures_are_counted_by_function(collector: Collector) -> None:
    metrics = Observed(Worker().state, collector.provider)

    metrics.observe(started())
    for function in ("app-fn", "app-fn", "whatever-a-gateway-sends"):
        metrics.observe(seen.FunctionFailed("r", "run", function, "ValueError", "ValueError: no"))

    assert collector.value(metric_table.FUNCTIONS_FAILED, function="app-fn") == 2
    assert collector.value(metric_table.FUNCTIONS_FAILED, function="_OTHER") == 1


def test_durations_have_buckets_in_seconds(collector: Collector) -> None:
    metrics = Observed(Worker().state, collector.provider)
    if not _has_advice():
        pytest.skip("this API cannot say which buckets suit an instrument")

    metrics.observe(seen.HeartbeatAnswered("c", 0.02))

    point = collector.collect()[metric_table.HEARTBEAT_DURATION][()]
    wanted = metric_table.HISTOGRAMS[metric_table.HEARTBEAT_DURATION].buckets
    assert tuple(point.explicit_bounds) == wanted


def _has_advice() -> bool:
    parameters = inspect.signature(Meter.create_histogram).parameters
    return "explicit_bucket_boundaries_advisory" in parameters


def test_a_refused_request_has_neither_its_slug_nor_a_duration_in_the_metrics(
    collector: Collector,
) -> None:
    metrics = Observed(Worker().state, collector.provider)

    metrics.observe(seen.ErrorOccurred("request_refused", "no such function", "r"))
    metrics.observe(completed("whatever-a-gateway-sends", "ERROR"))

    found = collector.collect()
    other = (("function", "_OTHER"), ("status", "ERROR"))
    assert set(found[metric_table.REQUESTS_COMPLETED]) == {other}
    assert found[metric_table.REQUESTS_REFUSED][()].value == 1
    assert metric_table.EXECUTION_DURATION not in found


def test_the_state_is_one_series_for_each_state(collector: Collector) -> None:
    worker = Worker(state=S.DRAINING_RECONNECTING)
    metrics = Observed(worker.state, collector.provider)

    points = collector.collect()[metric_table.CONNECTION_STATE]

    by_state = {dict(labels)["state"]: point.value for labels, point in points.items()}
    assert by_state.pop("DRAINING_RECONNECTING") == 1
    assert set(by_state.values()) == {0}
    assert set(by_state) == {"CONNECTING", "ACTIVE", "RECONNECTING", "CLOSING", "CLOSED"}
    assert metrics is not None


def test_saturation_is_running_and_queued_over_the_limit(collector: Collector) -> None:
    worker = Worker(max_worker_concurrency=4, running=4, queued=2, unacknowledged_replies=7)
    metrics = Observed(worker.state, collector.provider)

    assert collector.value(metric_table.SATURATION) == 1.5
    assert collector.value(metric_table.REQUESTS_LIMIT) == 4
    assert collector.value(metric_table.REQUESTS_IN_FLIGHT, progress="answered") == 7

    worker.now = dataclasses.replace(worker.now, max_worker_concurrency=None)

    assert collector.value(metric_table.SATURATION) is None
    assert collector.value(metric_table.REQUESTS_LIMIT) is None
    assert metrics is not None


@pytest.mark.parametrize(
    ("code", "reason", "label"),
    [
        (1001, "connect_gateway_closing", "gateway_closing"),
        (1001, "", "going_away"),
        (1006, "canary: remote text", "abnormal"),
        (1008, "connect_authentication_failed", "authentication_failed"),
        (1008, "canary: remote text", "refused"),
        (1011, "connect_internal_error", "internal_error"),
        (4999, "canary: remote text", "_OTHER"),
    ],
)
def test_a_lost_connection_is_counted_by_a_reason_of_a_closed_set(
    collector: Collector, code: int, reason: str, label: str
) -> None:
    metrics = Observed(Worker().state, collector.provider)

    metrics.observe(lost(code, reason))

    points = collector.collect()[metric_table.CONNECTIONS_LOST]
    counted = {dict(labels)["reason"] for labels, point in points.items() if point.value}
    assert counted == {label}
    assert {dict(labels)["reason"] for labels in points} == metric_table.LOSS_REASONS


def test_a_silent_gateway_is_distinguished_from_a_broken_connection(collector: Collector) -> None:
    metrics = Observed(Worker().state, collector.provider)

    metrics.observe(seen.ErrorOccurred("gateway_silent", "two heartbeats", connection_id="c1"))
    metrics.observe(lost(1006, "two heartbeats", "c1"))
    metrics.observe(lost(1006, "", "c2"))
    metrics.observe(dataclasses.replace(lost(1000, "", "c3"), expected=True))

    assert collector.value(metric_table.CONNECTIONS_LOST, reason="gateway_silent") == 1
    assert collector.value(metric_table.CONNECTIONS_LOST, reason="abnormal") == 1
    assert collector.value(metric_table.CONNECTIONS_LOST, reason="closed") == 0


def test_replies_leases_and_errors_are_counted(collector: Collector) -> None:
    metrics = Observed(Worker().state, collector.provider)
    for event in (
        seen.ReplyAcknowledged("a", "socket"),
        seen.ReplyAcknowledged("b", "flush"),
        seen.ReplyAcknowledged("c", "flush"),
        seen.LeaseLost("d", "run", "app-fn"),
        seen.ErrorOccurred("reply_evicted", "the buffer is full"),
        seen.Connected("c", "group", 0.1, outage_seconds=3.0),
        seen.StateChanged(S.CONNECTING, S.ACTIVE),
    ):
        metrics.observe(event)

    assert collector.value(metric_table.REPLIES_DELIVERED, via="socket") == 1
    assert collector.value(metric_table.REPLIES_DELIVERED, via="flush") == 2
    assert collector.value(metric_table.LEASES_LOST) == 1
    assert collector.value(metric_table.REPLIES_LOST, reason="evicted") == 1
    assert collector.value(metric_table.REPLIES_LOST, reason="refused") == 0
    assert collector.value(metric_table.ERRORS, kind="reply_evicted") == 1
    assert collector.collect()[metric_table.OUTAGE_DURATION][()].sum == 3.0


def test_errors_that_an_alert_is_about_have_a_series_before_the_first(
    collector: Collector,
) -> None:
    """A first sample of 1 is no increase: the alert would miss what happens once."""
    metrics = Observed(Worker().state, collector.provider)

    before = collector.collect()[metric_table.ERRORS]
    metrics.observe(seen.ErrorOccurred("journal_damaged", "not a database"))

    assert {labels: point.value for labels, point in before.items()} == {
        (("kind", "child_process_died"),): 0,
        (("kind", "journal_damaged"),): 0,
        (("kind", "journal_slow"),): 0,
        (("kind", "journal_unavailable"),): 0,
        (("kind", "loop_blocked"),): 0,
    }
    assert collector.value(metric_table.ERRORS, kind="journal_damaged") == 1


def test_one_collection_takes_one_snapshot_and_the_next_a_new_one(collector: Collector) -> None:
    worker = Worker(running=1)
    metrics = Observed(worker.state, collector.provider)

    first = collector.value(metric_table.REQUESTS_IN_FLIGHT, progress="running")
    worker.now = dataclasses.replace(worker.now, running=2)
    second = collector.value(metric_table.REQUESTS_IN_FLIGHT, progress="running")

    assert (first, second, worker.taken) == (1, 2, 2)
    assert metrics is not None


def test_workers_of_one_provider_add_up_and_the_worst_lag_counts(collector: Collector) -> None:
    one = Worker(running=1, io_loop_lag=0.5, counters={"requests_received": 3})
    two = Worker(running=2, io_loop_lag=0.1, counters={"requests_received": 4})
    both = [Observed(worker.state, collector.provider) for worker in (one, two)]

    for metrics in both:
        metrics.observe(seen.ReplyAcknowledged("r", "socket"))

    assert collector.value(metric_table.REQUESTS_RECEIVED) == 7
    assert collector.value(metric_table.REQUESTS_IN_FLIGHT, progress="running") == 3
    assert collector.value(metric_table.REPLIES_DELIVERED, via="socket") == 2
    assert collector.value(metric_table.LOOP_LAG, loop="connection") == 0.5


def test_a_closed_worker_leaves_its_counts_and_nothing_else(collector: Collector) -> None:
    worker = Worker(running=1, counters={"requests_received": 3})
    metrics = Observed(worker.state, collector.provider)

    metrics.close()
    metrics.close()

    found = collector.collect()
    assert found[metric_table.REQUESTS_RECEIVED][()].value == 3
    assert metric_table.CONNECTION_STATE not in found
    assert metric_table.REQUESTS_IN_FLIGHT not in found
    assert metric_table.LOOP_LAG not in found


def test_instruments_keep_no_worker_alive(collector: Collector) -> None:
    worker = Worker()
    metrics = Observed(worker.state, collector.provider)
    forgotten = weakref.ref(worker)
    assert collector.value(metric_table.BUFFER_SIZE) == 0

    del worker, metrics
    gc.collect()

    assert forgotten() is None
    assert metric_table.BUFFER_SIZE not in collector.collect()


def test_without_a_provider_everything_is_accepted_and_nothing_kept() -> None:
    metrics = Observed(Worker().state)

    for event in (started(), completed(), seen.HeartbeatAnswered("c", 0.1)):
        metrics.observe(event)

    metrics.close()


def test_a_global_provider_that_cannot_be_loaded_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise StopIteration

    monkeypatch.setenv("OTEL_PYTHON_METER_PROVIDER", "none-of-that-name")
    monkeypatch.setattr("opentelemetry.metrics.get_meter_provider", fail)

    with pytest.raises(ConfigurationError, match=r"OTEL_PYTHON_METER_PROVIDER.*none-of-that-name"):
        Observed(Worker().state)


def test_durations_are_recorded_with_an_sdk_and_not_with_the_api_alone() -> None:
    worker, collector = Worker(), Collector()

    with_sdk = Observed(worker.state, collector.provider)
    without = Observed(worker.state, NoOpMeterProvider())
    with_nothing_set_up = Observed(worker.state)

    assert with_sdk.collected()
    assert not without.collected()
    assert not with_nothing_set_up.collected()


def test_each_reading_of_a_snapshot_goes_to_its_own_series() -> None:
    worker = Worker(
        running=2, queued=3, unacknowledged_replies=5, oldest_running_age=7.5, buffer_bytes=11,
        oldest_reply_age=31.0,
        child_processes=tuple(ChildProcess(1, 0, 0, each) for each in ("STARTING", "SERVING")),
        io_loop_lag=0.25, caller_loop_lag=0.5, max_worker_concurrency=4,
        counters={
            "connections": 13, "requests_received": 17, "requests_acknowledged": 19,
            "lease_extensions": 23, "records_dropped": 29,
        },
    )  # fmt: skip

    values = readings(worker.now)

    def of(name: str, *labels: tuple[str, str]) -> float:
        return values[name][labels]

    assert of(metric_table.REQUESTS_IN_FLIGHT, ("progress", "running")) == 2
    assert of(metric_table.REQUESTS_IN_FLIGHT, ("progress", "queued")) == 3
    assert of(metric_table.REQUESTS_IN_FLIGHT, ("progress", "answered")) == 5
    assert of(metric_table.OLDEST_RUNNING) == 7.5
    assert of(metric_table.REPLIES_UNACKNOWLEDGED) == 5
    assert of(metric_table.BUFFER_SIZE) == 11
    assert of(metric_table.OLDEST_REPLY) == 31.0
    assert of(metric_table.CHILD_PROCESSES) == 1
    assert of(metric_table.LOOP_LAG, ("loop", "connection")) == 0.25
    assert of(metric_table.LOOP_LAG, ("loop", "caller")) == 0.5
    assert of(metric_table.REQUESTS_LIMIT) == 4
    assert of(metric_table.SATURATION) == 1.25
    assert of(metric_table.CONNECTIONS_OPENED) == 13
    assert of(metric_table.REQUESTS_RECEIVED) == 17
    assert of(metric_table.REQUESTS_ACKNOWLEDGED) == 19
    assert of(metric_table.LEASES_EXTENDED) == 23
    assert of(metric_table.RECORDS_DROPPED) == 29


def test_only_a_connection_that_ends_an_outage_has_its_duration(collector: Collector) -> None:
    metrics = Observed(Worker().state, collector.provider)

    metrics.observe(seen.Connected("c1", "g", 0.5, None))
    first = collector.collect()
    metrics.observe(seen.Connected("c2", "g", 0.5, 3.0))
    second = collector.collect()

    assert metric_table.OUTAGE_DURATION not in first
    assert second[metric_table.OUTAGE_DURATION][()].sum == 3.0
    assert second[metric_table.HANDSHAKE_DURATION][()].count == 2


def test_two_providers_read_the_same_counts_and_each_has_its_own_durations() -> None:
    one, other, worker, counts = Collector(), Collector(), Worker(), EventCounts()
    both = [Metrics(counts, worker.state, collector.provider) for collector in (one, other)]

    counts.count(started())
    counts.count(completed())
    both[0].measure(started())

    labels = {"function": "app-fn", "status": "DONE"}
    assert one.value(metric_table.REQUESTS_COMPLETED, **labels) == 1
    assert other.value(metric_table.REQUESTS_COMPLETED, **labels) == 1
    assert metric_table.QUEUE_DURATION in one.collect()
    assert metric_table.QUEUE_DURATION not in other.collect()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("reply_evicted", "evicted"),
        ("reply_refused", "refused"),
        ("reply_undelivered", "undelivered"),
    ],
)
def test_a_lost_reply_is_counted_by_its_reason(
    kind: str, reason: str, collector: Collector
) -> None:
    metrics = Observed(Worker().state, collector.provider)

    metrics.observe(seen.ErrorOccurred(kind, "text", "r"))

    points = collector.collect()[metric_table.REPLIES_LOST]
    counted = {dict(labels)["reason"]: point.value for labels, point in points.items()}
    assert counted == {"evicted": 0, "refused": 0, "undelivered": 0, reason: 1}
