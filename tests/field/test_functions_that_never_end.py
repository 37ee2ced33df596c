"""A function that never ends is reported by name and age, and so is a worker without a slot."""

import asyncio
import threading

import inngest
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from inngest_connect import connect
from inngest_connect.core.events import ErrorOccurred
from inngest_connect.testing import EmbeddedGateway

pytestmark = pytest.mark.field

LIMIT = 15.0
OLDEST = "inngest.connect.requests.oldest_running_age"


def oldest(reader: InMemoryMetricReader) -> float:
    data = reader.get_metrics_data()
    assert data is not None
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if metric.name == OLDEST:
                    return float(next(iter(metric.data.data_points)).value)  # type: ignore[attr-defined]
    raise AssertionError(f"no {OLDEST}")


@pytest.mark.scenario("N")
@pytest.mark.parametrize("isolation", ["thread", "none"])
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_function_that_never_ends_is_reported(kind: str, isolation: str) -> None:
    released = threading.Event()
    released_async = asyncio.Event()
    errors: asyncio.Queue[ErrorOccurred] = asyncio.Queue()
    reader = InMemoryMetricReader()
    async with EmbeddedGateway(heartbeat_interval="1s") as gateway:
        client = gateway.client("app")
        trigger = inngest.TriggerEvent(event="x")

        @client.create_function(fn_id="stuck", trigger=trigger, retries=0)
        async def stuck(ctx: inngest.Context) -> str:
            await released_async.wait()
            return "done"

        @client.create_function(fn_id="stuck-sync", trigger=trigger, retries=0)
        def stuck_sync(ctx: inngest.ContextSync) -> str:
            released.wait()
            return "done"

        worker = connect(
            [(client, [stuck, stuck_sync])],
            shutdown_signals=[],
            logger=False,
            isolation=isolation,  # type: ignore[arg-type]
            max_worker_concurrency=1,
            long_running_warning=0.2,
            meter_provider=MeterProvider([reader]),
            on={"error": errors.put_nowait},
        )
        running = asyncio.create_task(worker.start())
        await gateway.wait_for_worker()
        name = "app-stuck" if kind == "async" else "app-stuck-sync"
        call = asyncio.create_task(gateway.invoke(name))
        try:
            reported: dict[str, ErrorOccurred] = {}
            async with asyncio.timeout(LIMIT):
                while not {"function_long_running", "no_free_slot"} <= reported.keys():
                    error = await errors.get()
                    reported.setdefault(error.kind, error)
            state = worker.get_debug_state()
            age = oldest(reader)
        finally:
            released.set()
            released_async.set()
        result = await asyncio.wait_for(call, LIMIT)
        await asyncio.wait_for(worker.close(), LIMIT)
        await asyncio.wait_for(running, LIMIT)

    for error in reported.values():
        assert error.function_slug == name
        assert error.run_id
        assert not error.fatal
    assert age >= 0.2
    assert (state.oldest_running_age or 0.0) >= 0.2
    assert (state.saturated_age or 0.0) >= 0.2
    assert result.output == "done"
    assert worker.get_debug_state().oldest_running_age is None
