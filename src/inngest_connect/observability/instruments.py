"""The OpenTelemetry instruments: one set for each meter provider, shared by all workers on it.

They have to be shared, because the SDK keeps one instrument of a name and drops the callback of a
second. Workers that live in one process on one provider are therefore added up, and what a closed
worker has counted stays in the sums, so that no counter ever falls. Workers are held weakly.
"""

import functools
import inspect
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation

from .metric_table import COUNTERS, HIGHEST, HISTOGRAMS, OBSERVABLES, Kind, Labels, Values
from .providers import global_meter_provider, unusable_provider

SCOPE: Final = "inngest_connect"


class Source(Protocol):
    """A worker, as the instruments see it."""

    def values(self) -> Mapping[str, Mapping[Labels, float]]:
        """What is observable of it now. May be called from any thread."""
        ...


class Instruments:
    """``histograms`` are recorded to; everything else is read when somebody collects."""

    def __init__(self, meter: Meter) -> None:
        self._lock = threading.Lock()
        self._sources: weakref.WeakSet[Any] = weakref.WeakSet()
        self._closed: Values = {}
        self._values: Values = {}
        self._served: set[str] = set(OBSERVABLES)
        self.histograms: dict[str, Histogram] = {
            name: _histogram(meter, name, spec.unit, spec.description, spec.buckets)
            for name, spec in HISTOGRAMS.items()
        }
        create = {
            Kind.COUNTER: meter.create_observable_counter,
            Kind.UP_DOWN: meter.create_observable_up_down_counter,
            Kind.GAUGE: meter.create_observable_gauge,
        }
        for name, spec in OBSERVABLES.items():
            callback = functools.partial(self._observe, name)
            create[spec.kind](name, [callback], spec.unit, spec.description)

    def attach(self, source: Source) -> None:
        """Report this worker too, until it is detached or forgotten by everybody else."""
        with self._lock:
            self._sources.add(source)

    def detach(self, source: Source) -> None:
        """Report it no longer; only what it has counted stays in the sums."""
        with self._lock:
            if source in self._sources:
                self._sources.discard(source)
                counted = source.values()
                _merge(self._closed, {n: v for n, v in counted.items() if n in COUNTERS})

    def _observe(self, name: str, _: CallbackOptions) -> Iterable[Observation]:
        """A collection asks once for each name, so a name that returns begins the next one."""
        with self._lock:
            if name in self._served:
                self._served.clear()
                self._values = self._take()
            self._served.add(name)
            values = self._values.get(name, {})
        return [Observation(value, dict(labels)) for labels, value in values.items()]

    def _take(self) -> Values:
        taken: Values = {}
        _merge(taken, self._closed)
        for source in self._sources:
            _merge(taken, source.values())
        return taken


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
        return Instruments(provider.get_meter(SCOPE))
    except Exception as error:
        raise unusable_provider("meter_provider", provider, error) from error


def _merge(into: Values, values: Mapping[str, Mapping[Labels, float]]) -> None:
    for name, by_labels in values.items():
        mine = into.setdefault(name, {})
        for labels, value in by_labels.items():
            there = mine.get(labels)
            if there is None:
                mine[labels] = value
            else:
                mine[labels] = max(there, value) if name in HIGHEST else there + value


def _histogram(
    meter: Meter, name: str, unit: str, description: str, buckets: Sequence[float]
) -> Histogram:
    create: Any = meter.create_histogram
    advice = "explicit_bucket_boundaries_advisory"
    if advice in inspect.signature(create).parameters:  # the API has it since 1.30
        return create(name, unit, description, **{advice: buckets})  # type: ignore[no-any-return]
    return create(name, unit, description)  # type: ignore[no-any-return]
