"""Tracing: a span around each execution, below the span that caused the request.

The parent comes with the request, as W3C trace context inside JSON. It is remote text: whatever is
wrong with it makes a span without a parent. Without a tracer provider a request costs one look-up.
"""

import json
import re
from collections.abc import Coroutine
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..core.messages import ExecutionResult
from ..core.remote_text import clean, shortened_id
from ..protocol import connect_pb2 as pb
from .providers import global_tracer_provider

Running = Coroutine[Any, Any, ExecutionResult]

LONGEST: Final = 8 * 1024
"""Bytes of a trace context that are looked at; a valid one has some hundred."""

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_PLAIN: Final = re.compile(r"[\t -~]{1,512}")
_SCOPE: Final = "inngest_connect"


class Tracing:
    """``around`` on the loop that runs the functions."""

    def __init__(self, tracer_provider: trace.TracerProvider | None = None) -> None:
        """``tracer_provider`` None is the global one, even if it is configured later.

        Raises ConfigurationError when the environment names a global one that cannot be loaded.
        """
        provider = tracer_provider or global_tracer_provider()
        tracer = provider.get_tracer(_SCOPE)
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
        return _traced(tracer, request, running)


def _usable(tracer: trace.Tracer) -> trace.Tracer | None:
    return None if isinstance(tracer, trace.ProxyTracer | trace.NoOpTracer) else tracer


async def _traced(
    tracer: trace.Tracer, request: pb.GatewayExecutorRequestData, running: Running
) -> ExecutionResult:
    remote = remote_parent(request)
    # Never the span that start() was called in: that one is as old as the worker.
    parent = trace.INVALID_SPAN if remote is None else trace.NonRecordingSpan(remote)
    slug = clean(request.function_slug)
    span = tracer.start_span(
        f"process {slug}",
        trace.set_span_in_context(parent),
        trace.SpanKind.CONSUMER,
        _attributes(request, slug),
    )
    # The texts of exceptions are the user's, and may hold payload.
    with trace.use_span(span, True, record_exception=False, set_status_on_exception=False):
        try:
            result = await running
        except BaseException as error:
            _failed(span, type(error).__name__)
            raise
        status = pb.SDKResponseStatus.Name(result.status)
        span.set_attribute("inngest.request.status", status)
        if result.status == pb.SDKResponseStatus.ERROR:
            _failed(span, status)
    return result


def _failed(span: trace.Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(trace.Status(trace.StatusCode.ERROR))


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
