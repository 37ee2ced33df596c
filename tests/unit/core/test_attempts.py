"""When the next attempt to connect begins: losses, drains, young connections, evidence."""

import pytest

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.core.connections.attempts import Attempts
from inngest_connect.core.events import ErrorOccurred, Reconnecting
from inngest_connect.core.outbox import Outbox
from inngest_connect.core.retry import FixedRetry
from tests.unit.core.conversation import Conversation, K, errors, one, only

pytestmark = pytest.mark.unit

ENDS = ["aborted", "closed", "closing", "drained", "silent"]


def ends(talk: Conversation, generation: int, how: str) -> list[do.Command]:
    if how == "aborted":
        return talk.happens(inputs.SocketClosed(generation, 1006, ""))
    if how == "closed":
        return talk.happens(inputs.SocketClosed(generation, 1000, "bye"))
    if how == "closing":
        return talk.happens(inputs.SocketClosed(generation, 1001, "connect_gateway_closing"))
    if how == "drained":
        return talk.gateway_says(generation, K.GATEWAY_CLOSING)
    return talk.gateway_says(generation, K.WORKER_READY)  # a violation


def lives_and_ends(talk: Conversation, generation: int, seconds: float, how: str) -> float:
    """The delay before the attempt that replaces this connection."""
    talk.heartbeats_answered_for(seconds, generation)
    ends(talk, generation, how)
    retry_at = talk.core.connections.attempts.retry_at
    assert retry_at is not None
    return retry_at - talk.now


@pytest.mark.parametrize("how", ["aborted", "closed", "closing", "drained"])
def test_connections_that_end_right_after_ready_follow_the_schedule(how: str) -> None:
    talk = Conversation().connected()

    delays = [lives_and_ends(talk, 1, 0.0, how)]
    for generation in range(2, 12):
        talk.becomes_ready(generation)
        delays.append(lives_and_ends(talk, generation, 0.0, how))

    first = 1.0 if how == "drained" else 0.5
    assert delays == [first, 1, 2, 5, 10, 20, 30, 60, 120, 300, 300]


def test_a_gateway_that_breaks_the_protocol_after_ready_is_not_called_without_a_pause() -> None:
    talk = Conversation().connected()
    starts = 0
    begun = talk.now

    while talk.now < begun + 60.0:
        attempt = talk.core.connections.attempt
        if attempt is not None:
            starts += 1
            talk.becomes_ready(attempt.number)
        current = talk.core.connections.current
        if current is not None:
            talk.gateway_says(current.number, K.GATEWAY_HELLO)
        talk.passes(0.1)

    assert starts <= 8


@pytest.mark.parametrize("how", ["aborted", "closing", "drained"])
@pytest.mark.parametrize(
    ("heartbeat", "young", "lived"), [("10s", 19.9, 20.1), ("3s", 5.9, 6.1), ("900ms", 1.9, 2.1)]
)
def test_only_a_connection_that_lived_two_heartbeat_intervals_resets_the_schedule(
    how: str, heartbeat: str, young: float, lived: float
) -> None:
    """A shorter interval counts as one second, or every connection would have lived."""
    delays = []
    for seconds in (young, lived):
        talk = Conversation()
        talk.starts()
        for generation in (1, 2, 3):
            talk.becomes_ready(generation, heartbeat=heartbeat)
            lives_and_ends(talk, generation, 0.0, "aborted")
        talk.becomes_ready(4, heartbeat=heartbeat)
        delays.append(lives_and_ends(talk, 4, seconds, how))

    assert delays == pytest.approx([5.0, 1.0 if how == "drained" else 0.5])


def test_a_connection_that_lived_shows_no_failures_any_more() -> None:
    talk = Conversation().connected()
    lives_and_ends(talk, 1, 0.0, "aborted")
    talk.becomes_ready(2)
    before = talk.core.connections.attempts.failures

    talk.heartbeats_answered_for(21.0, generation=2)

    assert (before, talk.core.connections.attempts.failures) == (1, 0)


def test_ready_ends_the_count_of_failed_attempts() -> None:
    """An outage of the API does not make the first loss after it slow."""
    talk = Conversation()
    talk.starts()
    for attempt in range(1, 12):
        talk.happens(inputs.StartFailed(attempt, None, "refused"))
        talk.attempt_begins()
    talk.becomes_ready(12)

    assert lives_and_ends(talk, 12, 1.0, "aborted") == 0.5


def test_only_a_drain_that_has_to_wait_is_reported_as_reconnecting() -> None:
    talk = Conversation().connected()
    talk.heartbeats_answered_for(60.0)

    first = ends(talk, 1, "drained")
    talk.becomes_ready(2)
    lives_and_ends(talk, 2, 0.0, "drained")
    talk.becomes_ready(3)
    third = ends(talk, 3, "drained")

    assert not only(first, Reconnecting)
    assert one(third, Reconnecting) == Reconnecting(1, 1.0, "connect_gateway_closing")


def test_the_end_of_a_drained_connection_keeps_what_the_drain_has_planned() -> None:
    talk = Conversation().connected()
    for generation in (1, 2, 3):
        lives_and_ends(talk, generation, 0.0, "drained")
        talk.becomes_ready(generation + 1)
    lives_and_ends(talk, 4, 0.0, "drained")
    planned = talk.core.connections.attempts.retry_at

    ended = talk.happens(inputs.SocketClosed(4, 1001, "connect_gateway_closing"))

    assert not only(ended, Reconnecting)
    assert talk.core.connections.attempts.retry_at == planned


def test_a_gateway_that_dies_young_is_excluded_from_the_next_attempt() -> None:
    talk = Conversation().connected()
    lives_and_ends(talk, 1, 1.0, "aborted")

    assert one(talk.attempt_begins(), do.RequestStart).exclude_gateways == ("group-1",)


def test_a_closing_gateway_that_refuses_again_and_again_follows_the_schedule() -> None:
    talk = Conversation()
    talk.starts()
    delays = []

    for generation in range(1, 7):
        talk.api_names_gateway(generation)
        talk.happens(inputs.SocketOpened(generation))
        refused = ends(talk, generation, "closing")
        delays.append(one(refused, Reconnecting).delay)
        talk.attempt_begins()

    assert delays == [0.5, 1, 2, 5, 10, 20]


def test_the_second_refusal_of_a_closing_gateway_is_a_failure_that_names_its_cause() -> None:
    talk = Conversation()
    talk.starts()
    talk.api_names_gateway(1)
    talk.happens(inputs.SocketOpened(1))
    ends(talk, 1, "closing")
    talk.attempt_begins()
    talk.api_names_gateway(2)
    talk.happens(inputs.SocketOpened(2))

    again = ends(talk, 2, "closing")

    assert one(again, Reconnecting) == Reconnecting(1, 1.0, "1001 connect_gateway_closing")


def test_a_strategy_with_short_delays_is_followed_to_the_letter() -> None:
    talk = Conversation(FixedRetry(0.3))
    talk.starts()

    failed = talk.happens(inputs.StartFailed(1, None, "refused"))

    assert one(failed, Reconnecting).delay == 0.3


# --- evidence ------------------------------------------------------------------------------------


def away(talk: Conversation, minutes: float, status: int | None = None) -> float:
    """The API fails for a while. Returns the seconds until the attempt that is planned then."""
    until = talk.now + 60 * minutes
    while talk.now < until:
        attempt = talk.core.connections.attempt
        if attempt is not None:
            talk.happens(inputs.StartFailed(attempt.number, status, "away"))
        talk.passes(1.0)
    retry_at = talk.core.connections.attempts.retry_at
    assert retry_at is not None
    return retry_at - talk.now


def lost_with_a_reply() -> Conversation:
    talk = Conversation().connected()
    talk.request("r1")
    talk.heartbeats_answered_for(30.0)
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    talk.function_returns("r1")
    return talk


@pytest.mark.parametrize("status", [None, 500, 503, 401])
def test_a_delivered_flush_brings_the_next_attempt_forward(status: int | None) -> None:
    talk = lost_with_a_reply()
    wait = away(talk, 6.0, status)

    delivered = talk.happens(inputs.FlushSucceeded("r1"))

    assert wait > 60
    assert one(delivered, Reconnecting) == Reconnecting(9, 1.0, "the API answers again")
    assert only(talk.passes(2.0), do.RequestStart)


def test_the_api_answers_again_only_once() -> None:
    """Each flush that succeeds afterwards says the same, and the attempt stays where it is."""
    chances = [0.9]
    talk = Conversation(chance=lambda: chances[0]).connected()
    for name in ("r1", "r2"):
        talk.request(name)
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    for name in ("r1", "r2"):
        talk.function_returns(name)
    away(talk, 6.0)

    first = talk.happens(inputs.FlushSucceeded("r1"))
    chances[0] = 0.0
    second = talk.happens(inputs.FlushSucceeded("r2"))

    assert one(first, Reconnecting).delay == pytest.approx(1.8)
    assert not only(second, Reconnecting)


def test_evidence_that_makes_nothing_earlier_is_not_reported() -> None:
    outbox = Outbox()
    attempts = Attempts(FixedRetry(1.0), lambda: 0.5, outbox)
    attempts.plan(1.0, "lost", 100.0)
    outbox.take()

    attempts.continued(100.0)

    assert attempts.retry_at == 101.0
    assert outbox.take() == []


def test_evidence_is_not_faster_than_ten_seconds_after_the_last_attempt() -> None:
    talk = lost_with_a_reply()
    away(talk, 6.0)
    talk.happens(inputs.FlushSucceeded("r1"))
    attempt = talk.passes(1.0)
    assert only(attempt, do.RequestStart)
    generation = only(attempt, do.RequestStart)[0].generation
    talk.happens(inputs.StartFailed(generation, None, "away"))

    delivered = talk.happens(inputs.FlushSucceeded("another"))

    assert one(delivered, Reconnecting).delay == pytest.approx(11.0)


@pytest.mark.parametrize("why", ["entitlement", "gateway", "configuration"])
def test_a_delivered_flush_proves_nothing_when_the_api_is_not_the_cause(why: str) -> None:
    """After six minutes the delays are long, so that an attempt brought forward would be seen."""
    talk = lost_with_a_reply()
    until = talk.now + 360.0
    while talk.now < until:
        attempt = talk.core.connections.attempt
        if attempt is not None and why == "entitlement":
            talk.happens(inputs.StartFailed(attempt.number, 429, "limit"))
        elif attempt is not None:
            talk.api_names_gateway(attempt.number)
            talk.happens(inputs.SocketOpened(attempt.number))
            code, reason = (1006, "") if why == "gateway" else (1008, "plan_limit")
            talk.happens(inputs.SocketClosed(attempt.number, code, reason))
        talk.passes(1.0)
    planned = talk.core.connections.attempts.retry_at
    assert planned is not None
    assert planned - talk.now > 60

    delivered = talk.happens(inputs.FlushSucceeded("r1"))

    assert not only(delivered, Reconnecting)
    assert talk.core.connections.attempts.retry_at == planned


def test_evidence_does_not_put_off_an_attempt_that_begins_sooner() -> None:
    talk = lost_with_a_reply()
    talk.attempt_begins()
    talk.happens(inputs.StartFailed(2, None, "away"))
    planned = talk.core.connections.attempts.retry_at
    assert planned is not None
    assert planned - talk.now < 5

    delivered = talk.happens(inputs.FlushSucceeded("r1"))

    assert not only(delivered, Reconnecting)
    assert talk.core.connections.attempts.retry_at == planned


@pytest.mark.parametrize(("stopped", "begins"), [(9.9, False), (10.0, True)])
def test_a_process_that_continues_after_it_was_stopped_does_not_wait_for_its_delay(
    stopped: float, begins: bool
) -> None:
    talk = lost_with_a_reply()
    away(talk, 6.0)
    talk.happens(inputs.FlushFailed("r1", None, "away"))
    deadline = talk.core.next_deadline()
    assert deadline is not None
    talk.now = deadline + stopped

    planned = only(talk.happens(inputs.Tick()), Reconnecting)

    assert [each.cause for each in planned] == (
        ["the process or its machine was stopped for a while"] if begins else []
    )
    assert bool(only(talk.passes(2.0), do.RequestStart)) is begins


@pytest.mark.parametrize(("stopped", "begins"), [(9.0, False), (16.0, True)])
def test_a_process_that_was_stopped_in_the_middle_of_a_long_wait_notices_it(
    stopped: float, begins: bool
) -> None:
    """Nothing else is due meanwhile: no reply, no connection."""
    talk = Conversation().connected()
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    wait = away(talk, 6.0)
    talk.now += stopped

    talk.happens(inputs.Tick())

    assert wait > 60
    assert bool(only(talk.passes(2.0), do.RequestStart)) is begins


def test_an_attempt_that_was_under_way_while_the_machine_slept_is_repeated_soon() -> None:
    talk = lost_with_a_reply()
    away(talk, 6.0)
    talk.attempt_begins()
    attempt = talk.core.connections.attempt
    assert attempt is not None
    talk.now += 3600.0

    woken = talk.happens(inputs.Tick())

    assert errors(woken)[-1] == "connection_failed"
    assert one(talk.passes(2.0), do.RequestStart).generation == attempt.number + 1


def test_without_a_connection_the_clock_is_looked_at_every_five_seconds() -> None:
    """A timer goes on with the rest of its time after the machine slept."""
    talk = lost_with_a_reply()
    wait = away(talk, 6.0)
    talk.happens(inputs.FlushFailed("r1", None, "away"))
    asked = talk.now

    looks = []
    while talk.core.connections.attempt is None:
        deadline = talk.core.next_deadline()
        assert deadline is not None
        looks.append(deadline - talk.now)
        talk.now = deadline
        talk.happens(inputs.Tick())

    assert wait > 60
    assert talk.now - asked == pytest.approx(wait)
    assert max(looks) <= 5.0


def test_the_clock_is_looked_at_from_the_loss_of_a_connection_on() -> None:
    talk = Conversation(FixedRetry(600.0)).connected()
    lives_and_ends(talk, 1, 0.0, "aborted")
    talk.becomes_ready(2)
    talk.heartbeats_answered_for(12.0, generation=2)

    ends(talk, 2, "aborted")

    assert talk.core.connections.attempts.retry_at == talk.now + 600.0
    assert talk.core.next_deadline() == talk.now + 5.0


# --- offline -------------------------------------------------------------------------------------


def fails(talk: Conversation, where: str, offline: bool) -> float:
    """The attempt that is under way fails. Returns the delay before the next one."""
    attempt = talk.core.connections.attempt
    assert attempt is not None
    if where == "api":
        failed = talk.happens(
            inputs.StartFailed(attempt.number, None, "no address", offline=offline)
        )
    else:
        talk.api_names_gateway(attempt.number)
        closed = inputs.SocketClosed(attempt.number, 1006, "", "no address", offline=offline)
        failed = talk.happens(closed)
    delay = one(failed, Reconnecting).delay
    talk.attempt_begins()
    return delay


@pytest.mark.parametrize("where", ["api", "gateway"])
def test_what_reaches_nothing_is_tried_again_every_ten_seconds(where: str) -> None:
    talk = Conversation()
    talk.starts()

    delays = [fails(talk, where, offline=True) for _ in range(50)]

    assert delays[:4] == [1, 2, 5, 10]
    assert set(delays[4:]) == {10}


def test_being_offline_neither_continues_nor_prolongs_the_schedule_of_an_outage() -> None:
    talk = Conversation()
    talk.starts()
    before = [fails(talk, "api", offline=False) for _ in range(8)]

    offline = [fails(talk, "api", offline=True) for _ in range(3)]
    after = [fails(talk, "api", offline=False) for _ in range(2)]

    assert before[-1] == 120
    assert offline == [10, 10, 10]
    assert after == [300, 300]


def test_the_first_failure_after_hours_offline_is_an_early_one_of_the_schedule() -> None:
    talk = Conversation()
    talk.starts()
    for _ in range(300):
        fails(talk, "api", offline=True)

    assert fails(talk, "api", offline=False) == 20


# --- a retry strategy of the user ----------------------------------------------------------------


class Users:
    """Is never called by the core."""

    def delay(self, failures: int, random: object) -> float:
        raise AssertionError("called on the I/O thread")


def asked(talk: Conversation) -> do.AskRetryDelay:
    talk.starts()
    return one(talk.happens(inputs.StartFailed(1, None, "refused")), do.AskRetryDelay)


def test_the_answer_of_a_users_strategy_counts_from_the_question() -> None:
    talk = Conversation(Users())
    question = asked(talk)
    talk.passes(2.0)

    answered = talk.happens(inputs.RetryDelayAnswered(question.question, 30.0))

    assert question.failures == 1
    assert one(answered, Reconnecting) == Reconnecting(1, 28.0, "refused")
    assert not only(talk.passes(27.9), do.RequestStart)
    assert only(talk.passes(0.1), do.RequestStart)


def test_a_strategy_shows_the_failures_before_the_connection_that_it_replaces() -> None:
    """A young connection counts for the next delay, whoever decides this one."""
    talk = Conversation(Users()).connected()
    question = one(talk.happens(inputs.SocketClosed(1, 1006, "")), do.AskRetryDelay)

    answered = talk.happens(inputs.RetryDelayAnswered(question.question, 3.0))

    assert one(answered, Reconnecting) == Reconnecting(0, 3.0, "connection lost")


def test_a_strategy_that_failed_is_reported_with_what_went_wrong() -> None:
    talk = Conversation(Users())
    question = asked(talk)

    answered = talk.happens(
        inputs.RetryDelayAnswered(question.question, None, "it raised KeyError: 'delays'\n")
    )

    assert one(answered, ErrorOccurred).message == (
        "the retry strategy Users failed: it raised KeyError: 'delays'\\n. The default schedule is "
        "used for this attempt"
    )
    assert one(answered, Reconnecting).delay == 1.0


def test_without_any_answer_the_default_schedule_is_used() -> None:
    talk = Conversation(Users())
    asked(talk)

    waited = talk.passes(6.0)

    assert errors(waited) == ["retry_strategy_failed"]
    assert one(waited, ErrorOccurred).message == (
        "the retry strategy Users failed: it did not return within 6 s. The default schedule is "
        "used for this attempt"
    )
    assert one(waited, do.RequestStart).generation == 2


def test_an_answer_that_comes_too_late_changes_nothing() -> None:
    talk = Conversation(Users())
    question = asked(talk)
    talk.passes(6.0)

    assert talk.happens(inputs.RetryDelayAnswered(question.question, 0.0)) == []
    assert talk.core.connections.attempts.retry_at is None


def test_a_late_answer_is_not_taken_for_that_to_the_next_question() -> None:
    talk = Conversation(Users())
    first = asked(talk)
    talk.passes(6.0)
    second = one(talk.happens(inputs.StartFailed(2, None, "refused again")), do.AskRetryDelay)

    assert talk.happens(inputs.RetryDelayAnswered(first.question, 0.0)) == []
    answered = talk.happens(inputs.RetryDelayAnswered(second.question, 7.0))
    assert one(answered, Reconnecting).delay == 7.0


def test_the_servers_wish_remains_a_lower_bound_of_a_users_strategy() -> None:
    talk = Conversation(Users())
    talk.starts()
    failed = talk.happens(inputs.StartFailed(1, 503, "busy", retry_after=100.0))

    number = one(failed, do.AskRetryDelay).question
    answered = talk.happens(inputs.RetryDelayAnswered(number, 1.0))

    assert one(answered, Reconnecting).delay == 130.0


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (-0.1, "returned -0.1, not 0 to 86400 seconds"),
        (86_401, "returned a number, not 0 to 86400 seconds"),
        ("soon", "returned a value of type str, not seconds"),
    ],
)
def test_an_answer_that_is_not_a_delay_is_not_used(answer: object, problem: str) -> None:
    talk = Conversation(Users())
    question = asked(talk)

    answered = talk.happens(inputs.RetryDelayAnswered(question.question, answer))

    assert one(answered, ErrorOccurred).message == (
        f"the retry strategy Users failed: {problem}. The default schedule is used for this attempt"
    )
    assert one(answered, Reconnecting).delay == 1.0


def test_a_shutdown_does_not_wait_for_a_strategy() -> None:
    talk = Conversation(Users())
    question = asked(talk)

    closed = talk.happens(inputs.CloseRequested())

    assert only(closed, do.Finished)
    assert talk.happens(inputs.RetryDelayAnswered(question.question, 1.0)) == []
