"""MessageBuffer."""

import pytest

from inngest_connect.core.requests.message_buffer import BufferedReply, MessageBuffer

pytestmark = pytest.mark.unit


def test_a_reply_leaves_by_acknowledgement() -> None:
    buffer = MessageBuffer(1000)
    buffer.add(BufferedReply("r", b"x" * 10))

    delivered = buffer.remove("r")

    assert delivered is not None
    assert delivered.payload == b"x" * 10
    assert (len(buffer), buffer.size_bytes) == (0, 0)
    assert buffer.remove("r") is None


def test_the_first_reply_of_a_request_wins() -> None:
    buffer = MessageBuffer(1000)
    buffer.add(BufferedReply("r", b"first"))
    buffer.add(BufferedReply("r", b"second"))

    reply = buffer.get("r")

    assert reply is not None
    assert reply.payload == b"first"
    assert buffer.size_bytes == 5


@pytest.mark.scenario("50")
def test_eviction_takes_the_oldest_and_only_as_many_as_needed() -> None:
    buffer = MessageBuffer(100)
    for name in "abc":
        buffer.add(BufferedReply(name, b"x" * 30))

    evicted = buffer.add(BufferedReply("d", b"x" * 40))

    assert [lost.request_id for lost in evicted] == ["a"]
    assert [reply.request_id for reply in buffer] == ["b", "c", "d"]
    assert buffer.size_bytes == 100


def test_a_reply_larger_than_the_buffer_is_still_kept() -> None:
    buffer = MessageBuffer(100)
    buffer.add(BufferedReply("a", b"x" * 10))

    evicted = buffer.add(BufferedReply("huge", b"x" * 500))

    assert [lost.request_id for lost in evicted] == ["a"]
    assert "huge" in buffer


def test_high_water_is_three_quarters() -> None:
    buffer = MessageBuffer(100)
    buffer.add(BufferedReply("a", b"x" * 74))
    below = buffer.above_high_water()
    buffer.add(BufferedReply("b", b"x"))

    assert (below, buffer.above_high_water()) == (False, True)


def test_a_delivered_reply_makes_room_and_leaves_no_trace() -> None:
    buffer = MessageBuffer(1000)
    buffer.add(BufferedReply("r", b"reply"))

    assert buffer.remove("r") is not None
    assert (buffer.size_bytes, len(buffer)) == (0, 0)


def test_the_replies_on_a_socket_are_counted_by_the_last_one_that_carried_them() -> None:
    buffer = MessageBuffer(1000)
    for name in "abc":
        buffer.add(BufferedReply(name, b"reply"))
        reply = buffer.get(name)
        assert reply is not None
        buffer.sent(reply, 1)
    moved = buffer.get("a")
    assert moved is not None

    buffer.sent(moved, 2)
    buffer.remove("b")

    assert [buffer.carried_by(generation) for generation in (1, 2, 3)] == [1, 1, 0]
