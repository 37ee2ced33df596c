"""Metrics and traces of a worker on a real gateway."""

import asyncio
import threading
from typing import Any

import inngest
import pytest
from opentelemetry import trace

from inngest_connect import ConnectionState, RequestCompleted, connect
from inngest_connect.observability import metric_table as table
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import EmbeddedGateway, executor_request
from tests.integration.demo_apps import make_app, make_client

trace_sdk = pytest.importorskip("opentelemetry.sdk.trace")
span_export = pytest.importorskip("opentelemetry.sdk.trace.export")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
metrics_sdk = pytest.importorskip("opentelemetry.sdk.metrics")
metric_export = pytest.importorskip("opentelemetry.sdk.metrics.export")

pytestmark = pytest.mark.integration
K = pb.GatewayMessageType

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
"""What EmbeddedGateway sends as the context of every request."""


@pytest.fixture
def exporter() -> Any:
    return memory.InMemorySpanExporter()


@pytest.fixture
def tracer_provider(exporter: Any) -> Any:
    provider = trace_sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(span_export.SimpleSpanProcessor(exporter))
    return provider


@pytest.fixture
def reader() -> Any:
    return metric_export.InMemoryMetricReader()


@pytest.fixture
def meter_provider(reader: Any) -> Any:
    return metrics_sdk.MeterProvider([reader], shutdown_on_exit=False)


def current() -> tuple[str, str]:
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


async def test_the_requests_trace_reaches_functions_threads_and_steps(
    exporter: Any, tracer_provider: Any
) -> None:
    seen: dict[str, tuple[str, str]] = {}
    async with EmbeddedGateway() as gateway:
        client = make_client(gateway.api_origin)

        @client.create_function(fn_id="async", trigger=inngest.TriggerEvent(event="a"))
        async def in_async(ctx: inngest.Context) -> None:
            async def step() -> None:
                seen["async step"] = current()

            seen["async"] = current()
            await ctx.step.run("one", step)

        @client.create_function(fn_id="sync", trigger=inngest.TriggerEvent(event="b"))
        def in_sync(ctx: inngest.ContextSync) -> None:
            def step() -> None:
                seen["sync step"] = current()

            seen["sync"] = current()
            ctx.step.run("one", step)

        worker = connect([(client, [in_async, in_sync])], tracer_provider=tracer_provider)
        async with worker:
            for function in (in_async, in_sync):
                assert (await gateway.invoke(function)).status == "completed"

    spans = {f"{s.context.span_id:016x}": s for s in exporter.get_finished_spans()}
    assert set(seen) == {"async", "async step", "sync", "sync step"}
    assert {trace_id for trace_id, _ in seen.values()} == {TRACE_ID}
    for where, (_, span_id) in seen.items():
        assert spans[span_id].attributes["inngest.function.slug"] == f"app-{where.split()[0]}"
    assert {f"{span.parent.span_id:016x}" for span in spans.values()} == {PARENT_ID}
    assert len(spans) == 4, "two requests for each function: one for the step, one for the end"


async def test_replies_echo_both_contexts_unchanged(tracer_provider: Any) -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([app.pair], tracer_provider=tracer_provider, wait=True):
            request = executor_request("app", "app-echo", {"name": "test/echo", "data": {}})
            request.user_trace_ctx = b'{"traceparent": "odd",  "kept": [1]}'
            request.system_trace_ctx = b'{ "system": "as it is" }'
            response = await gateway.store.dispatch(request)

    assert response.status == pb.SDKResponseStatus.DONE
    assert response.user_trace_ctx == request.user_trace_ctx
    assert response.system_trace_ctx == request.system_trace_ctx


async def test_a_worker_reports_to_the_users_provider_and_stops_when_closed(
    reader: Any, meter_provider: Any
) -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        worker = connect([app.pair], meter_provider=meter_provider, max_worker_concurrency=3)
        completed = threading.Event()
        worker.add_observer(  # called after the metrics, on the same thread
            lambda event: completed.set() if isinstance(event, RequestCompleted) else None
        )
        async with worker:
            await gateway.invoke(app.functions["echo"], {"data": {}})
            await gateway.wait_until_idle()
            assert await asyncio.to_thread(completed.wait, 10)
            running = collect(reader)
        assert worker.state is ConnectionState.CLOSED
        closed = collect(reader)

    assert running[table.CONNECTION_STATE][("state", "ACTIVE"),].value == 1
    assert running[table.REQUESTS_LIMIT][()].value == 3
    assert running[table.HANDSHAKE_DURATION][()].count == 1
    done = ("function", "app-echo"), ("status", "DONE")
    assert running[table.EXECUTION_DURATION][done].count == 1
    assert closed[table.REQUESTS_COMPLETED][done].value == 1
    assert closed[table.REPLIES_DELIVERED][("via", "socket"),].value == 1
    assert table.CONNECTION_STATE not in closed


async def test_no_payload_secret_or_remote_text_is_in_a_label_or_a_span(
    exporter: Any, tracer_provider: Any, reader: Any, meter_provider: Any
) -> None:
    canary, key = "canary", "signkey-test-" + "ab" * 32
    async with EmbeddedGateway(signing_keys=(key,)) as gateway:
        client = make_client(
            gateway.api_origin, is_production=True, signing_key=key, event_key=canary
        )

        @client.create_function(fn_id="leaky", trigger=inngest.TriggerEvent(event="l"), retries=0)
        async def leaky(ctx: inngest.Context) -> None:
            raise ValueError(f"{canary} {ctx.event.data}")

        worker = connect(
            [(client, [leaky])], tracer_provider=tracer_provider, meter_provider=meter_provider
        )
        refused, ended = asyncio.Event(), asyncio.Event()
        async with worker:
            await gateway.invoke(leaky, {"data": {canary: canary}})
            worker.add_event_listener("request_completed", lambda _: refused.set())
            unknown = executor_request(canary, canary, {}, request_id="r", run_id=canary)
            gateway.gateways[0].send_executor_request(unknown)
            await asyncio.wait_for(refused.wait(), 10)
            worker.add_event_listener("disconnected", lambda _: ended.set())
            gateway.gateways[0].close_connection(4000, canary)
            await asyncio.wait_for(ended.wait(), 10)
            metrics = collect(reader)
            hello = gateway.gateways[0].assert_message_received(K.WORKER_CONNECT)

    tokens = pb.WorkerConnectRequestData.FromString(hello.payload).auth_data
    labels = {name: list(points) for name, points in metrics.items()}
    exported = repr(labels) + "".join(s.to_json() for s in exporter.get_finished_spans())
    assert metrics[table.CONNECTIONS_LOST][("reason", "_OTHER"),].value == 1
    assert metrics[table.REQUESTS_REFUSED][()].value == 1
    assert "app-leaky" in exported
    for secret in (canary, key, "ab" * 32, tokens.session_token, tokens.sync_token):
        assert secret
        assert secret not in exported


def collect(reader: Any) -> dict[str, dict[tuple[tuple[str, Any], ...], Any]]:
    found: dict[str, dict[tuple[tuple[str, Any], ...], Any]] = {}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                points = found.setdefault(metric.name, {})
                for point in metric.data.data_points:
                    points[tuple(sorted(point.attributes.items()))] = point
    return found
