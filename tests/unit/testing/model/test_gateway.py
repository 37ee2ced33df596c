"""GatewayModel: it is as strict and as difficult as docs/protocol.md describes the gateway."""

import pytest

from inngest_connect.core.wire.messages import ExecutionResult
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing.model.actions import (
    Action,
    CloseConnection,
    DropConnection,
    RequestEnded,
)
from inngest_connect.testing.model.settings import GatewaySettings
from inngest_connect.testing.model.ulid import make_ulid
from tests.unit.testing.model.model_talk import K, Talk, closes, connect_data, kinds, reply_to

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("changes", "close"),
    [
        ({"connection_id": "no"}, (1008, "connect_worker_hello_invalid_payload")),
        ({"instance_id": ""}, (1008, "connect_worker_hello_invalid_payload")),
        ({"auth_data": pb.AuthData()}, (1008, "connect_authentication_failed")),
        ({"apps": []}, (1008, "connect_worker_hello_invalid_payload")),
        (
            {"apps": [pb.AppConfiguration(app_name=str(n), functions=b"[]") for n in range(11)]},
            (1008, "connect_too_many_apps_per_connection"),
        ),
        ({"capabilities": b""}, (1011, "connect_internal_error")),
        (
            {"apps": [pb.AppConfiguration(app_name="a", functions=b"{}")]},
            (1011, "connect_internal_error"),
        ),
    ],
)
def test_a_worker_with_a_wrong_introduction_is_refused(
    changes: dict[str, object], close: tuple[int, str]
) -> None:
    talk = Talk()
    talk.opens()

    refused = talk.sends(K.WORKER_CONNECT, connect_data(**changes).SerializeToString())

    assert closes(refused) == [close]


def test_the_first_message_has_to_be_the_introduction_and_readable() -> None:
    first, garbage, payload = Talk(), Talk(), Talk()
    for talk in (first, garbage, payload):
        assert kinds(talk.opens()) == ["GATEWAY_HELLO"]

    assert closes(first.sends(K.WORKER_HEARTBEAT)) == [(1008, "connect_worker_hello_invalid_msg")]
    assert closes(garbage.model.received(1, b"\xff", 0.0)) == [
        (1007, "failed to unmarshal Protobuf")
    ]
    assert closes(payload.sends(K.WORKER_CONNECT, b"\xff")) == [
        (1008, "connect_worker_hello_invalid_payload")
    ]


def test_nothing_is_answered_before_the_worker_is_ready() -> None:
    talk = Talk()
    talk.opens()
    talk.sends(K.WORKER_CONNECT, connect_data().SerializeToString())

    assert talk.sends(K.WORKER_HEARTBEAT) == []
    talk.sends(K.WORKER_READY)
    assert kinds(talk.sends(K.WORKER_HEARTBEAT)) == ["GATEWAY_HEARTBEAT"]


def test_a_request_waits_for_a_worker_and_is_routed_again_when_it_is_not_acknowledged() -> None:
    talk = Talk()
    request_id, none = talk.dispatch()
    talk.opens()
    talk.sends(K.WORKER_CONNECT, connect_data().SerializeToString())
    first = talk.sends(K.WORKER_READY)
    talk.ready(2)

    again = talk.sends(K.WORKER_PAUSE)

    assert none == []
    assert kinds(first) == kinds(again) == ["GATEWAY_EXECUTOR_REQUEST"]
    assert talk.model.ledger.records[request_id].forwards == [1, 2]


def test_a_request_is_given_up_after_three_forwards() -> None:
    talk = Talk()
    _, _ = talk.dispatch()
    ended: list[Action] = []
    for number in (1, 2, 3):
        talk.ready(number)
        ended += talk.model.closed(number, talk.now)

    assert [a.failure for a in ended if isinstance(a, RequestEnded)] == [
        "connect_no_healthy_connection"
    ]


def test_a_lease_rotates_and_one_predecessor_is_remembered() -> None:
    talk = Talk().ready()
    request_id, _ = talk.dispatch()
    talk.acks(request_id)
    first = talk.lease(request_id)

    second = talk.extends(request_id, first)
    replayed = talk.extends(request_id, first)
    third = talk.extends(request_id, str(second))
    forgotten = talk.extends(request_id, first)

    assert second == replayed == str(second)
    assert third not in (None, second)
    assert forgotten is None


def test_older_servers_refuse_the_predecessor() -> None:
    talk = Talk(replay_predecessor=False).ready()
    request_id, _ = talk.dispatch()
    talk.acks(request_id)
    first = talk.lease(request_id)
    talk.extends(request_id, first)

    assert talk.extends(request_id, first) is None


def test_a_lease_id_that_is_not_a_ulid_closes_the_connection() -> None:
    talk = Talk().ready()
    data = pb.WorkerRequestExtendLeaseData(request_id="r", lease_id="")

    refused = talk.sends(K.WORKER_REQUEST_EXTEND_LEASE, data.SerializeToString())

    assert closes(refused) == [(1008, "connect_worker_request_extend_lease_invalid_payload")]


def test_an_expired_lease_fails_the_request_and_counts_it_as_lost() -> None:
    talk = Talk(lease=2.0, lease_grace=1.0).ready()
    request_id, _ = talk.dispatch()
    talk.acks(request_id)

    early = talk.model.tick(talk.now + 2.9)
    late = talk.model.tick(talk.now + 3.0)

    assert early == []
    assert [a.failure for a in late if isinstance(a, RequestEnded)] == [
        "connect_worker_stopped_responding"
    ]
    assert talk.model.ledger.lost == 1


def test_the_first_reply_wins_and_every_reply_is_acknowledged() -> None:
    talk = Talk().ready()
    request_id, _ = talk.dispatch()
    talk.acks(request_id)
    result = ExecutionResult(pb.SDKResponseStatus.DONE, b"1")
    payload = pb.SDKResponse(request_id=request_id, body=result.body).SerializeToString()

    first = talk.sends(K.WORKER_REPLY, payload)
    second = talk.sends(K.WORKER_REPLY, payload)

    assert len([a for a in first if isinstance(a, RequestEnded)]) == 1
    assert kinds(first) == kinds(second) == ["WORKER_REPLY_ACK"]
    assert talk.model.ledger.records[request_id].replies == 2


def test_a_drain_announces_itself_refuses_newcomers_and_ends_after_its_window() -> None:
    talk = Talk(drain_window=5.0, heartbeat_interval="10s").ready()

    announced = talk.model.drain("g", talk.now)
    refused = talk.opens(2)
    ended = talk.model.tick(talk.now + 5.0)

    assert kinds(announced) == ["GATEWAY_CLOSING"]
    assert closes(refused) == closes(ended) == [(1001, "connect_gateway_closing")]


def test_a_silent_worker_is_dropped_after_five_intervals() -> None:
    talk = Talk(heartbeat_interval="2s").ready()

    assert talk.model.tick(talk.now + 9.9) == []
    assert talk.model.tick(talk.now + 10.0) == [DropConnection(1)]


def test_no_more_requests_than_the_instance_takes() -> None:
    talk = Talk().ready(max_worker_concurrency=1)
    first, sent = talk.dispatch()
    _, held = talk.dispatch()
    talk.acks(first)

    released = talk.sends(
        K.WORKER_REPLY, pb.SDKResponse(request_id=first, body=b"1").SerializeToString()
    )

    assert kinds(sent) == ["GATEWAY_EXECUTOR_REQUEST"]
    assert held == []
    assert "GATEWAY_EXECUTOR_REQUEST" in kinds(released)


def test_new_work_waits_for_a_drained_connection_to_close() -> None:
    """Requests for a draining socket are held back until it closes (docs/protocol.md#drain)."""
    talk = Talk().ready()
    talk.model.drain("g", talk.now)

    request_id, held = talk.dispatch()
    talk.ready(2, "another")
    released = talk.model.closed(1, talk.now)

    assert held == []
    assert kinds(released) == ["GATEWAY_EXECUTOR_REQUEST"]
    assert talk.model.ledger.records[request_id].forwards == [2]


def test_a_heartbeat_in_a_drain_ends_the_routing_to_that_connection() -> None:
    talk = Talk().ready()
    talk.model.drain("g", talk.now)
    request_id, _ = talk.dispatch()
    talk.ready(2, "another")

    released = talk.sends(K.WORKER_HEARTBEAT)

    assert kinds(released) == ["GATEWAY_HEARTBEAT", "GATEWAY_EXECUTOR_REQUEST"]
    assert talk.model.ledger.records[request_id].forwards == [2]


def test_a_connection_without_recent_heartbeats_gets_no_requests() -> None:
    talk = Talk().ready()
    talk.now += 20.1
    request_id, sent = talk.dispatch()

    after = talk.sends(K.WORKER_HEARTBEAT)

    assert sent == []
    assert kinds(after) == ["GATEWAY_HEARTBEAT", "GATEWAY_EXECUTOR_REQUEST"]
    assert talk.model.ledger.records[request_id].forwards == [1]


def test_a_pause_can_overtake_an_acknowledgement() -> None:
    """The request is then run here and routed again (docs/protocol.md#pause)."""
    talk = Talk(handling_delay=1.0)
    talk.opens()
    talk.sends(K.WORKER_CONNECT, connect_data().SerializeToString())
    talk.sends(K.WORKER_READY)
    talk.now += 1
    talk.model.tick(talk.now)
    request_id, _ = talk.dispatch()
    talk.bits = iter([65000, 10])
    talk.acks(request_id)
    talk.sends(K.WORKER_PAUSE)

    talk.model.tick(talk.now + 1)

    assert talk.model.ledger.acknowledged == 0
    assert "unknown request" in talk.model.protocol_errors[0]
    assert talk.model.seen["pause overtook an acknowledgement"] == 1


def test_control_messages_keep_their_order_and_data_messages_do_not() -> None:
    talk = Talk().ready()
    talk.model.connections[1].settings = GatewaySettings(handling_delay=1.0)
    talk.bits = iter([60000, 100, 50])
    reply = pb.SDKResponse(request_id="r").SerializeToString()

    for kind, payload in (
        (K.WORKER_HEARTBEAT, b""),
        (K.WORKER_PAUSE, b""),
        (K.WORKER_REPLY, reply),
    ):
        assert talk.sends(kind, payload) == []
    early = talk.model.tick(talk.now + 0.5)
    assert not talk.model.connections[1].paused
    late = talk.model.tick(talk.now + 1.0)

    assert kinds(early) == ["WORKER_REPLY_ACK"]
    assert kinds(late) == ["GATEWAY_HEARTBEAT"]
    assert talk.model.connections[1].paused


def test_a_worker_whose_apps_cannot_be_synchronized_receives_the_reason_and_is_refused() -> None:
    talk = Talk(sync_delay=2.0)
    talk.model.sync_failure = ("app_missing", "no such app")
    talk.opens()
    waiting = talk.sends(K.WORKER_CONNECT, connect_data().SerializeToString())

    refused = talk.model.tick(talk.now + 2.0)

    assert waiting == []
    assert kinds(refused) == ["SYNC_FAILED"]
    assert closes(refused) == [(1008, "app_missing")]


def test_a_revoked_lease_is_refused_and_the_reply_is_still_taken() -> None:
    talk = Talk().ready()
    request_id, _ = talk.dispatch()
    talk.acks(request_id)

    talk.model.executor.revoke(request_id)

    assert talk.extends(request_id, talk.lease(request_id)) is None
    assert talk.model.ledger.records[request_id].refused_extensions == 1


def test_a_request_can_be_delivered_twice() -> None:
    talk = Talk().ready()
    request_id, _ = talk.dispatch()
    talk.ready(2)

    again = talk.model.forward_again(request_id, 2, talk.now)

    assert kinds(again) == ["GATEWAY_EXECUTOR_REQUEST"]
    assert talk.model.ledger.records[request_id].forwards == [1, 2]


def test_requests_go_only_to_workers_that_have_the_function() -> None:
    other = pb.AppConfiguration(app_name="other", functions=b'[{"id":"other-fn"}]')
    talk = Talk().ready(1, apps=[other])
    request_id, none = talk.dispatch()

    talk.ready(2)

    assert none == []
    assert talk.model.ledger.records[request_id].forwards == [2]


def test_an_acknowledgement_counts_only_on_the_socket_that_delivered_the_request() -> None:
    talk = Talk().ready()
    request_id, _ = talk.dispatch()
    talk.ready(2)

    talk.acks(request_id, number=2)

    assert talk.model.ledger.acknowledged == 0
    assert "unknown request" in talk.model.protocol_errors[0]


def test_a_reply_without_an_acknowledgement_is_refused_and_noted() -> None:
    talk = Talk().ready()
    request_id, _ = talk.dispatch()

    refused = talk.sends(K.WORKER_REPLY, reply_to(request_id))
    talk.acks(request_id)
    taken = talk.sends(K.WORKER_REPLY, reply_to(request_id))

    assert refused == []
    assert talk.model.protocol_errors == [f"reply without an acknowledgement to {request_id}"]
    assert talk.model.ledger.unacknowledged_replies == 1
    assert kinds(taken) == ["WORKER_REPLY_ACK"]
    assert talk.model.ledger.answered == 1


def test_a_reply_whose_acknowledgement_can_be_lost_is_taken() -> None:
    talk = Talk().ready()
    request_id, _ = talk.dispatch()
    talk.model.closed(1, talk.now)
    talk.ready(number=2)

    taken = talk.sends(K.WORKER_REPLY, reply_to(request_id), number=2)

    assert kinds(taken) == ["WORKER_REPLY_ACK"]
    assert talk.model.protocol_errors == []


@pytest.mark.parametrize(
    ("session", "sync", "connection"),
    [("other", "s", 1), ("t", "other", 1), ("s", "t", 1), ("t", "s", 2), ("t", "", 1)],
)
def test_a_session_of_another_start_is_refused(session: str, sync: str, connection: int) -> None:
    talk = Talk()
    talk.model.issued(make_ulid(1.0, lambda _: 1), "t", "s", 100.0)
    talk.model.issued(make_ulid(1.0, lambda _: 2), "u", "v", 100.0)
    talk.opens()
    auth = pb.AuthData(session_token=session, sync_token=sync)
    data = connect_data(auth_data=auth, connection_id=make_ulid(1.0, lambda _: connection))

    actions = talk.sends(K.WORKER_CONNECT, data.SerializeToString())

    assert actions == [CloseConnection(1, 1008, "connect_authentication_failed")]


def test_a_session_serves_one_connection() -> None:
    talk = Talk()
    talk.model.issued(make_ulid(1.0, lambda _: 1), "t", "s", 100.0)
    auth = pb.AuthData(session_token="t", sync_token="s")

    talk.ready(auth_data=auth)
    talk.ready(number=2, auth_data=auth)

    assert talk.model.protocol_errors == ["closed 1008 connect_authentication_failed"]
