"""Gateway drains that do not go smoothly, on real sockets."""

import asyncio

import pytest

from inngest_connect import ConnectionState, Reconnecting
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.state_machine import ConnectionState as S
from tests.errors.faulty import faulty

K = pb.GatewayMessageType
pytestmark = pytest.mark.errors


@pytest.mark.scenario("36")
async def test_a_new_gateway_that_drains_too_is_left_for_a_third() -> None:
    """The new gateway drains too."""
    async with faulty() as it, it.worker() as worker:
        running = asyncio.create_task(it.gateway.invoke("app-wait"))
        await it.app.seen.started.wait()
        changes: list[object] = []
        worker.add_event_listener("state_change", changes.append)
        for _ in range(3):
            connected = asyncio.Event()
            remove = worker.add_event_listener("connected", lambda _: connected.set())  # noqa: B023
            await it.gateway.drain()
            await connected.wait()
            # A WORKER_READY that reaches a gateway in its drain is answered with a close (1001).
            await it.gateway.wait_for_worker()
            remove()
        it.app.seen.release.set()
        result = await running

    assert result.output == "released"
    assert [c.state for c in changes[:-2]] == []  # type: ignore[attr-defined]
    assert it.app.seen.calls["wait"] == 1
    assert it.gateway.ledger.duplicates == 0


async def test_the_old_connection_dying_first_is_a_reconnect() -> None:
    async with faulty() as it, it.worker() as worker:
        running = asyncio.create_task(it.gateway.invoke("app-wait"))
        await it.app.seen.started.wait()
        failed, lost = asyncio.Event(), asyncio.Event()
        worker.add_event_listener("reconnecting", lambda _: failed.set())
        worker.add_event_listener("disconnected", lambda _: lost.set())
        await it.api.refuse()
        it.api.reset()
        await it.gateway.drain()
        await failed.wait()
        during = worker.get_debug_state()
        it.socket.reset()
        await lost.wait()
        await it.api.restore()
        await worker.wait_for_state(ConnectionState.ACTIVE)
        it.app.seen.release.set()
        result = await running
        states = [change.state for change in worker.get_state_history()]

    assert (during.state, during.external_state) == (S.DRAINING_RECONNECTING, S.ACTIVE)
    assert len(during.draining_connection_ids) == 1
    assert result.output == "released"
    assert states[:4] == [S.ACTIVE, S.DRAINING_RECONNECTING, S.RECONNECTING, S.CONNECTING]


async def test_work_is_kept_alive_on_the_old_connection_while_there_is_no_new_one() -> None:
    async with faulty(heartbeat_interval="5s") as it, it.worker() as worker:
        running = asyncio.create_task(it.gateway.invoke("app-wait"))
        await it.app.seen.started.wait()
        (record,) = it.gateway.ledger.records.values()
        failures: list[Reconnecting] = []
        worker.add_event_listener("reconnecting", failures.append)
        await it.api.refuse()
        it.api.reset()
        await it.gateway.drain()
        extensions = record.extensions
        await it.gateway.store.until(
            lambda _: bool(failures) and record.extensions >= extensions + 5
        )
        it.app.seen.release.set()
        result = await running
        state = worker.state
        await it.api.restore()
        await it.gateway.wait_for_worker()
        after = await it.gateway.invoke("app-echo")

    assert result.output == "released"
    assert state is ConnectionState.ACTIVE
    assert after.status == "completed"
    assert it.gateway.ledger.lost == 0


async def test_a_drained_gateway_gets_no_heartbeat_and_is_left_with_a_normal_close() -> None:
    """A heartbeat would end the routing to the old socket (docs/protocol.md#heartbeat)."""
    async with faulty() as it, it.worker():
        old = it.gateway.gateways[0]
        await old.wait_for_message(K.WORKER_HEARTBEAT)
        await it.gateway.drain()
        beats = len(old.get_received_messages(K.WORKER_HEARTBEAT))
        (connection,) = old.connections
        await connection.closed.wait()
        later = len(old.get_received_messages(K.WORKER_HEARTBEAT))

    assert later <= beats + 1  # one may have been on its way
    assert (connection.close_code, connection.close_reason) == (1000, "")
