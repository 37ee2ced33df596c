"""The metrics of one worker as Prometheus text, through OpenTelemetry's own exporter.

Provider and registry are private: the program's global meter provider and the registry that
``prometheus_client`` keeps for the process do not change.
"""

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ..observability.metric_table import HISTOGRAMS

if TYPE_CHECKING:
    from ..connection import WebSocketWorkerConnection


class PrometheusMetrics:
    """Create it before the worker is started: durations are measured from its construction on."""

    def __init__(self, worker: "WebSocketWorkerConnection") -> None:
        self._registry = CollectorRegistry()
        self._provider = MeterProvider(
            [_reader(self._registry)],
            Resource.get_empty(),
            shutdown_on_exit=False,
            views=[_view(name, spec.buckets) for name, spec in HISTOGRAMS.items()],
        )
        self._metrics = worker.create_metrics(self._provider)
        # On the thread that observes. It does not block: this provider has no exporter, and its
        # reader holds its lock only while it copies numbers.
        self._remove_counter = worker.add_counter(self._metrics.measure)
        self._closed = False

    def render(self) -> tuple[bytes, str]:
        """Return the text and its content type. From any thread."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def close(self) -> None:
        """Stop counting. May be repeated."""
        if not self._closed:
            self._closed = True
            self._remove_counter()
            self._metrics.close()
            self._provider.shutdown()


def _view(instrument: str, buckets: Sequence[float]) -> View:
    """The buckets of a histogram; older APIs do not take them when an instrument is created."""
    return View(instrument_name=instrument, aggregation=ExplicitBucketHistogramAggregation(buckets))


def _reader(registry: CollectorRegistry) -> PrometheusMetricReader:
    known = inspect.signature(PrometheusMetricReader).parameters
    if "registry" not in known:
        return _OlderReader(registry)
    options: dict[str, Any] = {"scope_info_enabled": False}
    options = {name: value for name, value in options.items() if name in known}
    return PrometheusMetricReader(disable_target_info=True, registry=registry, **options)


class _OlderReader(PrometheusMetricReader):
    """Older exporters use the process's registry only: move the collector to a private one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(disable_target_info=True)
        self._private_registry = registry
        REGISTRY.unregister(self._collector)
        registry.register(self._collector)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._private_registry.unregister(self._collector)
