"""ConnectionTestHarness, as a user of the test kit meets it."""

import asyncio

import pytest

from inngest_connect import ConnectionState as S
from inngest_connect.testing import ConnectionTestHarness
from tests.integration.demo_apps import make_app

pytestmark = pytest.mark.integration


async def test_a_gateway_drain_is_invisible_outside_and_visible_inside() -> None:
    async with ConnectionTestHarness() as harness:
        app = make_app(harness.api_origin)
        worker = await harness.start_worker([app.pair])
        drained = asyncio.create_task(harness.simulate_gateway_draining())
        await harness.wait_for_state_transition(S.DRAINING_RECONNECTING)
        await drained
        harness.assert_connection_state(S.ACTIVE)
        harness.assert_external_state_remains(S.ACTIVE)
        result = await harness.gateway.invoke("app-steps")

    assert result.output == [2, 4, 8]
    assert len(harness.gateways) == 2
    assert worker.state is S.CLOSED
    harness.assert_nothing_lost()


async def test_a_worker_whose_first_gateway_drains_meanwhile_is_started() -> None:
    async with ConnectionTestHarness(handling_delay=0.2) as harness:
        app = make_app(harness.api_origin)
        drains: list[asyncio.Task[object]] = []

        def drain_once(_: object) -> None:
            if not drains:
                drains.append(asyncio.create_task(harness.gateway.drain()))

        async with asyncio.timeout(10):
            await harness.start_worker([app.pair], on={"connected": drain_once})
        await drains[0]
        result = await harness.gateway.invoke("app-echo", {"data": {"n": 1}})

    assert result.output == {"n": 1}
    assert len(harness.gateways) == 2


async def test_a_partition_is_visible_outside_and_its_end_heals_the_worker() -> None:
    async with ConnectionTestHarness() as harness:
        app = make_app(harness.api_origin)
        await harness.start_worker([app.pair])
        running = asyncio.create_task(harness.gateway.invoke("app-wait"))
        await app.seen.started.wait()
        back = asyncio.create_task(harness.wait_for_state_transition(S.ACTIVE))
        await harness.simulate_network_partition()
        await harness.wait_for_state_transition(S.CONNECTING)
        with pytest.raises(AssertionError, match="was not ACTIVE throughout: RECONNECTING"):
            harness.assert_external_state_remains(S.ACTIVE)
        with pytest.raises(AssertionError, match=r"the worker is .*, not CLOSED"):
            harness.assert_connection_state(S.CLOSED)
        app.seen.release.set()
        await harness.heal_network_partition()
        await back
        result = await running

    assert result.output == "released"
    (record,) = harness.ledger.records.values()
    assert (record.executions, record.outcome) == (1, "answered")
    harness.assert_nothing_lost()


@pytest.mark.scenario("E")
async def test_a_black_hole_ends_the_connection_by_missing_heartbeats() -> None:
    async with ConnectionTestHarness(heartbeat_interval="300ms") as harness:
        app = make_app(harness.api_origin)
        await harness.start_worker([app.pair])
        await harness.simulate_network_partition(how="black_hole")
        await harness.wait_for_state_transition(S.RECONNECTING)
        back = asyncio.create_task(harness.wait_for_state_transition(S.ACTIVE))
        await harness.simulate_network_partition(seconds=0.01)
        await back
        result = await harness.gateway.invoke("app-echo", {"data": {"n": 1}})

    assert result.output == {"n": 1}


async def test_several_workers_share_a_load_and_each_request_is_executed_once() -> None:
    async with ConnectionTestHarness(gateways=2) as harness:
        app = make_app(harness.api_origin)
        for name in ("one", "two"):
            await harness.start_worker([app.pair], instance_id=name)
        load = await harness.simulate_high_load("app-steps", runs=30, at_once=10)
        served = {n for r in harness.ledger.records.values() for n in r.forwards}

    assert load.failed == []
    assert len(load.results) == 30
    assert len(load.latencies) == 120
    assert load.runs_per_second > 0
    assert len(served) == 2
    assert {r.executions for r in harness.ledger.records.values()} == {1}
    harness.assert_nothing_lost()


async def test_figures_are_measured() -> None:
    async with ConnectionTestHarness() as harness:
        app = make_app(harness.api_origin)
        connecting = await harness.measure_connection_time([app.pair], rounds=2)
        await harness.start_worker([app.pair])
        throughput = await harness.measure_throughput("app-echo", runs=20)
        memory = harness.measure_memory_usage()

    assert 0 < connecting < 2
    assert throughput > 1
    assert memory > 1_000_000


async def test_a_transition_that_does_not_happen_is_reported_with_what_happened() -> None:
    async with ConnectionTestHarness() as harness:
        app = make_app(harness.api_origin)
        await harness.start_worker([app.pair])
        with pytest.raises(TimeoutError, match=r"not become CLOSED within 0\.01 s: no change"):
            await harness.wait_for_state_transition(S.CLOSED, timeout=0.01)


async def test_a_worker_that_cannot_start_raises_where_it_is_started() -> None:
    key = "signkey-test-" + "ab" * 32
    async with ConnectionTestHarness(signing_keys=(key,)) as harness:
        app = make_app(
            harness.api_origin, is_production=True, signing_key="signkey-test-" + "cd" * 32
        )
        with pytest.raises(Exception, match="401"):
            await harness.start_worker([app.pair])


async def test_lost_and_repeated_work_fails_the_assertion() -> None:
    async with ConnectionTestHarness(
        lease=0.2, lease_grace=0.05, extend_lease_interval="10s"
    ) as harness:
        app = make_app(harness.api_origin)
        await harness.start_worker([app.pair])
        result = await harness.gateway.invoke("app-wait")
        with pytest.raises(AssertionError, match="1 acknowledged requests were lost"):
            harness.assert_nothing_lost()
        app.seen.release.set()
        harness.ledger.records.clear()

        running = asyncio.create_task(harness.gateway.invoke("app-echo"))
        await running
        (record,) = harness.ledger.records.values()
        record.executions += 1
        with pytest.raises(AssertionError, match="1 requests were executed twice"):
            harness.assert_nothing_lost()

    assert (result.status, result.lost) == ("failed", 1)
