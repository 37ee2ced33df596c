"""How the executor comes to a reply that is stored (docs/protocol.md#replies)."""

import pytest

from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing.model.actions import RequestEnded
from tests.unit.testing.model.model_talk import K, Talk, closes, kinds, reply_to

pytestmark = pytest.mark.unit


def test_a_stored_reply_is_collected_later_and_the_first_one_wins() -> None:
    talk = Talk(reply_poll=4.0).ready()
    request_id, _ = talk.dispatch()
    talk.acks(request_id)
    talk.bits = iter([32768])

    first = talk.sends(K.WORKER_REPLY, reply_to(request_id, b"first"))
    second = talk.sends(K.WORKER_REPLY, reply_to(request_id, b"second"))
    early = talk.model.tick(talk.now + 1.9)
    (ended,) = talk.model.tick(talk.now + 2.0)

    assert kinds(first) == kinds(second) == ["WORKER_REPLY_ACK"]
    assert early == []
    assert isinstance(ended, RequestEnded)
    assert ended.response is not None
    assert ended.response.body == b"first"


def test_a_lease_can_be_extended_until_the_reply_is_collected() -> None:
    talk = Talk(reply_poll=4.0).ready()
    request_id, _ = talk.dispatch()
    talk.acks(request_id)
    talk.sends(K.WORKER_REPLY, reply_to(request_id))

    assert talk.extends(request_id, talk.lease(request_id)) is not None


@pytest.mark.parametrize(("seconds", "answered"), [(59.9, 1), (60.0, 0)])
def test_a_reply_before_the_acknowledgement_is_kept_for_a_minute(
    seconds: float, answered: int
) -> None:
    talk = Talk(collect_after_acknowledgement=True, heartbeat_interval="1h").ready()
    request_id, _ = talk.dispatch()
    response = pb.SDKResponse.FromString(reply_to(request_id))

    flushed = talk.model.flush(response, talk.now)
    talk.now += seconds
    talk.acks(request_id)

    assert flushed == []
    assert talk.model.ledger.answered == answered
    assert talk.model.seen["stored reply expired"] == 1 - answered


def test_what_cannot_be_stored_closes_the_connection_without_an_acknowledgement() -> None:
    talk = Talk().ready(1).ready(2)
    request_id, _ = talk.dispatch()
    number = talk.model.ledger.records[request_id].forwards[0]
    talk.acks(request_id, number)
    talk.model.fail_store(talk.now + 1.0)
    lease = pb.WorkerRequestExtendLeaseData(request_id=request_id, lease_id=talk.lease(request_id))

    reply = talk.sends(K.WORKER_REPLY, reply_to(request_id), number)
    extension = talk.sends(K.WORKER_REQUEST_EXTEND_LEASE, lease.SerializeToString(), 3 - number)

    assert closes(reply) == closes(extension) == [(1011, "connect_internal_error")]
    assert kinds(reply) == kinds(extension) == []
    assert not talk.model.can_store(talk.now)
    assert talk.model.can_store(talk.now + 1.0)
    assert talk.model.protocol_errors == []
