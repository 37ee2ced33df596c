"""A tracer or a meter that raises costs a span or a figure, never an execution."""

import asyncio
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

from inngest_connect import ConfigurationError, ErrorOccurred, connect
from tests.errors.faulty import faulty
from tests.integration.demo_apps import make_app

pytestmark = pytest.mark.field
LIMIT = 20.0


class Leave(BaseException):
    def __str__(self) -> str:
        raise SystemExit(3)


class BadSpan(trace.NonRecordingSpan):
    """``raises`` is the method that does."""

    def __init__(self, raises: str, error: type[BaseException]) -> None:
        super().__init__(trace.INVALID_SPAN_CONTEXT)
        self._raises, self._error = raises, error

    def _strike(self, name: str) -> None:
        if name == self._raises:
            raise self._error

    def set_attribute(self, *_: Any, **__: Any) -> None:
        self._strike("set_attribute")

    def set_status(self, *_: Any, **__: Any) -> None:
        self._strike("set_status")

    def end(self, *_: Any, **__: Any) -> None:
        self._strike("end")


class BadTracer(trace.TracerProvider, trace.Tracer):
    def __init__(self, raises: str, error: type[BaseException]) -> None:
        self._raises, self._error = raises, error

    def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:
        if self._raises == "get_tracer":
            raise self._error
        return self

    def start_span(self, *_: Any, **__: Any) -> trace.Span:
        if self._raises == "start_span":
            raise self._error
        return BadSpan(self._raises, self._error)

    start_as_current_span: Any = start_span


class BadProcessor(SpanProcessor):
    def on_start(self, span: Span, parent_context: Any = None) -> None:
        """Nothing."""

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("the exporter is broken")


def broken_processor() -> trace.TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(BadProcessor())
    return provider


PROVIDERS = {
    "start_span": lambda: BadTracer("start_span", RuntimeError),
    "start_span exits": lambda: BadTracer("start_span", SystemExit),
    "start_span cannot be shown": lambda: BadTracer("start_span", Leave),
    "set_attribute": lambda: BadTracer("set_attribute", RuntimeError),
    "end": lambda: BadTracer("end", RuntimeError),
    "end interrupts": lambda: BadTracer("end", KeyboardInterrupt),
    "processor": broken_processor,
}


@pytest.mark.parametrize("isolation", ["thread", "none"])
@pytest.mark.parametrize("name", PROVIDERS)
async def test_what_a_tracer_raises_is_reported_once_and_every_run_goes_on(
    name: str, isolation: str
) -> None:
    errors: list[ErrorOccurred] = []
    async with faulty() as it:
        options = {"tracer_provider": PROVIDERS[name](), "isolation": isolation}
        async with it.worker(**options, on={"error": errors.append}):
            outputs = [
                (await asyncio.wait_for(it.gateway.invoke("app-echo"), LIMIT)).status
                for _ in range(3)
            ]

    assert outputs == ["completed"] * 3
    named = [error.message for error in errors if "tracer provider raised" in error.message]
    assert len(named) == 1


async def test_a_failed_run_stays_failed_with_a_tracer_that_raises() -> None:
    async with faulty() as it, it.worker(tracer_provider=BadTracer("set_status", RuntimeError)):
        failed = await asyncio.wait_for(it.gateway.invoke("app-final"), LIMIT)

    assert failed.status == "failed"
    assert (failed.error or {})["name"] != "RuntimeError"


class BadMeter(metrics.MeterProvider):
    def __init__(self, raises: str) -> None:
        self._raises = raises

    def get_meter(self, *_: Any, **__: Any) -> metrics.Meter:
        if self._raises == "get_meter":
            raise OSError("no exporter")
        meter: Any = metrics.NoOpMeter("of this test")

        def create(*_: Any, **__: Any) -> Any:
            raise OSError("no exporter")

        setattr(meter, self._raises, create)
        return meter  # type: ignore[no-any-return]


@pytest.mark.parametrize("raises", ["get_meter", "create_histogram", "create_observable_counter"])
def test_a_meter_provider_that_gives_no_instruments_is_refused(raises: str) -> None:
    app = make_app("http://127.0.0.1:9")

    with pytest.raises(ConfigurationError, match=r"is of type BadMeter, .*no exporter"):
        connect([app.pair], meter_provider=BadMeter(raises))


def test_a_tracer_provider_that_gives_no_tracer_is_refused() -> None:
    app = make_app("http://127.0.0.1:9")

    with pytest.raises(ConfigurationError, match=r"tracer_provider is of type BadTracer.*OSError"):
        connect([app.pair], tracer_provider=BadTracer("get_tracer", OSError))
