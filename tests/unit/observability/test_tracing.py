"""Tracing: whose child an execution's span is, and its attributes."""

import asyncio
import json
from typing import Any

import pytest
from opentelemetry import trace

from inngest_connect.core.wire.messages import ExecutionResult
from inngest_connect.errors import ConfigurationError
from inngest_connect.observability.tracing import Tracing, remote_parent
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import executor_request

trace_sdk = pytest.importorskip("opentelemetry.sdk.trace")
export = pytest.importorskip("opentelemetry.sdk.trace.export")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")

pytestmark = pytest.mark.unit

USER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SYSTEM = "00-11111111111111111111111111111111-2222222222222222-01"
STATUS = pb.SDKResponseStatus


class Spans:
    """A provider of its own and the spans that have ended."""

    def __init__(self) -> None:
        self.exporter = memory.InMemorySpanExporter()
        self.provider = trace_sdk.TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(export.SimpleSpanProcessor(self.exporter))

    def only(self) -> Any:
        (span,) = self.exporter.get_finished_spans()
        return span


@pytest.fixture
def spans() -> Spans:
    return Spans()


def request(user: bytes = b"", system: bytes = b"") -> pb.GatewayExecutorRequestData:
    made = executor_request("app", "app-fn", {"secret": "payload"}, request_id="r1", run_id="run1")
    made.user_trace_ctx, made.system_trace_ctx = user, system
    return made


def context(traceparent: str, **more: Any) -> bytes:
    return json.dumps({"traceparent": traceparent, **more}).encode()


async def returning(status: Any = STATUS.DONE) -> ExecutionResult:
    return ExecutionResult(status, b'"payload"')


async def test_the_span_is_a_child_of_the_requests_and_says_what_ran(spans: Spans) -> None:
    tracing = Tracing(spans.provider)

    await tracing.around(request(context(USER, tracestate="a=1"), context(SYSTEM)), returning())

    span = spans.only()
    assert (span.name, span.kind) == ("process app-fn", trace.SpanKind.CONSUMER)
    assert f"{span.context.trace_id:032x}" == USER.split("-")[1]
    assert f"{span.parent.span_id:016x}" == USER.split("-")[2]
    assert span.parent.is_remote
    assert span.parent.trace_state.get("a") == "1"
    assert span.attributes["inngest.app.name"] == "app"
    assert span.attributes["inngest.function.slug"] == "app-fn"
    assert span.attributes["inngest.request.id"] == "r1"
    assert span.attributes["inngest.run.id"] == "run1"
    assert span.attributes["inngest.request.status"] == "DONE"
    assert span.status.status_code is trace.StatusCode.UNSET


async def test_without_a_context_of_the_user_the_systems_is_the_parent(spans: Spans) -> None:
    for user in (b"", b"{}", b"null", context("nonsense")):
        await Tracing(spans.provider).around(request(user, context(SYSTEM)), returning())

    parents = {f"{s.parent.span_id:016x}" for s in spans.exporter.get_finished_spans()}
    assert parents == {SYSTEM.split("-")[2]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"5",
        b'"text"',
        b"[]",
        b"{",
        b"\xff\xfe\x00",
        b"[" * 8000,
        b"9" * 8000,
        b"x" * 9000,
        context(USER, filler="x" * 9000),
        context("00-0-0-0"),
        context("00-00000000000000000000000000000000-0000000000000000-00"),
        context("\ud800" + USER),
        b'{"traceparent": 5}',
        b'{"traceparent": ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]}',
    ],
)
def test_a_context_that_is_none_is_ignored(data: bytes) -> None:
    assert remote_parent(request(data, data)) is None


def test_a_tracestate_that_is_none_costs_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    for state in (5, "x" * 600, "a\nb", "\u2028"):
        found = remote_parent(request(context(USER, tracestate=state)))
        assert found is not None
        assert not found.trace_state
    assert not caplog.records


async def test_a_span_without_a_remote_parent_is_no_child_of_the_callers(spans: Spans) -> None:
    with spans.provider.get_tracer("t").start_as_current_span("all of the program"):
        await Tracing(spans.provider).around(request(), returning())

    first = spans.exporter.get_finished_spans()[0]
    assert (first.name, first.parent) == ("process app-fn", None)


async def test_the_function_sees_the_span_and_the_caller_does_not_afterwards(spans: Spans) -> None:
    current: list[int] = []

    async def run() -> ExecutionResult:
        current.append(trace.get_current_span().get_span_context().span_id)
        return await returning()

    await Tracing(spans.provider).around(request(context(USER)), run())

    assert current == [spans.only().context.span_id]
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_an_error_marks_the_span_and_steps_do_not(spans: Spans) -> None:
    tracing = Tracing(spans.provider)

    await tracing.around(request(), returning(STATUS.NOT_COMPLETED))
    await tracing.around(request(), returning(STATUS.ERROR))

    step, error = spans.exporter.get_finished_spans()
    assert step.status.status_code is trace.StatusCode.UNSET
    assert step.attributes["inngest.request.status"] == "NOT_COMPLETED"
    assert error.status.status_code is trace.StatusCode.ERROR
    assert error.attributes["error.type"] == "ERROR"


async def test_what_escapes_is_raised_and_only_its_type_is_recorded(spans: Spans) -> None:
    async def fail() -> ExecutionResult:
        raise ValueError("canary: payload in an exception")

    with pytest.raises(ValueError, match="canary"):
        await Tracing(spans.provider).around(request(), fail())

    span = spans.only()
    assert span.attributes["error.type"] == "ValueError"
    assert span.status.status_code is trace.StatusCode.ERROR
    assert "canary" not in span.to_json()


async def test_a_cancelled_execution_ends_its_span_and_stays_cancelled(spans: Spans) -> None:
    begun = asyncio.Event()

    async def forever() -> ExecutionResult:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(Tracing(spans.provider).around(request(), forever()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert spans.only().attributes["error.type"] == "CancelledError"


async def test_without_a_provider_nothing_is_wrapped_until_one_is_configured(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", None)
    unconfigured, disabled = Tracing(), Tracing(trace.NoOpTracerProvider())
    running = returning()

    assert unconfigured.around(request(), running) is running
    assert disabled.around(request(), running) is running
    await running
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", spans.provider)
    await unconfigured.around(request(), returning())
    await unconfigured.around(request(), returning())

    assert len(spans.exporter.get_finished_spans()) == 2


def test_a_global_provider_that_cannot_be_loaded_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", None)
    monkeypatch.setenv("OTEL_PYTHON_TRACER_PROVIDER", "none-of-that-name")

    with pytest.raises(ConfigurationError, match=r"OTEL_PYTHON_TRACER_PROVIDER.*none-of-that-name"):
        Tracing()
