"""ReplyDelivery: which reply is flushed when, and how many at once."""

import pytest

from inngest_connect.core.commands import Flush, Send, Withdraw
from inngest_connect.core.connections.generation import Generation
from inngest_connect.core.connections.phases import Phase
from inngest_connect.core.events import ErrorOccurred
from inngest_connect.core.outbox import Outbox
from inngest_connect.core.requests.answered_requests import AnsweredRequests
from inngest_connect.core.requests.delivery import ReplyDelivery
from inngest_connect.core.requests.leases import LeaseTable
from inngest_connect.core.requests.message_buffer import BufferedReply, MessageBuffer
from inngest_connect.core.settings import CoreSettings
from inngest_connect.core.signing_keys import SigningKeys
from tests.unit.core.conversation import only

MEGABYTE = 1024 * 1024

pytestmark = pytest.mark.unit


class Delivery(ReplyDelivery):
    """One whose commands are seen, and whose replies are given by id."""

    def __init__(self, keys: int = 1, **settings: object) -> None:
        options = CoreSettings(**{"reply_ack_timeout": 5.0, **settings})  # type: ignore[arg-type]
        buffer = MessageBuffer(options.max_buffer_bytes)
        leases = LeaseTable(options.extend_lease_interval)
        self.outbox = Outbox()
        self.keys = SigningKeys(keys)
        super().__init__(buffer, options, self.keys, lambda: 0.5, leases, self.outbox)

    def answer(
        self, request_id: str, payload: bytes, carrier: Generation | None, now: float
    ) -> None:
        self.add(BufferedReply(request_id, payload), carrier, now)

    def flushed_at(self, now: float) -> list[str]:
        self.tick(None, now)
        return [flush.request_id for flush in only(self.outbox.take(), Flush)]


def socket(number: int, delivery: Delivery) -> Generation:
    """A connection on which replies are sent."""
    generation = Generation(number, 0, CoreSettings(), delivery.outbox, 0.0)
    generation.phase = Phase.ACTIVE
    return generation


def test_no_more_flushes_run_at_once_than_allowed_and_each_end_lets_one_more_begin() -> None:
    delivery = Delivery(flushes_at_once=3)
    for name in "abcdef":
        delivery.answer(name, b"x", None, 0.0)

    first = delivery.flushed_at(0.0)
    assert delivery.next_deadline() is None
    delivery.flush_succeeded("a", 0.0)
    assert delivery.next_deadline() == 0.0
    second = delivery.flushed_at(0.0)
    delivery.flush_failed("b", 500, "down", None, None, 0.0)
    third = delivery.flushed_at(0.0)

    assert (first, second, third) == (["a", "b", "c"], ["d"], ["e"])
    assert delivery.flushed_at(0.0) == []


@pytest.mark.parametrize("failed", [False, True])
def test_a_reply_that_is_acknowledged_while_it_is_flushed_gives_its_place_back(
    failed: bool,
) -> None:
    delivery = Delivery(flushes_at_once=1)
    for name in "ab":
        delivery.answer(name, b"x", None, 0.0)
    first = delivery.flushed_at(0.0)
    delivery.acknowledged("a", 0.0)

    if failed:
        delivery.flush_failed("a", 500, "down", None, None, 0.0)
    else:
        delivery.flush_succeeded("a", 0.0)

    assert (first, delivery.flushed_at(0.0)) == (["a"], ["b"])


def test_every_delivered_flush_and_every_lost_reply_is_counted() -> None:
    delivery = Delivery()
    for name in "abcd":
        delivery.answer(name, b"x", None, 0.0)
    delivery.flushed_at(0.0)

    delivery.flush_succeeded("a", 0.0)
    delivery.flush_succeeded("b", 0.0)
    gone = [delivery.flush_failed(name, 400, "bad", None, None, 0.0) for name in "cd"]

    assert (delivery.flushed, delivery.lost) == (2, 2)
    assert gone == [True, True]


def test_a_result_for_a_reply_that_nobody_waits_for_changes_nothing() -> None:
    delivery = Delivery()
    delivery.answer("a", b"x", None, 0.0)
    delivery.flushed_at(0.0)
    delivery.acknowledged("a", 0.0)

    assert delivery.flush_succeeded("a", 0.0) is False
    assert delivery.flush_failed("a", 500, "late", None, None, 0.0) is False
    assert delivery.flushed == 0


def test_nothing_is_due_when_nothing_waits() -> None:
    delivery = Delivery()
    delivery.answer("a", b"x", socket(1, delivery), 0.0)

    delivery.acknowledged("a", 0.0)

    assert delivery.next_deadline() is None


def test_an_evicted_reply_is_not_due_any_more() -> None:
    delivery = Delivery(max_buffer_bytes=1024)
    delivery.answer("a", b"x" * 1000, socket(1, delivery), 0.0)

    delivery.answer("b", b"x" * 1000, socket(1, delivery), 3.0)

    assert delivery.next_deadline() == 8.0


def test_a_new_socket_gets_the_whole_time_for_an_acknowledgement_again() -> None:
    delivery = Delivery()
    delivery.answer("a", b"x", None, 0.0)
    delivery.flushed_at(0.0)
    delivery.flush_failed("a", 500, "down", None, None, 0.0)

    delivery.connection_ready(socket(2, delivery), 0.5)

    assert [send.generation for send in only(delivery.outbox.take(), Send)] == [2]
    assert delivery.next_deadline() == 5.5


def test_a_flush_under_way_is_not_begun_again_by_a_new_socket() -> None:
    delivery = Delivery()
    delivery.answer("a", b"x", None, 0.0)
    delivery.flushed_at(0.0)

    delivery.connection_ready(socket(2, delivery), 0.5)

    assert delivery.flushed_at(100.0) == []


@pytest.mark.parametrize(
    ("interval", "wished", "next_try"),
    [
        (30.0, 3600.0, 33.0),  # the end of the schedule, and 10 % of jitter
        (6.0, 3600.0, 6.6),
        (6.0, 4.0, 4.4),
        (0.3, 3600.0, 1.0),  # the schedule of its own
        (6.0, None, 1.0),
        (6.0, 0.0, 1.0),
    ],
)
def test_a_wish_of_the_server_does_not_outlive_the_lease(
    interval: float, wished: float | None, next_try: float
) -> None:
    delivery = Delivery(extend_lease_interval=interval)
    delivery.answer("a", b"x", None, 0.0)
    delivery.flushed_at(0.0)

    delivery.flush_failed("a", 503, "busy", wished, None, 0.0)

    assert delivery.next_deadline() == pytest.approx(next_try)


def test_flushes_that_are_refused_together_blame_the_key_that_they_used() -> None:
    delivery = Delivery(keys=2)
    for name in "ab":
        delivery.answer(name, b"x", None, 0.0)
    delivery.flushed_at(0.0)

    for name in "ab":
        delivery.flush_failed(name, 401, "no such key", None, None, 0.0)
    delivery.tick(None, 0.0)

    assert [(flush.request_id, flush.key) for flush in only(delivery.outbox.take(), Flush)] == [
        ("a", 1),
        ("b", 1),
    ]
    assert not delivery.keys.exhausted()


def test_a_late_success_of_a_key_that_was_left_says_nothing_of_the_current_one() -> None:
    keys = SigningKeys(2)
    keys.refused(0)
    keys.accepted(0)
    keys.refused(1)

    assert keys.exhausted()


def test_answered_requests_that_are_forgotten_early_are_reported_once_a_window() -> None:
    delivery = Delivery()
    delivery.answered = AnsweredRequests(ids_bytes=700)
    for number in range(6):
        delivery.answer(f"r{number}", b"x", socket(1, delivery), 0.0)
        delivery.acknowledged(f"r{number}", 10.0)
    delivery.answer("later", b"x", socket(1, delivery), 0.0)
    delivery.acknowledged("later", 159.0)

    (error,) = only(delivery.outbox.take(), ErrorOccurred)
    assert error.kind == "answered_requests_forgotten"
    assert error.message == (
        "1 answered requests were forgotten before the 150 s in which Inngest may send them "
        "again: too many are answered for the memory that is set aside. One that comes again is "
        "executed again"
    )
    assert delivery.answered.forgotten == 5


def test_answered_requests_that_are_forgotten_early_are_reported_again_in_the_next_window() -> None:
    delivery = Delivery()
    delivery.answered = AnsweredRequests(ids_bytes=700)
    for name, now in (("a", 0.0), ("b", 0.0), ("c", 10.0), ("d", 140.0), ("e", 160.0)):
        delivery.answer(name, b"x", socket(1, delivery), now)
        delivery.acknowledged(name, now)

    reported = only(delivery.outbox.take(), ErrorOccurred)

    assert [error.request_id for error in reported] == ["c", "e"]


def test_a_new_connection_is_given_no_more_replies_than_its_queue_takes() -> None:
    """The others are flushed as before, which began when the connection was lost."""
    delivery = Delivery(flushes_at_once=2)
    for number in range(10):
        delivery.answer(f"r{number}", bytes(4 * MEGABYTE), None, 0.0)

    delivery.connection_ready(socket(2, delivery), 1.0)

    assert len(only(delivery.outbox.take(), Send)) == 8
    assert delivery.flushed_at(1.0) == ["r8", "r9"]
    assert delivery.waiting_on(2)


@pytest.mark.parametrize(("carrier", "withdrawn"), [(1, [Withdraw(1, "r1")]), (None, [])])
def test_a_flushed_reply_is_not_written_any_more(
    carrier: int | None, withdrawn: list[Withdraw]
) -> None:
    delivery = Delivery()
    delivery.answer("r1", b"x", socket(carrier, delivery) if carrier else None, 0.0)
    assert delivery.flushed_at(5.0) == ["r1"]

    delivery.flush_succeeded("r1", 5.0)

    assert only(delivery.outbox.take(), Withdraw) == withdrawn


def evicted_and_made_again() -> Delivery:
    """The reply to r is on its way to the API, was evicted, and the function has run again."""
    delivery = Delivery(max_buffer_bytes=100)
    delivery.answer("r", b"x" * 60, None, 0.0)
    delivery.flushed_at(0.0)
    delivery.answer("other", b"x" * 60, None, 0.0)
    delivery.answer("r", b"y" * 60, None, 1.0)
    return delivery


def test_a_reply_is_flushed_when_the_one_that_was_evicted_has_failed() -> None:
    """Whatever the API says of the bytes of that one."""
    delivery = evicted_and_made_again()

    meanwhile = delivery.flushed_at(1.0)
    refused = delivery.flush_failed("r", 413, "too large", None, None, 2.0)

    assert (meanwhile, refused) == ([], False)
    assert delivery.flushed_at(2.0) == ["r"]


def test_a_reply_is_delivered_when_the_server_has_stored_the_one_that_was_evicted() -> None:
    delivery = evicted_and_made_again()
    delivery.flushed_at(1.0)

    assert delivery.flush_succeeded("r", 2.0)

    assert delivery.flushed_at(60.0) == []
    assert "r" in delivery.answered


def test_the_end_of_a_flush_of_what_was_evicted_hurries_nothing() -> None:
    delivery = evicted_and_made_again()

    delivery.flush_failed("r", 503, "away", None, None, 0.5)

    assert delivery.next_deadline() == 1.0


def test_what_a_flush_could_not_deliver_is_written_on_the_connection_that_serves() -> None:
    """It waited for the journal, for example; the API refuses it, and the socket is sound."""
    delivery = Delivery()
    delivery.answer("r", b"x", None, 0.0)
    delivery.flushed_at(0.0)
    delivery.outbox.take()

    delivery.flush_failed("r", 503, "away", None, socket(2, delivery), 1.0)

    assert [sent.generation for sent in only(delivery.outbox.take(), Send)] == [2]
    assert delivery.waiting_on(2)
    assert delivery.next_deadline() == 6.0  # when its acknowledgement has not come


def test_what_the_connection_that_serves_has_carried_is_only_flushed_again() -> None:
    delivery = Delivery()
    serving = socket(1, delivery)
    delivery.answer("r", b"x", serving, 0.0)
    delivery.flushed_at(5.0)
    delivery.outbox.take()

    delivery.flush_failed("r", 503, "away", None, serving, 5.0)

    assert only(delivery.outbox.take(), Send) == []
    assert delivery.next_deadline() == 6.0


def test_what_a_flush_could_not_deliver_waits_for_as_long_as_the_api_wishes() -> None:
    delivery = Delivery()
    delivery.answer("r", b"x", None, 0.0)
    delivery.flushed_at(0.0)

    delivery.flush_failed("r", 503, "busy", 20.0, socket(2, delivery), 0.0)

    assert delivery.next_deadline() == pytest.approx(22.0)


def test_what_waits_for_the_journal_is_not_flushed_when_what_was_evicted_has_failed() -> None:
    delivery = Delivery(max_buffer_bytes=100, journal_patience=5.0)
    delivery.answer("r", b"x" * 60, None, 0.0)
    delivery.flushed_at(0.0)
    delivery.answer("other", b"x" * 60, None, 0.0)
    delivery.add(BufferedReply("r", b"y" * 60, uncommitted=True), None, 1.0)

    delivery.flush_failed("r", 503, "away", None, None, 2.0)

    assert delivery.flushed_at(2.0) == []
    assert delivery.flushed_at(6.0) == ["r"]


def test_what_waited_too_long_for_the_journal_is_written_although_no_flush_may_begin() -> None:
    delivery = Delivery(flushes_at_once=1, journal_patience=5.0)
    delivery.answer("hangs", b"x", None, 0.0)
    delivery.flushed_at(0.0)
    delivery.add(BufferedReply("r", b"x", uncommitted=True), socket(1, delivery), 0.0)
    delivery.outbox.take()

    due = delivery.next_deadline()
    delivery.tick(socket(1, delivery), 5.0)

    assert due == 5.0
    assert [sent.reply_to for sent in only(delivery.outbox.take(), Send)] == ["r"]
    assert delivery.next_deadline() is None


def test_what_is_evicted_does_not_wait_for_the_journal_any_more() -> None:
    delivery = Delivery(max_buffer_bytes=100, journal_patience=5.0)
    delivery.add(BufferedReply("r", b"x" * 60, uncommitted=True), None, 0.0)
    delivery.answer("other", b"x" * 60, socket(1, delivery), 0.0)
    delivery.outbox.take()

    delivery.tick(None, 5.0)

    assert only(delivery.outbox.take(), ErrorOccurred) == []
