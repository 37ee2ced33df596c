"""Capacity and routing across workers (docs/protocol.md#capacity)."""

import pytest

from inngest_connect.testing.model.actions import Action
from tests.unit.testing.model.model_talk import K, Talk, failures, kinds, reply_to

pytestmark = pytest.mark.unit


def test_two_processes_with_one_instance_id_share_one_limit() -> None:
    talk = Talk().ready(1, max_worker_concurrency=1).ready(2, max_worker_concurrency=1)

    _, first = talk.dispatch()
    _, second = talk.dispatch()

    assert kinds(first) == ["GATEWAY_EXECUTOR_REQUEST"]
    assert second == []


def test_two_workers_of_one_app_have_a_limit_each_and_take_turns() -> None:
    talk = Talk()
    talk.ready(1, instance_id="one", max_worker_concurrency=1)
    talk.ready(2, instance_id="two", max_worker_concurrency=1)

    ids = [talk.dispatch()[0] for _ in range(3)]

    forwards = [talk.model.ledger.records[request_id].forwards for request_id in ids]
    assert sorted(forwards) == [[], [1], [2]]


def test_the_newest_introduction_decides_about_the_limit_of_its_instance() -> None:
    talk = Talk().ready(1, max_worker_concurrency=1).ready(2)

    sent = [talk.dispatch()[1] for _ in range(2)]

    assert [kinds(actions) for actions in sent] == [["GATEWAY_EXECUTOR_REQUEST"]] * 2


def test_a_worker_with_another_instance_id_cannot_extend_what_was_counted_before() -> None:
    talk = Talk().ready(1, instance_id="one", max_worker_concurrency=1)
    request_id, _ = talk.dispatch()
    talk.acks(request_id)
    talk.ready(2, instance_id="two", max_worker_concurrency=1)

    assert talk.extends(request_id, talk.lease(request_id), number=2) is None
    assert talk.extends(request_id, talk.lease(request_id), number=1) is not None


def test_a_request_counts_for_twelve_minutes_unless_it_is_extended() -> None:
    settings = {"lease": 1e6, "heartbeat_interval": "1h", "router_patience": 1e9}
    lapses, lasts = (Talk(**settings).ready(max_worker_concurrency=1) for _ in range(2))
    sent: list[list[Action]] = []
    for talk in (lapses, lasts):
        request_id, _ = talk.dispatch()
        talk.acks(request_id)
        if talk is lasts:
            talk.extends(request_id, talk.lease(request_id))
        talk.now += 720.0
        sent.append(talk.dispatch()[1])

    assert [kinds(actions) for actions in sent] == [["GATEWAY_EXECUTOR_REQUEST"], []]


def test_a_count_that_has_lapsed_refuses_extensions() -> None:
    talk = Talk(lease=1e6, heartbeat_interval="1h").ready(max_worker_concurrency=1)
    request_id, _ = talk.dispatch()
    talk.acks(request_id)
    talk.now += 720.0

    assert talk.extends(request_id, talk.lease(request_id)) is None


def test_the_server_can_count_late_and_give_too_much() -> None:
    talk = Talk(count_delay=1.0).ready(max_worker_concurrency=1)

    _, first = talk.dispatch()
    _, too_much = talk.dispatch()
    talk.now += 1.0
    _, held = talk.dispatch()

    assert kinds(first) == kinds(too_much) == ["GATEWAY_EXECUTOR_REQUEST"]
    assert held == []


def test_an_attempt_fails_when_no_worker_is_connected() -> None:
    talk = Talk(unroutable_after=0.0)

    _, failed = talk.dispatch()

    assert failures(failed) == ["connect_no_healthy_connection"]
    assert talk.model.seen["attempt failed without a worker"] == 1


def test_a_worker_that_is_only_full_is_waited_for() -> None:
    talk = Talk(unroutable_after=0.0).ready(max_worker_concurrency=1)
    first, _ = talk.dispatch()
    talk.acks(first)
    _, waits = talk.dispatch()

    released = talk.sends(K.WORKER_REPLY, reply_to(first))

    assert waits == []
    assert "GATEWAY_EXECUTOR_REQUEST" in kinds(released)


def test_a_replacement_of_draining_connections_is_waited_for() -> None:
    talk = Talk(unroutable_after=0.0, hold_during_drain=False).ready()
    talk.model.drain("g", talk.now)

    _, waits = talk.dispatch()
    early = talk.model.tick(talk.now + 9.9)
    failed = talk.model.tick(talk.now + 10.0)

    assert waits == early == []
    assert failures(failed) == ["connect_no_healthy_connection"]


def test_a_request_that_waited_for_a_replacement_goes_on_waiting_when_that_is_full() -> None:
    talk = Talk(unroutable_after=0.0, hold_during_drain=False).ready()
    talk.model.drain("g", talk.now)
    talk.dispatch()
    talk.dispatch()

    talk.ready(2, "h", max_worker_concurrency=1)
    actions = talk.model.tick(talk.now + 10.0)
    due = talk.model.next_deadline()

    assert failures(actions) == []
    assert due is not None
    assert due > talk.now + 10.0


def test_a_gateway_that_has_stopped_gets_no_requests_after_ten_seconds() -> None:
    talk = Talk().ready()
    talk.model.executor.router.stopped["g"] = talk.now
    talk.now += 10.0
    _, sent = talk.dispatch()
    talk.now += 0.1

    request_id, held = talk.dispatch()
    del talk.model.executor.router.stopped["g"]
    continued = talk.sends(K.WORKER_HEARTBEAT)

    assert kinds(sent) == ["GATEWAY_EXECUTOR_REQUEST"]
    assert held == []
    assert kinds(continued) == ["GATEWAY_HEARTBEAT", "GATEWAY_EXECUTOR_REQUEST"]
    assert talk.model.ledger.records[request_id].forwards == [1]
