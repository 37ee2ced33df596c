"""Tracing: a span around each execution, below the span that caused the request.

The parent comes with the request, as W3C trace context inside JSON. It is remote text: whatever is
wrong with it makes a span without a parent. Without a tracer provider a request costs one look-up.

A provider, its processors and its exporters are code of the program, so that each call into them
can raise. That costs a span, never the execution, whose result may already be there.
"""

import json
import re
from collections.abc import Callable, Coroutine
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
"""Bytes of a trace context that are parsed; a valid one has some hundred."""

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_PLAIN: Final = re.compile(r"[\t -~]{1,512}")
_SCOPE: Final = "inngest_connect"


class Tracing:
    """``around`` belongs to the loop that runs the functions."""

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        on_failure: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``tracer_provider`` None is the global one, even if it is configured later.

        ``on_failure`` gets what the provider raises, once. Raises ConfigurationError when the
        provider gives no tracer, or the environment names a global one that cannot be loaded.
        """
        self._on_failure = on_failure
        self._has_failed = False
        provider = global_tracer_provider() if tracer_provider is None else tracer_provider
        try:
            tracer = provider.get_tracer(_SCOPE)
        except Exception as error:
            raise unusable_provider("tracer_provider", provider, error) from error
        self._unconfigured = provider if isinstance(tracer, trace.ProxyTracer) else None
        self._tracer = _usable(tracer)

    def around(self, request: pb.GatewayExecutorRequestData, running: Running) -> Running:
        """``running`` within a span; ``running`` itself when nothing collects spans."""
        if self._unconfigured is not None:
            # Asked for each request, because the program may configure one at any time. Until then
            # the answer stands in for a real tracer, and get_tracer_provider() costs thrice this.
            found = self._unconfigured.get_tracer(_SCOPE)
            if isinstance(found, trace.ProxyTracer):
                return running
            self._unconfigured = None
            self._tracer = _usable(found)
        return running if self._tracer is None else self._traced(self._tracer, request, running)

    async def _traced(
        self, tracer: trace.Tracer, request: pb.GatewayExecutorRequestData, running: Running
    ) -> ExecutionResult:
        try:
            span = _start(tracer, request)
            token = contexts.attach(trace.set_span_in_context(span))
        except BaseException as error:  # noqa: BLE001 - of the program's provider
            self._failed(error)
            return await running
        # The texts of exceptions are the user's, and may hold payload: a span gets the class only.
        status: str | None = None
        failure: str | None = None
        try:
            result = await running
            status = pb.SDKResponseStatus.Name(result.status)
            failure = status if result.status == pb.SDKResponseStatus.ERROR else None
            return result
        except BaseException as error:
            failure = class_name(error)
            raise
        finally:
            contexts.detach(token)  # which logs what it raises
            try:
                if status is not None:
                    span.set_attribute("inngest.request.status", status)
                if failure is not None:
                    span.set_attribute("error.type", failure)
                    span.set_status(trace.Status(trace.StatusCode.ERROR))
                span.end()
            except BaseException as error:  # noqa: BLE001 - of the program's provider
                self._failed(error)

    def _failed(self, error: BaseException) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._on_failure(
                f"the tracer provider raised {shown_error(error)}; executions go on without spans"
            )


def _usable(tracer: trace.Tracer) -> trace.Tracer | None:
    return None if isinstance(tracer, trace.ProxyTracer | trace.NoOpTracer) else tracer


def _start(tracer: trace.Tracer, request: pb.GatewayExecutorRequestData) -> trace.Span:
    remote = remote_parent(request)
    # Never the span that start() was called in: that one is as old as the worker.
    parent = trace.INVALID_SPAN if remote is None else trace.NonRecordingSpan(remote)
    slug, request_id = clean(request.function_slug), shortened_id(request.request_id)
    attributes = {
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
    context = trace.set_span_in_context(parent)
    return tracer.start_span(f"process {slug}", context, trace.SpanKind.CONSUMER, attributes)


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
