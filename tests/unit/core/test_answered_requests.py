"""AnsweredRequests: how long, and how much of it, an answered request is remembered."""

import pytest

from inngest_connect.core.requests.answered_requests import AnsweredRequests

pytestmark = pytest.mark.unit


@pytest.mark.scenario("H")
def test_an_answered_request_is_remembered_with_its_reply() -> None:
    answered = AnsweredRequests()
    answered.remember("r", b"reply", 0.0)

    assert "r" in answered
    assert answered.reply("r") == b"reply"
    assert "other" not in answered


def test_a_request_is_forgotten_when_its_window_has_passed() -> None:
    answered = AnsweredRequests()
    answered.remember("old", b"x", 0.0)
    answered.remember("young", b"x", 100.0)
    answered.turned_on_time(151.0)

    early = answered.remember("newest", b"x", 151.0)

    assert [name in answered for name in ("old", "young", "newest")] == [False, True, True]
    assert (early, answered.forgotten) == (0, 0)


def test_a_request_is_remembered_for_exactly_its_window() -> None:
    answered = AnsweredRequests()
    answered.remember("r", b"x", 100.0)
    answered.turned_on_time(250.0)

    answered.remember("other", b"x", 250.0)

    assert "r" in answered


def test_no_number_of_others_within_the_window_makes_it_forget() -> None:
    answered = AnsweredRequests()
    answered.remember("first", b"", 0.0)
    for number in range(100_000):
        answered.remember(f"request-{number}", b"", 0.0)

    assert "first" in answered


def test_a_repetition_starts_the_window_again() -> None:
    answered = AnsweredRequests()
    answered.remember("r", b"x", 0.0)
    answered.remember("r", b"x", 125.0)
    answered.turned_on_time(260.0)
    answered.remember("other", b"x", 260.0)

    assert answered.reply("r") == b"x"
    assert len(answered) == 2


def test_a_repetition_does_not_keep_those_that_came_before_it() -> None:
    answered = AnsweredRequests()
    answered.remember("repeated", b"x", 0.0)
    answered.remember("other", b"x", 1.0)
    answered.remember("repeated", b"x", 100.0)
    answered.turned_on_time(152.0)

    answered.remember("newest", b"x", 152.0)

    assert [name in answered for name in ("repeated", "other", "newest")] == [True, False, True]


def test_old_replies_make_room_for_young_ones_and_their_ids_stay() -> None:
    answered = AnsweredRequests(replies_bytes=100)
    for name in "abcd":
        answered.remember(name, b"x" * 40, 0.0)

    assert [answered.reply(name) for name in "abcd"] == [None, None, b"x" * 40, b"x" * 40]
    assert "a" in answered


def test_what_is_forgotten_with_its_window_leaves_the_room_of_the_others_taken() -> None:
    answered = AnsweredRequests(replies_bytes=100)
    answered.remember("expired", b"x" * 10, 0.0)
    answered.turned_on_time(160.0)
    answered.remember("older", b"x" * 40, 160.0)

    answered.remember("newest", b"x" * 70, 161.0)

    assert answered.reply("older") is None
    assert answered.reply("newest") == b"x" * 70


def test_the_newest_reply_is_kept_whatever_its_size() -> None:
    answered = AnsweredRequests(replies_bytes=100)
    answered.remember("a", b"x" * 10, 0.0)
    answered.remember("b", b"x" * 5_000, 0.0)

    assert [answered.reply(name) for name in "ab"] == [None, b"x" * 5_000]


def test_ids_are_bounded_in_bytes_and_those_forgotten_early_are_counted() -> None:
    answered = AnsweredRequests(ids_bytes=10 * 400)
    early = [answered.remember(f"{number:0100}", b"", 1000.0) for number in range(12)]

    early.append(answered.remember("x" * 500, b"", 1000.0))

    assert early == [0] * 10 + [1, 1, 2]
    assert answered.forgotten == 4
    assert len(answered) == 9


def test_room_is_made_again_by_what_is_forgotten() -> None:
    """What leaves has to be subtracted, of ids and of replies, or nothing is kept later."""
    answered = AnsweredRequests(replies_bytes=100)
    for number in range(1_000):
        answered.turned_on_time(number * 200.0)
        answered.remember(str(number), b"x" * 50, number * 200.0)

    assert len(answered) == 1
    assert answered.reply("999") == b"x" * 50
    assert answered.remember("next", b"x" * 50, 999 * 200.0) == 0
    assert answered.reply("999") == b"x" * 50


def test_time_in_which_nothing_was_read_does_not_make_it_forget() -> None:
    answered = AnsweredRequests()
    answered.remember("r", b"x", 0.0)
    answered.turned_on_time(150.0)

    answered.remember("other", b"x", 400.0)

    assert "r" in answered
