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
from ..core.remote_text import clean
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
        if tracer_provider is None:
            global_tracer_provider()
        self._given = tracer_provider
        self._provider: trace.TracerProvider | None = None
        self._tracer: trace.Tracer | None = None

    def around(self, request: pb.GatewayExecutorRequestData, running: Running) -> Running:
        """``running`` within a span; ``running`` itself when nobody collects spans."""
        # Asked anew for each request, because the global provider may be set at any time.
        provider = self._given or trace.get_tracer_provider()
        if provider is not self._provider:
            self._provider = provider
            self._tracer = _usable_tracer(provider)
        tracer = self._tracer
        return running if tracer is None else _traced(tracer, request, running)


def _usable_tracer(provider: trace.TracerProvider) -> trace.Tracer | None:
    if isinstance(provider, trace.ProxyTracerProvider):  # stands in until one is configured
        return None
    tracer = provider.get_tracer(_SCOPE)
    return None if isinstance(tracer, trace.NoOpTracer) else tracer


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
    request_id = clean(request.request_id)
    return {
        "messaging.system": "inngest",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": slug,
        "messaging.message.id": request_id,
        "inngest.app.name": clean(request.app_name),
        "inngest.function.slug": slug,
        "inngest.request.id": request_id,
        "inngest.run.id": clean(request.run_id),
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
