"""What ends or delays a connection, besides what its worker does wrong."""

import pytest

from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing.model.actions import DropConnection, SendTo
from inngest_connect.testing.model.settings import GatewaySettings
from inngest_connect.testing.model.ulid import make_ulid
from tests.unit.testing.model.model_talk import K, Talk, closes, connect_data, kinds, reply_to

pytestmark = pytest.mark.unit


def connects(talk: Talk, number: int = 1, **changes: object) -> list[str]:
    talk.opens(number)
    return kinds(talk.sends(K.WORKER_CONNECT, connect_data(**changes).SerializeToString(), number))


def test_a_connection_without_an_introduction_is_dropped_after_five_seconds() -> None:
    talk = Talk()
    talk.opens()

    assert talk.model.next_deadline() == 105.0
    assert talk.model.tick(talk.now + 4.9) == []
    assert talk.model.tick(talk.now + 5.0) == [DropConnection(1)]
    assert talk.model.seen["no WORKER_CONNECT in time"] == 1


@pytest.mark.parametrize(
    ("seconds", "close"),
    [(299.9, []), (300.0, [(1008, "connect_authentication_failed")])],
)
def test_a_session_expires(seconds: float, close: list[tuple[int, str]]) -> None:
    talk = Talk()
    talk.model.issued(make_ulid(1.0, lambda _: 1), "t", "s", talk.now)
    talk.now += seconds
    talk.opens()
    data = connect_data(auth_data=pb.AuthData(session_token="t", sync_token="s"))

    assert closes(talk.sends(K.WORKER_CONNECT, data.SerializeToString())) == close
    assert talk.model.protocol_errors == []


def test_a_session_is_checked_before_the_apps() -> None:
    talk = Talk()
    talk.model.issued(make_ulid(1.0, lambda _: 1), "t", "s", talk.now)
    talk.opens()

    refused = talk.sends(K.WORKER_CONNECT, connect_data(apps=[]).SerializeToString())

    assert closes(refused) == [(1008, "connect_authentication_failed")]


def test_a_message_above_the_limit_closes_the_connection() -> None:
    talk = Talk().ready()
    data = pb.ConnectMessage(kind=K.WORKER_STATUS, payload=b"0" * (8 * 1024 * 1024))

    refused = talk.model.received(1, data.SerializeToString(), talk.now)

    assert closes(refused) == [(1009, "read limited at 8388609 bytes")]


def test_a_connection_that_takes_nothing_for_five_seconds_is_dropped() -> None:
    blocked, freed = Talk().ready(), Talk().ready()
    for talk in (blocked, freed):
        talk.model.blocked(1, talk.now)
        talk.model.blocked(1, talk.now + 1.0)
    freed.model.unblocked(1)

    assert blocked.model.tick(blocked.now + 5.0) == [DropConnection(1)]
    assert blocked.model.seen["write timed out"] == 1
    assert freed.model.tick(freed.now + 5.0) == []


def test_each_gateway_has_its_own_intervals() -> None:
    talk = Talk(heartbeat_interval="10s")
    talk.model.settings_of["other"] = GatewaySettings(heartbeat_interval="2s")
    intervals = []
    for number, gateway in ((1, "g"), (2, "other")):
        talk.opens(number, gateway)
        (ready,) = talk.sends(K.WORKER_CONNECT, connect_data().SerializeToString(), number)
        assert isinstance(ready, SendTo)
        payload = pb.ConnectMessage.FromString(ready.data).payload
        intervals.append(pb.GatewayConnectionReadyData.FromString(payload).heartbeat_interval)

    dropped = talk.model.tick(talk.now + 10.0)

    assert intervals == ["10s", "2s"]
    assert dropped == [DropConnection(2)]


@pytest.mark.parametrize(
    ("skips", "changes", "answer"),
    [
        (True, {}, ["GATEWAY_CONNECTION_READY"]),
        (True, {"sdk_version": "2"}, []),
        (False, {}, []),
    ],
)
def test_only_a_change_is_synchronized_again(
    skips: bool, changes: dict[str, object], answer: list[str]
) -> None:
    talk = Talk(sync_delay=2.0, skip_unchanged_sync=skips)
    first = connects(talk)
    talk.now += 2.0
    synchronized = talk.model.tick(talk.now)

    assert first == []
    assert kinds(synchronized) == ["GATEWAY_CONNECTION_READY"]
    assert connects(talk, 2, **changes) == answer


def test_a_drain_during_the_synchronization_ends_the_handshake() -> None:
    talk = Talk(sync_delay=2.0)
    connects(talk, worker_manual_readiness_ack=False)

    announced = talk.model.drain("g", talk.now)
    ended = talk.model.tick(talk.now + 2.0)

    assert kinds(announced) == ["GATEWAY_CLOSING"]
    assert kinds(ended) == []
    assert closes(ended) == [(1001, "connect_gateway_closing")]


def test_the_phase_can_change_after_the_worker_was_told_that_it_is_ready() -> None:
    talk = Talk(ready_delay=0.5)
    told = connects(talk, worker_manual_readiness_ack=False)

    early = talk.sends(K.WORKER_HEARTBEAT)
    talk.now += 0.5
    talk.model.tick(talk.now)
    late = talk.sends(K.WORKER_HEARTBEAT)

    assert told == ["GATEWAY_CONNECTION_READY"]
    assert early == []
    assert kinds(late) == ["GATEWAY_HEARTBEAT"]
    assert talk.model.seen["unanswered before WORKER_READY"] == 1


def test_a_pause_is_not_undone_by_the_phase_that_was_due() -> None:
    talk = Talk(ready_delay=0.5)
    connects(talk, worker_manual_readiness_ack=False)
    talk.sends(K.WORKER_PAUSE)

    talk.model.tick(talk.now + 0.5)

    assert talk.model.connections[1].phase.value == "DRAINING"


def test_three_heartbeats_that_cannot_be_stored_end_the_connection() -> None:
    talk = Talk().ready()
    talk.model.fail_store(talk.now + 1.0)

    answers = [talk.sends(K.WORKER_HEARTBEAT) for _ in range(3)]

    assert answers[0] == answers[1] == []
    assert closes(answers[2]) == [(1011, "connect_internal_error")]


def test_a_heartbeat_that_is_stored_ends_the_row() -> None:
    talk = Talk().ready()
    talk.model.fail_store(talk.now + 1.0)
    talk.sends(K.WORKER_HEARTBEAT)
    talk.sends(K.WORKER_HEARTBEAT)
    talk.now += 1.0
    talk.sends(K.WORKER_HEARTBEAT)
    talk.model.fail_store(talk.now + 1.0)

    assert talk.sends(K.WORKER_HEARTBEAT) == []


def test_nobody_can_introduce_itself_while_nothing_can_be_stored() -> None:
    talk = Talk()
    talk.model.fail_store(talk.now + 1.0)
    talk.opens()

    refused = talk.sends(K.WORKER_CONNECT, connect_data().SerializeToString())

    assert closes(refused) == [(1011, "connect_internal_error")]
    assert talk.model.protocol_errors == []


def test_five_messages_are_handled_at_the_same_time_and_the_sixth_waits() -> None:
    talk = Talk(handling_delay=1.0, control_delay=0.0).ready()
    talk.bits = iter([65536 // 2] * 5 + [1])

    for count in range(6):
        talk.sends(K.WORKER_REPLY, reply_to(f"r{count}"))
    early = talk.model.tick(talk.now + 0.4)
    first = talk.model.tick(talk.now + 0.5)
    last = talk.model.tick(talk.now + 0.6)

    assert early == []
    assert kinds(first) == ["WORKER_REPLY_ACK"] * 5
    assert kinds(last) == ["WORKER_REPLY_ACK"]


def test_an_extension_can_overtake_the_message_that_the_worker_is_ready() -> None:
    """It is not answered then (docs/protocol.md#ready)."""
    talk = Talk(control_delay=1.0)
    connects(talk)
    data = pb.WorkerRequestExtendLeaseData(
        request_id="r", lease_id=make_ulid(1.0, lambda _: 1)
    ).SerializeToString()

    ready = talk.sends(K.WORKER_READY)
    extension = talk.sends(K.WORKER_REQUEST_EXTEND_LEASE, data)
    talk.now += 1.0
    talk.model.tick(talk.now)
    repeated = talk.sends(K.WORKER_REQUEST_EXTEND_LEASE, data)

    assert ready == extension == []
    assert kinds(repeated) == ["WORKER_REQUEST_EXTEND_LEASE_ACK"]


def test_an_extension_can_overtake_an_acknowledgement() -> None:
    talk = Talk(handling_delay=1.0, control_delay=0.0).ready()
    request_id, _ = talk.dispatch()
    data = pb.WorkerRequestExtendLeaseData(request_id=request_id, lease_id=talk.lease(request_id))
    talk.bits = iter([60000, 100, 7])

    talk.acks(request_id)
    talk.sends(K.WORKER_REQUEST_EXTEND_LEASE, data.SerializeToString())
    answered = talk.model.tick(talk.now + 0.5)
    talk.model.tick(talk.now + 1.0)

    assert kinds(answered) == ["WORKER_REQUEST_EXTEND_LEASE_ACK"]
    assert talk.model.seen["extension overtook an acknowledgement"] == 1
    assert talk.model.ledger.acknowledged == 1
