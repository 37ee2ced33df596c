"""Outages and refusals on real sockets, through fault proxies."""

import asyncio

import pytest

from inngest_connect import (
    AuthenticationError,
    ConnectionState,
    ErrorOccurred,
    FixedRetry,
    Reconnecting,
    StartupTimeout,
    WorkAbandoned,
    connect,
)
from inngest_connect.protocol import FLUSH_PATH, START_PATH
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import QUICK_TIMING, EmbeddedGateway
from tests.errors.faulty import faulty
from tests.integration.demo_apps import make_app

K = pb.GatewayMessageType
pytestmark = pytest.mark.errors

KEY, OTHER_KEY = ("signkey-test-" + pair * 32 for pair in ("ab", "cd"))


@pytest.mark.scenario("B")
async def test_a_worker_that_starts_while_the_api_is_away_connects_when_it_is_back() -> None:
    """The API or the gateway is away when the worker starts, and later."""
    async with faulty() as it:
        await it.api.refuse()
        failures: list[Reconnecting] = []
        errors: list[ErrorOccurred] = []
        enough = asyncio.Event()

        def failed(event: Reconnecting) -> None:
            failures.append(event)
            if len(failures) == 8:
                enough.set()

        worker = it.worker(on={"reconnecting": failed, "error": errors.append})
        started = asyncio.create_task(worker.start())
        await enough.wait()
        state_during = worker.state
        await it.api.restore()
        await worker.wait_for_state(ConnectionState.ACTIVE)
        result = await it.gateway.invoke("app-echo")
        await worker.close(wait=True)
        await started

    assert state_during is ConnectionState.CONNECTING
    assert result.status == "completed"
    assert {e.kind for e in errors} == {"start_failed"}
    assert f":{it.api.port}" in errors[0].message


async def test_a_worker_outlives_an_outage_of_both_api_and_gateway() -> None:
    """The official worker ends after five attempts."""
    async with faulty() as it, it.worker() as worker:
        tries = 0
        enough = asyncio.Event()

        def failed(_: Reconnecting) -> None:
            nonlocal tries
            tries += 1
            if tries >= 10:
                enough.set()

        worker.add_event_listener("reconnecting", failed)
        await it.api.refuse()
        await it.socket.refuse()
        it.socket.reset()
        await enough.wait()
        await it.api.restore()
        await it.socket.restore()
        await worker.wait_for_state(ConnectionState.ACTIVE)
        result = await it.gateway.invoke("app-echo")

    assert result.status == "completed"


@pytest.mark.scenario("3")
async def test_the_fallback_key_is_used_when_the_first_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INNGEST_SIGNING_KEY_FALLBACK", OTHER_KEY)
    production = {"is_production": True, "signing_key": KEY}
    async with faulty(signing_keys=(OTHER_KEY,), app_options=production) as it, it.worker():
        result = await it.gateway.invoke("app-echo")
        starts = it.gateway.http.get_request_history(START_PATH)

    assert result.status == "completed"
    assert [call.answered for call in starts] == [401, 200]


@pytest.mark.scenario("4")
async def test_start_raises_when_no_key_is_accepted() -> None:
    production = {"is_production": True, "signing_key": KEY, "env": "staging"}
    async with faulty(signing_keys=(OTHER_KEY,), app_options=production) as it:
        worker = it.worker()
        with pytest.raises(AuthenticationError) as caught:
            await worker.start()

    assert "***abab" in str(caught.value)
    assert "staging" in str(caught.value)
    assert KEY not in str(caught.value)
    assert worker.state is ConnectionState.CLOSED


async def test_keys_may_be_rotated_while_it_runs() -> None:
    """401 or 403 of the API on a later connection: keys are rotated."""
    async with faulty() as it, it.worker() as worker:
        it.gateway.http.simulate_auth_failure(times=6)
        it.socket.reset()
        await it.gateway.http.wait_for_request(START_PATH, count=8)
        await worker.wait_for_state(ConnectionState.ACTIVE)
        result = await it.gateway.invoke("app-echo")

    assert result.status == "completed"


@pytest.mark.scenario("5")
async def test_rate_limiting_is_waited_out_and_reported() -> None:
    async with faulty() as it:
        it.gateway.http.simulate_rate_limiting(times=1, retry_after=1)
        errors: list[ErrorOccurred] = []
        delays: list[float] = []
        listeners = {"error": errors.append, "reconnecting": lambda e: delays.append(e.delay)}
        async with it.worker(on=listeners):
            pass

    assert [e.kind for e in errors] == ["rate_limited"]
    assert len(delays) == 1
    assert 1.0 <= delays[0] <= 2.0


async def test_a_gateway_that_refuses_is_excluded() -> None:
    async with faulty() as it:
        await it.socket.refuse()
        refused = it.gateway.http.gateways[0].group
        failed = asyncio.Event()
        worker = it.worker(on={"reconnecting": lambda _: failed.set()})
        started = asyncio.create_task(worker.start())
        await failed.wait()
        other = await it.gateway.add_gateway()
        await worker.wait_for_state(ConnectionState.ACTIVE)
        await worker.close(wait=True)
        await started
        starts = [r.start_request() for r in it.gateway.http.get_request_history(START_PATH)]

    assert list(starts[0].exclude_gateways) == []
    assert all(list(start.exclude_gateways) == [refused] for start in starts[1:])
    assert len(other.connections) == 1


@pytest.mark.scenario("6")
async def test_a_handshake_that_stalls_is_given_up_and_tried_again() -> None:
    """SYNC_FAILED, or a handshake that stalls."""
    async with faulty() as it:
        it.socket.black_hole()
        errors: list[ErrorOccurred] = []
        stalled = asyncio.Event()

        def note(event: ErrorOccurred) -> None:
            errors.append(event)
            stalled.set()

        worker = it.worker(on={"error": note})
        started = asyncio.create_task(worker.start())
        await stalled.wait()
        await it.socket.restore()
        it.socket.reset()
        await worker.wait_for_state(ConnectionState.ACTIVE)
        await worker.close(wait=True)
        await started

    assert errors[0].kind in ("connection_failed", "gateway_silent")


@pytest.mark.scenario("13", "34")
async def test_a_function_goes_on_while_its_socket_dies_and_its_reply_arrives() -> None:
    """The socket dies with functions in flight."""
    async with faulty() as it, it.worker() as worker:
        running = asyncio.create_task(it.gateway.invoke("app-wait"))
        await it.app.seen.started.wait()
        (record,) = it.gateway.ledger.records.values()
        first = worker.connection_id
        it.socket.reset()
        await it.gateway.store.until(lambda model: not model.connections)
        await it.gateway.wait_for_worker()
        extensions = record.extensions
        await it.gateway.store.until(lambda _: record.extensions >= extensions + 3)
        it.app.seen.release.set()
        result = await running

    assert result.output == "released"
    assert it.app.seen.calls["wait"] == 1
    assert worker.connection_id != first
    assert it.gateway.ledger.lost == it.gateway.ledger.duplicates == 0


@pytest.mark.scenario("47")
async def test_a_reply_that_is_ready_during_an_outage_is_flushed() -> None:
    """The socket dies with functions in flight and does not come back."""
    async with faulty() as it, it.worker():
        result = await it.run_through_an_outage()

    assert result.output == "released"
    assert it.gateway.ledger.flushed == 1
    assert it.app.seen.calls["wait"] == 1


@pytest.mark.scenario("E")
async def test_a_vanished_peer_is_noticed_by_its_silence() -> None:
    """Nothing is received for three intervals."""
    # The gateway waits for five intervals, and would otherwise be the first to give up.
    async with faulty(heartbeat_interval="1s") as it, it.worker() as worker:
        running = asyncio.create_task(it.gateway.invoke("app-wait"))
        await it.app.seen.started.wait()
        errors: list[ErrorOccurred] = []
        worker.add_event_listener("error", errors.append)
        lost = asyncio.Event()
        worker.add_event_listener("disconnected", lambda _: lost.set())
        it.socket.black_hole()
        await lost.wait()
        it.socket.reset()
        await it.socket.restore()
        await worker.wait_for_state(ConnectionState.ACTIVE)
        it.app.seen.release.set()
        result = await running

    assert result.output == "released"
    assert errors[0].kind == "gateway_silent"
    assert "silent" in errors[0].message


@pytest.mark.scenario("A")
async def test_a_flush_is_repeated_until_the_api_accepts_it() -> None:
    """A reply is not acknowledged in time. The official worker tries once."""
    async with faulty() as it:
        it.gateway.http.simulate_server_error(times=2, endpoint=FLUSH_PATH)
        async with it.worker():
            result = await it.run_through_an_outage()
        calls = it.gateway.http.get_request_history(FLUSH_PATH)

    assert result.output == "released"
    assert [call.answered for call in calls] == [500, 500, 200]


@pytest.mark.scenario("31", "33")
async def test_a_lost_lease_cancels_the_function() -> None:
    async with faulty() as it:
        lost = asyncio.Event()
        listeners = {"lease_lost": lambda _: lost.set()}
        async with it.worker(on=listeners, on_lease_lost="cancel") as worker:
            running = asyncio.create_task(it.gateway.invoke("app-wait"))
            await it.app.seen.started.wait()
            # The server has forgotten the request: the next extension is refused.
            (request_id,) = it.gateway.store.model.requests
            del it.gateway.store.model.requests[request_id]
            await lost.wait()
            await it.app.seen.cancelled.wait()
            await worker.close(wait=True)
        running.cancel()

    assert it.gateway.ledger.records[request_id].replies == 0


@pytest.mark.parametrize("mode", ["continue", "cancel"])
async def test_a_thread_that_lost_its_lease_counts_until_it_ends_and_its_result_is_delivered(
    mode: str,
) -> None:
    """A thread cannot be cancelled, and the first reply wins."""
    lost = asyncio.Event()
    listeners = {"lease_lost": lambda _: lost.set()}
    async with faulty() as it, it.worker(on=listeners, on_lease_lost=mode) as worker:
        running = asyncio.create_task(it.gateway.invoke("app-thread"))
        await asyncio.to_thread(it.app.seen.thread_started.wait)
        (request_id,) = it.gateway.store.model.requests
        del it.gateway.store.model.requests[request_id]
        await lost.wait()
        counted = worker.get_debug_state().running
        it.app.seen.thread_release.set()
        message = await it.gateway.gateways[0].wait_for_message(K.WORKER_REPLY)
        running.cancel()

    assert counted == 1
    assert pb.SDKResponse.FromString(message.payload).request_id == request_id


@pytest.mark.scenario("39")
async def test_a_drain_and_a_shutdown_together_lose_nothing() -> None:
    """A drain and a shutdown together, in both orders."""
    for drain_first in (True, False):
        async with EmbeddedGateway(
            lease=2.0, extend_lease_interval="100ms", heartbeat_interval="500ms"
        ) as gateway:
            app = make_app(gateway)
            async with connect(
                [app.pair], timing=QUICK_TIMING, shutdown_signals=[], wait=True
            ) as worker:
                running = asyncio.create_task(gateway.invoke("app-wait"))
                await app.seen.started.wait()
                (record,) = gateway.ledger.records.values()
                if drain_first:
                    await gateway.drain()
                    await worker.close()
                else:
                    await worker.close()
                    await gateway.gateways[0].wait_for_message(K.WORKER_PAUSE)
                    await gateway.drain()
                await gateway.gateways[1].wait_for_message(K.WORKER_PAUSE)
                extensions = record.extensions
                await gateway.store.until(lambda _, r=record, n=extensions: r.extensions > n + 3)
                await gateway.gateways[1].wait_for_message(K.WORKER_HEARTBEAT, count=2)
                app.seen.release.set()
                result = await running
            second = gateway.gateways[1].get_received_messages()

        assert result.output == "released"
        assert [m.kind for m in second[:2]] == [K.WORKER_CONNECT, K.WORKER_PAUSE]
        assert K.WORKER_READY not in [m.kind for m in second]
        assert worker.state is ConnectionState.CLOSED
        assert all(c.closed.is_set() for g in gateway.gateways for c in g.connections)
        assert gateway.ledger.lost == gateway.ledger.duplicates == 0


@pytest.mark.scenario("40")
async def test_a_connection_lost_in_a_shutdown_is_replaced_and_paused() -> None:
    async with faulty() as it, it.worker() as worker:
        running = asyncio.create_task(it.gateway.invoke("app-wait"))
        await it.app.seen.started.wait()
        await worker.close()
        server = it.gateway.gateways[0]
        await server.wait_for_message(K.WORKER_PAUSE)
        it.socket.reset()
        await server.wait_for_message(K.WORKER_PAUSE, count=2)
        it.app.seen.release.set()
        result = await running
        await worker.closed()

    kinds = [m.kind for m in server.get_received_messages() if m.connection is not None]
    assert result.output == "released"
    assert kinds.count(K.WORKER_READY) == 1
    assert it.app.seen.calls["wait"] == 1


async def test_a_shutdown_waits_no_longer_than_it_may() -> None:
    errors: list[ErrorOccurred] = []
    async with faulty() as it:
        options = {"shutdown_timeout": 0.3, "on": {"error": errors.append}}
        with pytest.raises(WorkAbandoned) as raised:  # noqa: PT012 - raised at the end of the block
            async with it.worker(**options) as worker:
                running = asyncio.create_task(it.gateway.invoke("app-wait"))
                await it.app.seen.started.wait()
                await worker.close(wait=True)
        running.cancel()
        (request_id,) = it.gateway.ledger.records

    assert raised.value.request_ids == (request_id,)
    reported = [e for e in errors if e.kind == "shutdown_timeout"]
    assert request_id in reported[0].message
    assert it.app.seen.cancelled.is_set()


async def test_start_gives_up_after_startup_timeout() -> None:
    async with faulty() as it:
        await it.api.refuse()
        worker = it.worker(startup_timeout=0.3)
        with pytest.raises(StartupTimeout, match=str(it.api.port)):
            await worker.start()


async def test_the_branch_environment_goes_to_start_and_to_flush() -> None:
    async with faulty(app_options={"env": "feature-7"}) as it, it.worker():
        await it.run_through_an_outage()
        history = it.gateway.http.get_request_history()

    assert {r.path for r in history} == {START_PATH, FLUSH_PATH}
    assert {r.headers.get("x-inngest-env") for r in history} == {"feature-7"}


async def test_a_user_retry_strategy_is_asked() -> None:
    asked: list[int] = []

    class Mine(FixedRetry):
        def delay(self, failures: int, random: object) -> float:
            asked.append(failures)
            return 0.01

    async with faulty() as it:
        it.gateway.http.simulate_server_error(times=3)
        async with it.worker(retry=Mine(0)):
            pass

    assert asked == [1, 2, 3]


async def test_each_failed_attempt_is_one_error_event_and_is_folded_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One error event per attempt, and warnings that count all of them."""
    errors: list[ErrorOccurred] = []
    async with faulty() as it:
        await it.api.refuse()
        attempts = 0
        enough = asyncio.Event()

        def failed(_: Reconnecting) -> None:
            nonlocal attempts
            attempts += 1
            if attempts == 5:
                enough.set()

        worker = it.worker(on={"reconnecting": failed, "error": errors.append})
        started = asyncio.create_task(worker.start())
        await enough.wait()
        await worker.close(wait=True)
        await started

    warnings = [r for r in caplog.records if r.name == "inngest_connect" and r.levelno >= 30]
    told = sum(vars(record).get("repeated", 1) for record in warnings)
    assert len(errors) == told >= 5
    assert {r.getMessage().split()[0] for r in warnings} == {"reconnecting"}


@pytest.mark.scenario("security-redirects")
async def test_a_flush_is_not_redirected() -> None:
    """No redirect is followed, also not on flush."""
    async with faulty() as it:
        it.gateway.http.simulate_redirect("http://127.0.0.1:1/", times=1, endpoint=FLUSH_PATH)
        async with it.worker():
            result = await it.run_through_an_outage()
        answers = [call.answered for call in it.gateway.http.get_request_history(FLUSH_PATH)]

    assert result.output == "released"
    assert answers == [302, 200]
