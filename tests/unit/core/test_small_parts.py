"""Retry, heartbeat, deadlines, keys, ULIDs, remote text, phases: the small pure parts."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inngest_connect.core.commands import Flush
from inngest_connect.core.connections.heartbeat import HeartbeatMonitor
from inngest_connect.core.connections.phases import Phase
from inngest_connect.core.deadlines import Deadlines
from inngest_connect.core.retry import FixedRetry, ScheduleRetry, problem_of
from inngest_connect.core.signing_keys import SigningKeys
from inngest_connect.core.wire.remote_text import clean
from inngest_connect.core.wire.ulid import is_ulid
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing.model.ulid import make_ulid

K = pb.GatewayMessageType
pytestmark = pytest.mark.unit


def middle() -> float:
    return 0.5


@pytest.mark.scenario("15")
def test_the_schedule_is_walked_through_and_stays_at_its_end() -> None:
    retry = ScheduleRetry()

    delays = [retry.delay(failures, middle) for failures in range(12)]

    assert delays == [0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 300, 300]


@pytest.mark.parametrize("chance", [0.0, 0.25, 0.999])
def test_the_first_delay_is_spread_over_a_second(chance: float) -> None:
    assert ScheduleRetry().delay(0, lambda: chance) == chance
    assert ScheduleRetry([3, 0]).delay(1, lambda: chance) == chance
    assert ScheduleRetry(jitter=0).delay(0, lambda: chance) == 0


@pytest.mark.scenario("U")
@given(st.integers(1, 50), st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_a_half_and_within_a_minute(failures: int, chance: float) -> None:
    """A thousand workers do not come back in one instant."""
    exact = ScheduleRetry(jitter=0).delay(failures, middle)

    delay = ScheduleRetry().delay(failures, lambda: chance)
    assert abs(delay - exact) <= min(0.5 * exact, 60.0)


@pytest.mark.scenario("U")
@pytest.mark.parametrize(
    ("failures", "shortest", "longest"),
    [(1, 0.5, 1.5), (2, 1.0, 3.0), (5, 10.0, 30.0), (8, 60.0, 180.0), (20, 240.0, 360.0)],
)
def test_jitter_spreads_a_delay_over_the_whole_of_that_range(
    failures: int, shortest: float, longest: float
) -> None:
    delays = [ScheduleRetry().delay(failures, lambda n=n: n / 1000) for n in range(1000)]

    assert min(delays) == pytest.approx(shortest)
    assert max(delays) == pytest.approx(longest, rel=0.01)
    assert len(set(delays)) == 1000


def test_a_fixed_retry_starts_at_once() -> None:
    assert [FixedRetry(3).delay(failures, middle) for failures in (0, 1, 9)] == [0, 3, 3]


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_a_fixed_retry_may_be_short(seconds: float) -> None:
    assert FixedRetry(seconds).delay(1, lambda: 0.5) == seconds


def test_a_delay_of_a_day_is_the_longest() -> None:
    assert FixedRetry(86_400).delay(1, middle) == 86_400


@pytest.mark.parametrize(
    ("schedule", "shown"),
    [
        ([], "[]"),
        ([1, -1], "[1, -1]"),
        (None, "None"),
        (b"12", "b'12'"),
        (bytearray(b"12"), "bytearray(b'12')"),
    ],
    ids=["empty", "negative", "nothing", "bytes", "bytearray"],
)
def test_a_schedule_that_has_no_delays_is_refused(schedule: Any, shown: str) -> None:
    with pytest.raises(ValueError, match="a retry schedule") as refused:
        ScheduleRetry(schedule)

    text = f"a retry schedule needs delays of 0 to 86400 s, not {shown}"
    assert str(refused.value) == text


@pytest.mark.parametrize("jitter", [1.0, -0.1, "much"])
def test_a_jitter_that_is_not_a_fraction_is_refused(jitter: Any) -> None:
    with pytest.raises(ValueError, match="a fraction") as refused:
        ScheduleRetry(jitter=jitter)

    assert str(refused.value) == f"jitter is a fraction from 0 to below 1, not {jitter!r}"


def test_a_fixed_delay_that_is_not_seconds_is_refused() -> None:
    with pytest.raises(ValueError, match="a retry delay") as refused:
        FixedRetry(-1)

    assert str(refused.value) == "a retry delay is 0 to 86400 s, not -1"
    assert problem_of("soon") == "returned a value of type str, not seconds"
    assert problem_of(1.5) is None


@pytest.mark.scenario("18")
def test_heartbeats_are_due_at_once_and_then_each_interval() -> None:
    monitor = HeartbeatMonitor(10.0, now=100.0)

    due = [monitor.take_due(now) for now in (100.0, 109.9, 110.0)]

    assert due == [True, False, True]


def test_a_heartbeat_that_is_sent_late_is_followed_by_one_an_interval_later() -> None:
    """A process that was stopped for a minute does not make up for the heartbeats of that time."""
    monitor = HeartbeatMonitor(10.0, 0.0)
    monitor.take_due(0.0)
    monitor.answered(0.1)

    assert monitor.take_due(65.0)
    assert not monitor.take_due(74.9)
    assert monitor.take_due(75.0)


@pytest.mark.parametrize(
    ("now", "cause"),
    [
        (19.9, "the gateway is silent: 1 heartbeat(s) unanswered, nothing received for 19.9 s"),
        (
            20.0,
            "nothing received for 20.0 s, because this process was stopped or its event loop was "
            "blocked; whether the gateway still knows the connection is not certain",
        ),
    ],
)
def test_a_heartbeat_that_is_an_interval_late_shows_that_the_process_was_stopped(
    now: float, cause: str
) -> None:
    monitor = HeartbeatMonitor(10.0, now=0.0)
    monitor.take_due(0.0)

    assert monitor.cause_of_death(now) == cause


@pytest.mark.scenario("19")
def test_an_answer_gives_the_round_trip_and_forgives_a_miss() -> None:
    monitor = HeartbeatMonitor(10.0, now=0.0)
    monitor.take_due(0.0)
    monitor.take_due(10.0)
    monitor.answered(10.25)
    monitor.last_received_at = 10.25

    assert monitor.round_trip == 0.25
    assert not monitor.dead(20.0)


def test_an_answer_to_nothing_is_no_round_trip() -> None:
    monitor = HeartbeatMonitor(10.0, now=0.0)
    monitor.take_due(0.0)
    monitor.answered(0.5)

    monitor.answered(7.0)

    assert monitor.round_trip == 0.5
    assert monitor.last_answered_at == 7.0


def test_a_drained_socket_may_be_silent_for_longer_than_its_gateway_keeps_it() -> None:
    """Found by simulation: with a short interval an idle socket was given up in its window."""
    monitor = HeartbeatMonitor(5.0, now=0.0)

    monitor.stop()

    assert monitor.next_deadline() == 30.0
    assert not monitor.dead(29.9)


def test_a_deadline_that_has_come_is_never_too_early() -> None:
    """Found by simulation: 11.142 + 15 - 11.142 is less than 15, and the timer fired for ever."""
    monitor = HeartbeatMonitor(5.0, now=0.0)
    monitor.take_due(0.0)
    for tenths in range(1, 10_000):
        monitor.last_received_at = tenths * 0.1113
        monitor._next_at = None
        assert monitor.dead(monitor.next_deadline())


def test_a_stopped_monitor_counts_nothing_as_unanswered() -> None:
    monitor = HeartbeatMonitor(10.0, now=0.0)
    monitor.take_due(0.0)

    monitor.stop()

    assert monitor.unanswered == 0


def test_two_unanswered_heartbeats_are_death_when_the_third_is_due() -> None:
    monitor = HeartbeatMonitor(10.0, now=0.0)
    monitor.take_due(0.0)
    monitor.take_due(10.0)
    monitor.last_received_at = 15.0

    assert not monitor.dead(19.9)
    assert monitor.dead(20.0)


@pytest.mark.scenario("E")
def test_silence_is_death_even_where_no_heartbeats_are_sent() -> None:
    monitor = HeartbeatMonitor(10.0, now=0.0)
    monitor.stop()

    assert monitor.next_deadline() == 30.0
    assert not monitor.dead(29.9)
    assert monitor.dead(30.0)


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.one_of(st.none(), st.integers(0, 30)))),
    st.integers(0, 30),
)
def test_deadlines_behave_like_a_dictionary_that_knows_its_minimum(
    steps: list[tuple[str, int | None]], now: int
) -> None:
    deadlines = Deadlines()
    model: dict[str, int] = {}
    for key, at in steps:
        if at is None:
            deadlines.discard(key)
            model.pop(key, None)
        else:
            deadlines.set(key, at)
            model[key] = at
        assert deadlines.earliest() == min(model.values(), default=None)

    popped = []
    while (key_due := deadlines.pop_due(now)) is not None:
        popped.append(key_due)

    assert sorted(popped) == sorted(key for key, at in model.items() if at <= now)
    assert all((key in deadlines) == (at > now) for key, at in model.items())


def test_moving_one_deadline_for_ever_does_not_grow_the_heap() -> None:
    deadlines = Deadlines()
    for number in range(10_000):
        deadlines.set("key", float(number))

    assert len(deadlines._heap) < 100
    assert deadlines.earliest() == 9999.0


def test_a_refused_key_is_left_for_the_other_one_until_both_are_refused() -> None:
    keys = SigningKeys(2)

    assert keys.refused(0)
    assert keys.current == 1
    assert not keys.refused(1)
    assert keys.exhausted()
    assert keys.current == 0


def test_late_refusals_of_a_key_that_was_left_do_not_toggle_back() -> None:
    keys = SigningKeys(2)
    keys.refused(0)

    assert keys.refused(0)
    assert keys.current == 1


def test_an_accepted_key_forgets_earlier_refusals() -> None:
    keys = SigningKeys(2)
    keys.refused(0)
    keys.accepted(keys.current)

    assert not keys.exhausted()
    assert keys.current == 1


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_refusal_exhausts_what_there_is(count: int) -> None:
    keys = SigningKeys(count)

    assert not keys.refused(0)
    assert keys.current == 0


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", True),
        ("01arz3ndektsv4rrffq69g5fav", True),
        ("", False),
        ("01ARZ3NDEKTSV4RRFFQ69G5FA", False),
        ("81ARZ3NDEKTSV4RRFFQ69G5FAV", False),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAI", False),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV\n", False),
    ],
)
def test_ulids_are_told_from_other_text(text: str, valid: bool) -> None:
    assert is_ulid(text) is valid


@given(st.integers(0, 2**40), st.integers(0, 2**80 - 1))
def test_the_kits_ulids_are_ulids_and_keep_their_time(milliseconds: int, tail: int) -> None:
    ulid = make_ulid(milliseconds / 1000, lambda _: tail)

    assert is_ulid(ulid)
    time = sum(
        "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(c) << 45 - 5 * i for i, c in enumerate(ulid[:10])
    )
    assert time == pytest.approx(milliseconds, abs=1.1)


@pytest.mark.scenario("security-logs")
@given(st.text())
def test_remote_text_has_no_control_characters_and_an_end(text: str) -> None:
    """Security, log injection."""
    cleaned = clean(text)

    assert cleaned.isprintable()
    assert len(cleaned) <= 10 * 203


def test_remote_text_that_is_harmless_stays_as_it_is() -> None:
    assert clean("connect_gateway_closing é") == "connect_gateway_closing é"
    assert clean("a\x1b[31m\nb\u2028") == "a\\x1b[31m\\nb\\u2028"
    assert clean("é\x1b") == "é\\x1b"
    assert clean("x" * 200) == "x" * 200
    assert clean("x" * 300) == "x" * 200 + "..."


def test_acknowledgements_and_heartbeats_are_written_on_an_active_socket_only() -> None:
    for kind in (K.WORKER_REQUEST_ACK, K.WORKER_HEARTBEAT, K.WORKER_READY):
        assert [phase for phase in Phase if kind in phase.sends] == [Phase.ACTIVE]


def test_replies_extensions_and_the_pause_pass_over_a_draining_socket_too() -> None:
    for kind in (K.WORKER_REPLY, K.WORKER_REQUEST_EXTEND_LEASE, K.WORKER_PAUSE):
        assert [phase for phase in Phase if kind in phase.sends] == [Phase.ACTIVE, Phase.DRAINING]


def test_a_retired_socket_is_heard_no_more() -> None:
    assert Phase.RETIRED.receives == frozenset()
    assert not any(kind in Phase.RETIRED.sends for kind in K.values())


def test_a_record_is_equal_to_its_like_and_hides_what_is_not_to_be_shown() -> None:
    one, same, other = Flush("r", b"secret", 0), Flush("r", b"secret", 0), Flush("r", b"x", 0)
    something_else: object = ("r", b"secret", 0)

    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != something_else
    assert repr(one) == "Flush(request_id='r', key=0)"


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1000)), min_size=300, max_size=400))
def test_deadlines_keep_their_order_when_they_are_moved_often(moves: list[tuple[int, int]]) -> None:
    """Stale entries are dropped now and then; what is left must be a heap again."""
    deadlines, expected = Deadlines(), dict[str, float]()
    for key, at in moves:
        deadlines.set(str(key), float(at))
        expected[str(key)] = float(at)

    popped = []
    while (key_due := deadlines.pop_due(1000.0)) is not None:
        popped.append(expected.pop(key_due))

    assert popped == sorted(popped)
    assert expected == {}
