"""The OpenTelemetry instruments: one set for each meter provider, shared by all workers on it.

They have to be shared, because the SDK keeps one instrument of a name and drops the callback of a
second. Workers of one process on one provider therefore become one (``Kind``), and what a closed
worker has counted stays in the sums, so that no counter ever falls. Workers are held weakly.
"""

import functools
import inspect
import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation

from .metric_table import HISTOGRAMS, OBSERVABLES, Kind, Labels, Values
from .providers import global_meter_provider, unusable_provider


class Source(Protocol):
    """A worker, as the instruments see it."""

    def values(self) -> Values:
        """What is observable of it now. May be called from any thread."""
        ...


class Instruments:
    """``histograms`` receive durations; everything else is read when a provider collects.

    Providers collect on a thread of theirs. Under the lock, a worker that closes meanwhile is
    counted once: as a source, or among the closed.
    """

    def __init__(self, meter: Meter) -> None:
        self._lock = threading.Lock()
        self._sources: weakref.WeakSet[Any] = weakref.WeakSet()
        self._closed: Values = {}
        self._values: Values = {}
        self._served: set[str] = set(OBSERVABLES)
        self.histograms: dict[str, Histogram] = {}
        create_histogram: Any = meter.create_histogram
        advice = "explicit_bucket_boundaries_advisory"
        can_advise = advice in inspect.signature(create_histogram).parameters  # since API 1.30
        for name, spec in HISTOGRAMS.items():
            buckets = {advice: spec.buckets} if can_advise else {}
            histogram = create_histogram(name, spec.unit, spec.description, **buckets)
            self.histograms[name] = histogram
        create = {
            Kind.COUNTER: meter.create_observable_counter,
            Kind.UP_DOWN: meter.create_observable_up_down_counter,
            Kind.GAUGE: meter.create_observable_gauge,
        }
        for name, spec in OBSERVABLES.items():
            callback = functools.partial(self._observe, name)
            create[spec.kind](name, [callback], spec.unit, spec.description)

    def attach(self, source: Source) -> None:
        """Include this worker until it is detached, or nothing else holds it."""
        with self._lock:
            self._sources.add(source)

    def detach(self, source: Source) -> None:
        """Include it no longer; only what it has counted stays in the sums."""
        with self._lock:
            if source in self._sources:
                self._sources.discard(source)
                values = source.values()
                counters = (n for n, spec in OBSERVABLES.items() if spec.kind is Kind.COUNTER)
                _merge(self._closed, {name: values.get(name, {}) for name in counters})

    def _observe(self, name: str, _: CallbackOptions) -> Iterable[Observation]:
        """A collection asks once for each name, so a name that returns begins the next one."""
        with self._lock:
            if name in self._served:
                self._served.clear()
                self._values = {}
                for values in (self._closed, *(source.values() for source in self._sources)):
                    _merge(self._values, values)
            self._served.add(name)
            values = self._values.get(name, {})
        return [Observation(value, dict(labels)) for labels, value in values.items()]


_lock: Final = threading.Lock()
_of_provider: Final[weakref.WeakKeyDictionary[MeterProvider, Instruments]] = (
    weakref.WeakKeyDictionary()
)
_of_global: list[Instruments] = []


def instruments_of(provider: MeterProvider | None) -> Instruments:
    """The set of a provider; None is the global one, which may be configured later.

    Raises ConfigurationError when the provider gives no instruments, or the environment names a
    global one that cannot be loaded.
    """
    configured = global_meter_provider()
    with _lock:
        if provider is None or provider is configured:
            if not _of_global:
                _of_global.append(_created(configured))
            return _of_global[0]
        known = _of_provider.get(provider)
        if known is None:
            known = _of_provider[provider] = _created(provider)
        return known


def _created(provider: MeterProvider) -> Instruments:
    try:
        return Instruments(provider.get_meter("inngest_connect"))
    except Exception as error:
        raise unusable_provider("meter_provider", provider, error) from error


def _merge(into: Values, values: Mapping[str, Mapping[Labels, float]]) -> None:
    for name, by_labels in values.items():
        highest = OBSERVABLES[name].kind is Kind.GAUGE
        mine = into.setdefault(name, {})
        for labels, value in by_labels.items():
            known = mine.get(labels, 0)
            mine[labels] = max(known, value) if highest else known + value
