"""Leases and the time in which the executor looks at them (docs/protocol.md#leases)."""

import pytest

from tests.unit.testing.model.model_talk import K, Talk, failures, kinds, reply_to

pytestmark = pytest.mark.unit


def test_an_expired_lease_is_revived_before_the_executor_looks_again() -> None:
    talk = Talk(lease=40.0, lease_poll=30.0, heartbeat_interval="1h").ready()
    request_id, _ = talk.dispatch()
    talk.acks(request_id)
    first = talk.lease(request_id)
    talk.now += 50.0
    talk.model.tick(talk.now)

    revived = talk.extends(request_id, first)

    assert revived is not None
    assert talk.model.seen["expired lease revived"] == 1


def test_a_lease_that_the_executor_saw_expired_fails_after_the_grace() -> None:
    talk = Talk(lease=40.0, lease_poll=30.0, heartbeat_interval="1h").ready()
    request_id, _ = talk.dispatch()
    talk.acks(request_id)
    first = talk.lease(request_id)

    early = talk.model.tick(talk.now + 60.0)
    talk.now += 61.0
    extended = talk.extends(request_id, first)
    before = talk.model.tick(talk.now + 3.9)
    failed = talk.model.tick(talk.now + 4.0)

    assert failures(early) == failures(before) == []
    assert extended is not None
    assert failures(failed) == ["connect_worker_stopped_responding"]
    assert talk.model.ledger.records[request_id].expired_at == 140.0


@pytest.mark.parametrize(("limit", "extended"), [(0, True), (1, False)])
def test_a_lease_that_nobody_waits_for_is_extended_for_workers_without_a_limit(
    limit: int, extended: bool
) -> None:
    talk = Talk(lease=2.0, lease_grace=1.0).ready(max_worker_concurrency=limit)
    request_id, _ = talk.dispatch()
    talk.acks(request_id)
    first = talk.lease(request_id)
    talk.now += 3.0
    talk.model.tick(talk.now)
    talk.model.tick(talk.now)

    answer = talk.extends(request_id, first)

    assert talk.model.requests == {}
    assert (answer is not None) is extended
    assert talk.model.seen["lease extended that nobody waits for"] == int(extended)


def test_such_a_lease_can_be_refused_always() -> None:
    talk = Talk(lease=2.0, lease_grace=1.0, leases_outlive_requests=False).ready()
    request_id, _ = talk.dispatch()
    talk.acks(request_id)
    first = talk.lease(request_id)
    talk.now += 3.0
    talk.model.tick(talk.now)
    talk.model.tick(talk.now)

    assert talk.extends(request_id, first) is None


def test_a_lease_is_not_revived_after_its_key_was_deleted() -> None:
    talk = Talk(lease=2.0, lease_grace=1e9, lease_key_lifetime=10.0).ready()
    request_id, _ = talk.dispatch()
    talk.acks(request_id)
    first = talk.lease(request_id)
    talk.now += 12.0

    assert talk.extends(request_id, first) is None


def test_the_predecessor_is_replayed_only_to_the_instance_that_replaced_it() -> None:
    talk = Talk().ready(instance_id="one").ready(number=2, instance_id="two")
    request_id, _ = talk.dispatch()
    first = talk.lease(request_id)
    second = talk.extends(request_id, first, number=1)

    other = talk.extends(request_id, first, number=2)
    same = talk.extends(request_id, first, number=1)

    assert other is None
    assert same == second
    assert talk.model.seen["previous lease id presented"] == 1


def test_a_request_without_an_acknowledgement_is_forwarded_again_with_the_same_lease() -> None:
    talk = Talk(acknowledge_within=125.0, heartbeat_interval="1h", router_patience=1e9).ready()
    request_id, _ = talk.dispatch()
    lease = talk.lease(request_id)

    early = talk.model.tick(talk.now + 124.9)
    second = talk.model.tick(talk.now + 125.0)
    third = talk.model.tick(talk.now + 250.0)
    given_up = talk.model.tick(talk.now + 375.0)

    assert early == []
    assert kinds(second) == kinds(third) == ["GATEWAY_EXECUTOR_REQUEST"]
    assert lease.encode() in second[0].data  # type: ignore[union-attr]
    assert failures(given_up) == ["connect_no_healthy_connection"]
    assert talk.model.seen["forwarded again after silence"] == 3


def test_a_repeated_forward_of_an_acknowledged_request_changes_nothing_for_its_lease() -> None:
    talk = Talk(lease=40.0, lease_grace=5.0).ready()
    request_id, _ = talk.dispatch()
    talk.acks(request_id)

    talk.model.forward_again(request_id, 1, talk.now)
    talk.model.tick(talk.now + 40.0)
    failed = talk.model.tick(talk.now + 45.0)

    assert failures(failed) == ["connect_worker_stopped_responding"]


def test_the_executor_does_not_wait_longer_than_its_limit() -> None:
    talk = Talk(longest_wait=30.0).ready()
    request_id, _ = talk.dispatch()
    talk.acks(request_id)

    failed = talk.model.tick(talk.now + 30.0)
    late = talk.sends(K.WORKER_REPLY, reply_to(request_id))

    assert failures(failed) == ["request_duration_too_long"]
    assert kinds(late) == ["WORKER_REPLY_ACK"]
    assert talk.model.ledger.records[request_id].outcome == "expired"
    assert talk.model.seen["reply after the executor gave up"] == 1
