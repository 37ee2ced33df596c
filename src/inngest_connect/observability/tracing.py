"""Tracing: a span around each execution, below the span that caused the request.

The parent comes with the request, as W3C trace context inside JSON. It is remote text: whatever is
wrong with it makes a span without a parent. Without a tracer provider a request costs one look-up.

A provider, its processors and its exporters are code of the program, so that each call into them
can raise. That costs a span, never the execution, whose result may already be there.
"""

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..core.wire.messages import ExecutionResult
from ..core.wire.remote_text import clean, shortened_id
from ..core.wire.user_text import class_name, shown_error
from ..protocol import connect_pb2 as pb
from .providers import global_tracer_provider, unusable_provider

Running = Coroutine[Any, Any, ExecutionResult]

LONGEST: Final = 8 * 1024
"""Bytes of a trace context that are looked at; a valid one has some hundred."""

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_PLAIN: Final = re.compile(r"[\t -~]{1,512}")
_SCOPE: Final = "inngest_connect"


class Tracing:
    """``around`` on the loop that runs the functions."""

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``tracer_provider`` None is the global one, even if it is configured later.

        ``report`` gets what the provider raises, once. Raises ConfigurationError when the provider
        gives no tracer, or the environment names a global one that cannot be loaded.
        """
        self._report = report
        self._reported = False
        provider = global_tracer_provider() if tracer_provider is None else tracer_provider
        try:
            tracer = provider.get_tracer(_SCOPE)
        except Exception as error:
            raise unusable_provider("tracer_provider", provider, error) from error
        self._unconfigured = provider if isinstance(tracer, trace.ProxyTracer) else None
        self._tracer = _usable(tracer)

    def around(self, request: pb.GatewayExecutorRequestData, running: Running) -> Running:
        """``running`` within a span; ``running`` itself when nobody collects spans."""
        tracer = self._tracer
        if tracer is None:
            if self._unconfigured is None:
                return running
            # Asked for each request, because the program may configure one at any time. Until then
            # the answer stands in for a real tracer, and get_tracer_provider() costs thrice this.
            found = self._unconfigured.get_tracer(_SCOPE)
            if isinstance(found, trace.ProxyTracer):
                return running
            self._unconfigured = None
            tracer = self._tracer = _usable(found)
            if tracer is None:
                return running
        return self._traced(tracer, request, running)

    async def _traced(
        self, tracer: trace.Tracer, request: pb.GatewayExecutorRequestData, running: Running
    ) -> ExecutionResult:
        try:
            span = _start(tracer, request)
            token = contexts.attach(trace.set_span_in_context(span))
        except BaseException as error:  # noqa: BLE001 - of the program's provider
            self._failed(error)
            return await running
        # The texts of exceptions are the user's, and may hold payload.
        failure: str | None = None
        attributes: dict[str, str] = {}
        try:
            result = await running
            status = pb.SDKResponseStatus.Name(result.status)
            attributes["inngest.request.status"] = status
            failure = status if result.status == pb.SDKResponseStatus.ERROR else None
            return result
        except BaseException as error:
            failure = class_name(error)
            raise
        finally:
            contexts.detach(token)  # which logs what it raises
            try:
                _end(span, failure, attributes)
            except BaseException as error:  # noqa: BLE001 - of the program's provider
                self._failed(error)

    def _failed(self, error: BaseException) -> None:
        if not self._reported:
            self._reported = True
            self._report(
                f"the tracer provider raised {shown_error(error)}; executions go on without spans"
            )


def _usable(tracer: trace.Tracer) -> trace.Tracer | None:
    return None if isinstance(tracer, trace.ProxyTracer | trace.NoOpTracer) else tracer


def _start(tracer: trace.Tracer, request: pb.GatewayExecutorRequestData) -> trace.Span:
    remote = remote_parent(request)
    # Never the span that start() was called in: that one is as old as the worker.
    parent = trace.INVALID_SPAN if remote is None else trace.NonRecordingSpan(remote)
    slug = clean(request.function_slug)
    return tracer.start_span(
        f"process {slug}",
        trace.set_span_in_context(parent),
        trace.SpanKind.CONSUMER,
        _attributes(request, slug),
    )


def _end(span: trace.Span, failure: str | None, attributes: Mapping[str, str]) -> None:
    for name, value in attributes.items():
        span.set_attribute(name, value)
    if failure is not None:
        span.set_attribute("error.type", failure)
        span.set_status(trace.Status(trace.StatusCode.ERROR))
    span.end()


def _attributes(request: pb.GatewayExecutorRequestData, slug: str) -> dict[str, str]:
    request_id = shortened_id(request.request_id)
    return {
        "messaging.system": "inngest",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": slug,
        "messaging.message.id": request_id,
        "inngest.app.name": clean(request.app_name),
        "inngest.function.slug": slug,
        "inngest.request.id": request_id,
        "inngest.run.id": shortened_id(request.run_id),
    }


def remote_parent(request: pb.GatewayExecutorRequestData) -> trace.SpanContext | None:
    """The span that the user's context names, else the system's; None without a valid one."""
    for data in (request.user_trace_ctx, request.system_trace_ctx):
        context = _PROPAGATOR.extract(_carrier(data), Context())
        found = trace.get_current_span(context).get_span_context()
        if found.is_valid:
            return found
    return None


def _carrier(data: bytes) -> dict[str, str]:
    if not data or len(data) > LONGEST:
        return {}
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(fields, dict):
        return {}
    found = {name: fields.get(name) for name in ("traceparent", "tracestate")}
    return {n: v for n, v in found.items() if isinstance(v, str) and _PLAIN.fullmatch(v)}
