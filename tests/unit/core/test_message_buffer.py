"""MessageBuffer."""

import pytest

from inngest_connect.core.message_buffer import ANSWERED_BYTES, ANSWERED_IDS, MessageBuffer

pytestmark = pytest.mark.unit


def test_a_reply_leaves_by_acknowledgement() -> None:
    buffer = MessageBuffer(1000)
    buffer.add("r", b"x" * 10)

    delivered = buffer.delivered("r")

    assert delivered is not None
    assert delivered.payload == b"x" * 10
    assert (len(buffer), buffer.size_bytes) == (0, 0)
    assert buffer.delivered("r") is None


def test_the_first_reply_of_a_request_wins() -> None:
    buffer = MessageBuffer(1000)
    buffer.add("r", b"first")
    buffer.add("r", b"second")

    reply = buffer.get("r")

    assert reply is not None
    assert reply.payload == b"first"
    assert buffer.size_bytes == 5


def test_eviction_takes_the_oldest_and_only_as_many_as_needed() -> None:
    """Scenario 50."""
    buffer = MessageBuffer(100)
    for name in "abc":
        buffer.add(name, b"x" * 30)

    evicted = buffer.add("d", b"x" * 40)

    assert evicted == ["a"]
    assert [reply.request_id for reply in buffer] == ["b", "c", "d"]
    assert buffer.size_bytes == 100


def test_a_reply_larger_than_the_buffer_is_still_kept() -> None:
    buffer = MessageBuffer(100)
    buffer.add("a", b"x" * 10)

    assert buffer.add("huge", b"x" * 500) == ["a"]
    assert "huge" in buffer


def test_high_water_is_three_quarters() -> None:
    buffer = MessageBuffer(100)
    buffer.add("a", b"x" * 74)
    below = buffer.above_high_water()
    buffer.add("b", b"x")

    assert (below, buffer.above_high_water()) == (False, True)


def test_an_answered_request_is_remembered_with_its_reply() -> None:
    """Scenario H."""
    buffer = MessageBuffer(1000)
    buffer.add("r", b"reply")
    buffer.delivered("r")

    assert buffer.was_answered("r")
    assert buffer.answer_of("r") == b"reply"
    assert not buffer.was_answered("other")


def test_a_discarded_reply_is_not_remembered_as_answered() -> None:
    buffer = MessageBuffer(1000)
    buffer.add("r", b"reply")

    assert buffer.discard("r") is not None
    assert not buffer.was_answered("r")
    assert buffer.size_bytes == 0


def test_what_is_remembered_is_bounded_in_number_and_bytes() -> None:
    buffer = MessageBuffer(10**9)
    for number in range(ANSWERED_IDS + 100):
        buffer.add(f"r{number}", b"x" * 4096)
        buffer.delivered(f"r{number}")

    newest = f"r{ANSWERED_IDS + 99}"
    remembered = [n for n in range(ANSWERED_IDS + 100) if buffer.was_answered(f"r{n}")]
    kept = sum(len(buffer.answer_of(f"r{n}") or b"") for n in remembered)
    assert len(remembered) == ANSWERED_IDS
    assert kept <= ANSWERED_BYTES
    assert buffer.answer_of(newest) == b"x" * 4096
    assert kept > ANSWERED_BYTES // 2 - 4096


def test_forgetting_an_old_answer_makes_room_for_new_ones() -> None:
    """What is dropped by number has to be subtracted from the bytes, or nothing is kept later."""
    buffer = MessageBuffer(10**9)
    for number in range(3 * ANSWERED_IDS):
        buffer.add(f"r{number}", b"x" * 512)
        buffer.delivered(f"r{number}")

    oldest_kept = f"r{2 * ANSWERED_IDS}"
    assert buffer.answer_of(oldest_kept) == b"x" * 512
