"""The main path, end to end: real functions, real sockets, the gateway of the test kit."""

import asyncio
import json
import threading

import inngest
import pytest

from inngest_connect import ConnectionState, connect
from inngest_connect.protocol import FLUSH_PATH, START_PATH
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import EmbeddedGateway, executor_request
from tests.integration.demo_apps import make_app

K = pb.GatewayMessageType
pytestmark = pytest.mark.integration


@pytest.mark.scenario("23")
async def test_an_async_function_is_executed_on_the_callers_loop() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([app.pair], wait=True):
            result = await gateway.invoke("app-echo", {"data": {"answer": 42}})

    assert result.status == "completed"
    assert result.output == {"answer": 42}
    assert app.seen.threads["echo"] == threading.main_thread().name


@pytest.mark.scenario("25")
async def test_sync_functions_run_in_the_sdks_thread_pool() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([app.pair], wait=True):
            result = await gateway.invoke("app-sync")

    assert result.output == "from a thread"
    assert app.seen.threads["sync"] != threading.main_thread().name


@pytest.mark.scenario("23")
async def test_a_function_with_three_steps_runs_each_step_once() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([app.pair], wait=True):
            result = await gateway.invoke("app-steps")

    assert result.output == [2, 4, 8]
    assert result.requests == 4
    assert app.seen.calls["step"] == 3


async def test_a_failing_function_is_retried_until_it_succeeds() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([app.pair], wait=True):
            result = await gateway.invoke("app-flaky")

    assert (result.status, result.output, result.attempts) == ("completed", "at last", 3)


async def test_a_function_that_never_succeeds_fails_after_its_retries() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([app.pair], wait=True):
            result = await gateway.invoke("app-hopeless")

    assert (result.status, result.attempts) == ("failed", 2)
    assert result.error["message"] == "never"


async def test_an_error_that_must_not_be_retried_is_not() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([app.pair], wait=True):
            result = await gateway.invoke("app-final")

    assert (result.status, result.attempts) == ("failed", 1)


@pytest.mark.scenario("26", "29")
async def test_a_function_that_outlives_its_lease_several_times_is_executed_once() -> None:
    """The lease is half a second, the function takes four of them."""
    async with EmbeddedGateway(lease=0.5, extend_lease_interval="100ms") as gateway:
        app = make_app(gateway)
        async with connect([app.pair], wait=True):
            running = asyncio.create_task(gateway.invoke("app-wait"))
            await app.seen.started.wait()
            record = next(iter(gateway.ledger.records.values()))
            await gateway.store.until(lambda _: record.extensions >= 20)
            app.seen.release.set()
            result = await running

    assert result.output == "released"
    assert app.seen.calls["wait"] == 1
    assert gateway.ledger.lost == 0


@pytest.mark.scenario("N")
async def test_sys_exit_in_a_sync_function_is_that_functions_failure() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([app.pair], wait=True) as worker:
            result = await gateway.invoke("app-exits")
            after = await gateway.invoke("app-echo")

    assert (result.status, result.error["name"]) == ("failed", "SystemExit")
    assert after.status == "completed"
    assert worker.state is ConnectionState.CLOSED


@pytest.mark.scenario("1", "24")
async def test_the_conversation_has_the_documented_order() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([app.pair], wait=True):
            await gateway.invoke("app-echo")
        received = gateway.gateways[0].get_received_messages()

    kinds = [m.kind for m in received if m.kind != K.WORKER_HEARTBEAT]
    assert kinds == [
        K.WORKER_CONNECT,
        K.WORKER_READY,
        K.WORKER_REQUEST_ACK,
        K.WORKER_REPLY,
        K.WORKER_PAUSE,
    ]
    assert gateway.store.model.protocol_errors == []
    connection = gateway.gateways[0].connections[0]
    assert (connection.close_code, connection.close_reason) == (1000, "WORKER_SHUTDOWN")


@pytest.mark.scenario("1")
async def test_the_worker_introduces_itself_as_the_server_expects() -> None:
    """The content of each field."""
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway, env="branch-1")
        app.client._app_version = "v7"
        options = {"instance_id": "worker-7", "max_worker_concurrency": 3, "wait": True}
        async with connect([app.pair], **options):  # type: ignore[arg-type]
            received = gateway.gateways[0].assert_message_received(K.WORKER_CONNECT)
        start = gateway.http.assert_endpoint_called(START_PATH)

    hello = pb.WorkerConnectRequestData.FromString(received.payload)
    assert hello.instance_id == "worker-7"
    assert hello.max_worker_concurrency == 3
    assert (hello.framework, hello.sdk_language) == ("connect", "py")
    assert hello.environment == "branch-1"
    assert hello.worker_manual_readiness_ack is True
    assert hello.system_attributes.cpu_cores > 0
    assert hello.system_attributes.mem_bytes > 0
    assert hello.started_at.seconds > 1_700_000_000
    assert [a.app_name for a in hello.apps] == ["app"]
    assert hello.apps[0].app_version == "v7"
    assert {f["id"] for f in json.loads(hello.apps[0].functions)} >= {"app-echo", "app-steps"}
    assert start.headers["x-inngest-env"] == "branch-1"
    assert "authorization" not in start.headers


async def test_two_apps_share_one_connection() -> None:
    async with EmbeddedGateway() as gateway:
        first, second = make_app(gateway, "one"), make_app(gateway, "two")
        async with connect([first.pair, second.pair], wait=True):
            results = [await gateway.invoke(f"{app}-echo") for app in ("one", "two")]
        connections = len(gateway.gateways[0].connections)

    assert [r.status for r in results] == ["completed", "completed"]
    assert first.seen.calls["echo"] == second.seen.calls["echo"] == 1
    assert connections == 1


@pytest.mark.scenario("28")
@pytest.mark.skipif(
    "request_id" not in inngest.Context.__dataclass_fields__,
    reason="the contexts of this SDK have no ids",
)
async def test_the_ids_of_the_request_reach_the_function() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        call = executor_request("app", "app-echo", {"name": "e", "data": {}}, request_id="the-call")
        call.job_id = "the-job"
        async with connect([app.pair]):
            await gateway.wait_for_worker()
            await gateway.store.dispatch(call)

    assert app.seen.ids == [("the-call", "the-job")]


async def test_no_isolation_runs_everything_on_one_loop() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([app.pair], isolation="none", wait=True):
            names = {thread.name for thread in threading.enumerate()}
            result = await gateway.invoke("app-steps")

    assert "inngest-connect-io" not in names
    assert result.output == [2, 4, 8]


async def test_the_io_thread_has_ended_after_the_close() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([app.pair], wait=True):
            pass

    assert "inngest-connect-io" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.scenario("36", "37")
async def test_a_drain_moves_the_worker_without_anybody_noticing() -> None:
    async with EmbeddedGateway(lease=1.0, extend_lease_interval="200ms") as gateway:
        app = make_app(gateway)
        changes: list[object] = []
        async with connect([app.pair], on={"state_change": changes.append}, wait=True) as worker:
            running = asyncio.create_task(gateway.invoke("app-wait"))
            await app.seen.started.wait()
            before = worker.connection_id
            changes.clear()
            drained = await gateway.drain()
            await drained.connections[0].closed.wait()
            during = list(changes)
            app.seen.release.set()
            result = await running
            after = worker.connection_id
            states = [change.state.value for change in worker.get_state_history()]

    assert result.output == "released"
    assert before != after
    assert during == []
    assert states == ["ACTIVE", "DRAINING_RECONNECTING", "ACTIVE"]
    assert app.seen.calls["wait"] == 1
    assert gateway.ledger.duplicates == 0


@pytest.mark.scenario("O")
async def test_no_more_functions_run_concurrently_than_the_limit_allows() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([app.pair], max_worker_concurrency=2, wait=True) as worker:
            # Two workers' worth of requests, so that the gateway does not hold them back.
            for connection in gateway.store.model.connections.values():
                gateway.store.model.executor.capacity.connected(connection.instance, 0)
            runs = [asyncio.create_task(gateway.invoke("app-wait")) for _ in range(6)]
            await gateway.store.until(lambda model: model.ledger.acknowledged == 6)
            await app.seen.two_running.wait()
            queued = worker.get_debug_state().queued
            app.seen.release.set()
            results = await asyncio.gather(*runs)

    assert [r.output for r in results] == ["released"] * 6
    assert app.seen.most_running == 2
    assert queued == 4


@pytest.mark.scenario("G", "security-sizes")
async def test_a_reply_the_gateway_cannot_take_fails_that_request_alone() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([app.pair], wait=True) as worker:
            connection_id = worker.connection_id
            big = await gateway.invoke("app-big", {"data": {"size": 9 * 1024 * 1024}})
            small = await gateway.invoke("app-big", {"data": {"size": 10}})
            same = worker.connection_id == connection_id

    assert big.status == "failed"
    assert "8388592 bytes" in big.error["message"]
    assert big.attempts == 1
    assert small.output == "x" * 10
    assert same


async def test_large_replies_below_the_limit_pass() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([app.pair], wait=True):
            result = await gateway.invoke("app-big", {"data": {"size": 4 * 1024 * 1024}})

    assert len(result.output) == 4 * 1024 * 1024
    assert gateway.http.get_request_history(FLUSH_PATH) == []
