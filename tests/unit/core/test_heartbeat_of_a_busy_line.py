"""When a peer is dead although it talks, and when it is alive although it does not answer."""

import pytest

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.core.connections.heartbeat import HeartbeatMonitor
from inngest_connect.core.events import ErrorOccurred
from tests.unit.core.conversation import Conversation, K, one, only

pytestmark = pytest.mark.unit


def silent(interval: float = 1.0, patience: float = 0.0) -> HeartbeatMonitor:
    """Two heartbeats are sent and not answered."""
    monitor = HeartbeatMonitor(interval, 0.0, patience)
    monitor.take_due(0.0)
    monitor.take_due(interval)
    return monitor


def test_bytes_that_move_excuse_a_late_answer() -> None:
    monitor = silent()
    for second in range(1, 100):
        monitor.line_observed(True, float(second))
        assert not monitor.dead(float(second))

    assert not monitor.dead(101.9)
    assert monitor.dead(102.0)
    assert monitor.next_deadline() == 2.0


def test_moving_bytes_excuse_nothing_for_longer_than_one_message_may_take() -> None:
    monitor = silent()
    for second in range(1, 130):
        monitor.line_observed(True, float(second))

    assert not monitor.dead(122.9)
    assert monitor.dead(123.0)


def test_a_line_on_which_nothing_waits_excuses_nothing() -> None:
    monitor = silent()
    monitor.line_observed(None, 1.5)

    assert monitor.dead(2.0)


def test_a_peer_that_talks_and_takes_nothing_is_dead() -> None:
    monitor = HeartbeatMonitor(1.0, 0.0)
    for tenths in range(60):
        now = tenths / 10
        monitor.take_due(now)
        monitor.answered(now)
        monitor.last_received_at = now
        monitor.line_observed(False if tenths >= 20 else None, now)
        assert monitor.dead(now) == (now >= 5.0)

    assert monitor.next_deadline() == 5.0


def test_one_byte_that_is_taken_ends_a_stall() -> None:
    monitor = HeartbeatMonitor(1.0, 0.0)
    for now, moved in ((0.0, False), (2.5, True), (2.6, False), (5.5, False)):
        monitor.last_received_at = now
        monitor.line_observed(moved, now)

    assert not monitor.dead(5.5)
    assert monitor.dead(5.6)


@pytest.mark.parametrize(("now", "dead"), [(1.9, False), (2.0, True)])
def test_a_short_interval_gives_nobody_up_before_the_shortest_patience(
    now: float, dead: bool
) -> None:
    monitor = silent(0.1, patience=2.0)

    assert monitor.dead(now) is dead


def test_without_a_shortest_patience_a_short_interval_is_judged_by_itself() -> None:
    monitor = HeartbeatMonitor(0.125, 0.0)
    monitor.take_due(0.0)

    assert not monitor.dead(0.37)
    assert monitor.dead(0.375)


@pytest.mark.parametrize(("now", "dead"), [(3.4, False), (3.5, True)])
def test_the_shortest_patience_counts_from_the_first_heartbeat_without_an_answer(
    now: float, dead: bool
) -> None:
    monitor = HeartbeatMonitor(1.0, 0.0, 2.5)
    monitor.take_due(0.0)
    monitor.answered(0.1)
    monitor.take_due(1.0)
    monitor.take_due(2.0)
    monitor.received(3.0)  # of another kind

    assert monitor.dead(now) is dead


def test_intervals_shorter_than_the_round_trip_are_judged_by_it() -> None:
    monitor = HeartbeatMonitor(1.0, 0.0)
    monitor.take_due(0.0)
    monitor.answered(0.9)
    monitor.last_received_at = 0.9
    monitor.take_due(1.0)
    monitor.take_due(2.0)

    assert not monitor.dead(3.0)
    assert not monitor.dead(4.4)
    assert monitor.dead(4.6)


@pytest.mark.parametrize(("round_trip", "patience"), [(9.0, 36.0), (60.0, 40.0), (3600.0, 40.0)])
def test_a_heartbeat_that_was_answered_after_a_sleep_does_not_make_patient(
    round_trip: float, patience: float
) -> None:
    """The answer was in the kernel's buffer all the time; it says nothing about the line."""
    monitor = HeartbeatMonitor(1.0, 0.0)
    monitor.take_due(0.0)
    monitor.answered(round_trip)
    monitor.last_received_at = round_trip
    monitor.take_due(round_trip)
    monitor.take_due(round_trip + 1.0)

    assert not monitor.dead(round_trip + patience - 0.1)
    assert monitor.dead(round_trip + patience)


def serves_while(moved: bool | None, seconds: int, answers: bool = True) -> Conversation:
    """A worker whose line is observed every second; its gateway answers heartbeats, or nothing."""
    talk = Conversation().connected()
    for _ in range(seconds):
        talk.happens(inputs.LineObserved(1, moved))
        if answers:
            talk.heartbeats_answered_for(1.0)
        else:
            talk.passes(1.0)
    return talk


def test_a_worker_keeps_a_silent_connection_on_which_bytes_move() -> None:
    talk = serves_while(True, 100, answers=False)

    assert only(talk.log, do.AbortSocket) == []


def test_a_worker_gives_up_a_connection_that_takes_nothing_for_three_intervals() -> None:
    talk = serves_while(False, 29)

    kept = only(talk.log, do.AbortSocket)
    given_up = talk.passes(1.0)

    assert kept == []
    assert one(given_up, do.AbortSocket).generation == 1
    assert one(given_up, ErrorOccurred).kind == "gateway_silent"


def test_a_worker_gives_no_gateway_up_within_two_seconds_however_short_its_interval() -> None:
    talk = Conversation()
    talk.starts()
    talk.becomes_ready(1, heartbeat="100ms")

    kept = talk.passes(1.9)
    given_up = talk.passes(0.1)

    assert only(kept, do.AbortSocket) == []
    assert one(given_up, do.AbortSocket).generation == 1


def test_an_idle_worker_wakes_up_for_its_next_heartbeat_only() -> None:
    talk = Conversation().connected()
    talk.passes(0.0)
    talk.gateway_says(1, K.GATEWAY_HEARTBEAT)

    assert talk.core.next_deadline() == talk.now + 10.0


def test_a_line_is_observed_in_vain_before_there_are_heartbeats() -> None:
    talk = Conversation()
    talk.starts()

    assert talk.happens(inputs.LineObserved(1, False)) == []
