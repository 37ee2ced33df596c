"""Functions that do not end: reported by name and age, and no longer extended after two hours."""

import pytest

from inngest_connect.core import commands as do
from inngest_connect.core.events import ErrorOccurred, LeaseLost
from inngest_connect.core.requests.long_running import LongRunning
from inngest_connect.core.settings import CoreSettings
from inngest_connect.observability.debug_state import snapshot
from tests.unit.core.conversation import Conversation, errors, one, only, sent

pytestmark = pytest.mark.unit

MINUTE = 60.0
HOUR = 3600.0


def talk_with(**settings: object) -> Conversation:
    return Conversation(settings=CoreSettings(**settings)).connected()  # type: ignore[arg-type]


def lease_of(now: float) -> str:
    """The id that the server gives when it extends a lease now: it is newer than those before."""
    return f"01ARZ3NDEKTSV4RRFFQ7{now:06.0f}"


def serves(talk: Conversation, seconds: float) -> list[do.Command]:
    """Time passes on a gateway that answers heartbeats and grants every extension."""
    answered: list[do.Command] = []
    until = talk.now + seconds
    while talk.now < until:
        answered += talk.heartbeats_answered_for(min(10.0, until - talk.now))
        for lease in talk.core.leases:
            if lease.outstanding:
                talk.lease_answer(lease.request_id, lease_of(talk.now))
    return answered


def warned(commands: list[do.Command], kind: str) -> list[ErrorOccurred]:
    return [error for error in only(commands, ErrorOccurred) if error.kind == kind]


def test_a_function_that_does_not_end_is_reported_each_time_it_is_twice_as_old() -> None:
    talk = talk_with()
    talk.request("r1")

    hours = serves(talk, 1.9 * HOUR)

    (warning,) = warned(hours, "function_long_running")
    assert (warning.request_id, warning.run_id, warning.function_slug) == (
        "r1",
        "run-of-r1",
        "app-fn",
    )
    assert "60 min" in warning.message
    later = warned(serves(talk, 15 * HOUR), "function_long_running")
    assert len(later) == 4  # after 2, 4, 8 and 16 hours
    assert "2.0 h" in later[0].message


def test_a_function_is_reported_when_it_reaches_that_age_and_not_at_the_next_heartbeat() -> None:
    talk = talk_with(long_running_warning=7.0)
    talk.request("r1")

    assert errors(talk.passes(6.9)) == []
    assert errors(talk.passes(0.1)) == ["function_long_running"]


@pytest.mark.parametrize(("seconds", "warnings"), [(30.0, 1), (None, 0)])
def test_the_age_at_which_a_function_is_reported_is_an_option(
    seconds: float | None, warnings: int
) -> None:
    talk = talk_with(long_running_warning=seconds)
    talk.request("r1")

    minute = serves(talk, 59.0)

    assert len(warned(minute, "function_long_running")) == warnings


def test_a_function_that_ended_is_not_reported() -> None:
    talk = talk_with(long_running_warning=30.0)
    talk.request("r1")
    serves(talk, 29.0)
    talk.function_returns("r1")
    talk.reply_acked("r1")

    assert "function_long_running" not in errors(serves(talk, 10 * MINUTE))


def test_a_function_that_ended_after_it_was_reported_is_not_reported_again() -> None:
    talk = talk_with(long_running_warning=30.0)
    talk.request("r1")
    reported = errors(serves(talk, 40.0))
    talk.function_returns("r1")
    talk.reply_acked("r1")

    later = errors(serves(talk, 10 * MINUTE))

    assert reported == ["function_long_running"]
    assert later == []
    assert snapshot(talk.core, talk.now).oldest_running_age is None


def test_each_function_is_reported_at_its_own_age() -> None:
    talk = talk_with(long_running_warning=60.0)
    talk.request("older")
    serves(talk, 30.0)
    talk.request("younger")

    first = warned(serves(talk, 30.0), "function_long_running")
    second = warned(serves(talk, 30.0), "function_long_running")

    assert [error.request_id for error in first] == ["older"]
    assert [error.request_id for error in second] == ["younger"]


@pytest.mark.parametrize(
    ("age", "shown"),
    [
        (119.0, "119 s"),
        (120.0, "2 min"),
        (7199.0, "120 min"),
        (7200.0, "2.0 h"),
        (720_000.0, "200.0 h"),
    ],
)
def test_an_age_is_shown_in_the_unit_that_suits_it(age: float, shown: str) -> None:
    texts: list[str] = []
    settings = CoreSettings(long_running_warning=age)
    functions = LongRunning(settings, lambda kind, text, request_id: texts.append(text))
    functions.started("r1", 1, 0.0)

    functions.tick(age, 0)

    assert [text.partition(";")[0] for text in texts] == [
        f"a function has been running for {shown}"
    ]


def test_a_function_that_starts_later_does_not_put_off_the_report_of_the_first() -> None:
    functions = LongRunning(CoreSettings(long_running_warning=60.0), lambda *error: None)
    functions.started("older", 1, 0.0)

    functions.started("younger", 2, 30.0)

    assert functions.first == 60.0


@pytest.mark.parametrize(
    ("limit", "keeps"), [(None, "its lease. If"), (2, "its lease and one of 2 slots. If")]
)
def test_a_report_of_a_slow_function_says_what_it_keeps_and_what_to_do(
    limit: int | None, keeps: str
) -> None:
    talk = talk_with(long_running_warning=60.0, max_worker_concurrency=limit)
    talk.request("r1")

    (warning,) = warned(serves(talk, MINUTE), "function_long_running")

    assert warning.message == (
        f"a function has been running for 60 s; it keeps {keeps} it waits for what never comes, "
        "give what it waits for a time limit, and restart the worker. long_running_warning sets "
        "when this is reported"
    )


def test_the_time_in_the_queue_does_not_make_a_function_old() -> None:
    talk = talk_with(long_running_warning=60.0, max_worker_concurrency=1)
    talk.request("r1")
    talk.request("r2")
    serves(talk, 50.0)
    talk.function_returns("r1")

    assert "function_long_running" not in errors(serves(talk, 50.0))
    assert [e.request_id for e in warned(serves(talk, 20.0), "function_long_running")] == ["r2"]


@pytest.mark.parametrize("queued", [0, 2])
def test_a_worker_without_a_free_slot_says_so_and_names_the_oldest_function(queued: int) -> None:
    talk = talk_with(max_worker_concurrency=2)
    talk.request("r1")
    talk.heartbeats_answered_for(10.0)
    talk.request("r2", function="app-other")
    for number in range(queued):
        talk.request(f"waits-{number}")

    minutes = serves(talk, 9 * MINUTE)

    (warning,) = warned(minutes, "no_free_slot")
    assert (warning.request_id, warning.function_slug) == ("r1", "app-fn")
    assert warning.message == (
        f"all 2 slots are taken and no function has ended for 5 min; {queued} requests wait here. "
        "The oldest function, named here, has been running for 5 min. Find out what it waits for, "
        "or raise max_worker_concurrency"
    )
    assert snapshot(talk.core, talk.now).saturated_age == 9 * MINUTE
    assert snapshot(talk.core, talk.now).oldest_running_age == 9 * MINUTE + 10.0


def test_a_worker_without_a_free_slot_says_so_again_each_time_that_lasts_twice_as_long() -> None:
    talk = talk_with(max_worker_concurrency=1)
    talk.request("r1")

    warnings = warned(serves(talk, 41 * MINUTE), "no_free_slot")

    assert len(warnings) == 4  # after 5, 10, 20 and 40 minutes
    assert "no function has ended for 40 min" in warnings[-1].message


def test_a_busy_worker_whose_functions_end_is_not_called_full() -> None:
    talk = talk_with(max_worker_concurrency=1)
    talk.request("r0")

    told: list[str] = []
    for number in range(10):
        talk.request(f"r{number + 1}")
        told += errors(serves(talk, 4 * MINUTE))
        talk.function_returns(f"r{number}")
        talk.reply_acked(f"r{number}")
    talk.function_returns("r10")

    assert "no_free_slot" not in told
    assert snapshot(talk.core, talk.now).saturated_age is None
    assert snapshot(talk.core, talk.now).oldest_running_age is None


def test_after_two_hours_a_lease_is_not_extended_any_more_and_the_result_is_delivered() -> None:
    talk = talk_with()
    talk.request("r1")

    within = serves(talk, 2 * HOUR - 40.0)
    at_the_limit = serves(talk, 80.0)
    after = serves(talk, HOUR)
    returned = talk.function_returns("r1")

    assert sent(within).count("WORKER_REQUEST_EXTEND_LEASE") >= 170
    assert [e.request_id for e in warned(at_the_limit, "request_outlived")] == ["r1"]
    assert one(at_the_limit, LeaseLost).request_id == "r1"
    assert "WORKER_REQUEST_EXTEND_LEASE" not in sent(after)
    assert not only(at_the_limit + after, do.CancelExecution)
    assert sent(returned) == ["WORKER_REPLY"]


def test_a_request_of_two_hours_is_outlived_and_its_function_should_be_divided() -> None:
    talk = talk_with()
    talk.request("r1")
    serves(talk, 2 * HOUR - 30.0)
    talk.lease_answer("r1", lease_of(talk.now))

    extended = talk.heartbeats_answered_for(30.0)

    (error,) = warned(extended, "request_outlived")
    assert error.message == (
        "a request is 2 h old, which is as long as Inngest waits: its lease is not extended any "
        "more, and Inngest runs it again if retries are left. Divide the function into steps"
    )
    assert "WORKER_REQUEST_EXTEND_LEASE" not in sent(extended)


def test_after_two_hours_the_option_cancels_and_a_queued_request_is_dropped() -> None:
    talk = talk_with(on_lease_lost="cancel", max_worker_concurrency=1)
    talk.request("r1")
    talk.request("r2")

    hours = serves(talk, 2 * HOUR + MINUTE)

    assert one(hours, do.CancelExecution).request_id == "r1"
    assert sorted(lost.request_id for lost in only(hours, LeaseLost)) == ["r1", "r2"]
    assert len(talk.core.requests.queue) == 0


def test_a_reply_that_nobody_takes_for_two_hours_is_not_called_outlived() -> None:
    talk = talk_with(reply_ack_timeout=3 * HOUR)
    talk.request("r1")
    talk.function_returns("r1")

    hours = serves(talk, 2 * HOUR + MINUTE)

    assert "request_outlived" not in errors(hours)
    assert not only(hours, LeaseLost)
    assert "r1" in talk.core.buffer
