"""Recorder: rates and latencies of the last minutes, and what went wrong, from events alone."""

import pytest

from inngest_connect import (
    Connected,
    ConnectionState,
    Disconnected,
    Draining,
    ErrorOccurred,
    HeartbeatAnswered,
    LeaseLost,
    Reconnecting,
    RequestCompleted,
    RequestReceived,
    StateChanged,
)
from inngest_connect.status.recorder import COLUMNS, ERRORS_KEPT, Rates, Recorder

pytestmark = pytest.mark.unit
NOTHING = Rates(0.0, 0.0, 0.0, None, None, None)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def completed(seconds: float, status: str = "DONE", queued: float = 0.0) -> RequestCompleted:
    return RequestCompleted("r", "run", "app-fn", status, seconds, queued)


RECEIVED = RequestReceived("r", "run", "app", "app-fn", "c")


def test_nothing_has_happened_yet(clock: Clock) -> None:
    recorder = Recorder(clock=clock)

    assert recorder.last_seconds() == NOTHING
    assert recorder.columns() == [NOTHING] * COLUMNS
    assert recorder.troubles() == ()


def test_requests_are_counted_per_second_and_the_present_second_is_left_out(clock: Clock) -> None:
    recorder = Recorder(clock=clock)
    for _ in range(30):
        recorder.observe(RECEIVED)
        recorder.observe(completed(0.01))
    recorder.observe(completed(0.01, "ERROR"))
    before = recorder.last_seconds(10)
    clock.now += 1

    rates = recorder.last_seconds(10)

    assert before == NOTHING
    assert (rates.received, rates.completed, rates.failed) == (3.0, 3.1, 0.1)


def test_latency_is_from_arrival_to_result_within_a_fifth(clock: Clock) -> None:
    recorder = Recorder(clock=clock)
    for _ in range(90):
        recorder.observe(completed(0.006, queued=0.004))
    for _ in range(9):
        recorder.observe(completed(0.5, queued=0.5))
    recorder.observe(completed(1e9))
    clock.now += 1

    rates = recorder.last_seconds(10)

    assert rates.p50 == pytest.approx(0.011, rel=0.2)
    assert rates.p95 == pytest.approx(1.1, rel=0.2)
    assert rates.p99 == pytest.approx(1.1, rel=0.2)


def test_columns_are_the_last_five_minutes_oldest_first(clock: Clock) -> None:
    recorder = Recorder(clock=clock)
    recorder.observe(completed(0.01))
    for number in range(1, COLUMNS):
        clock.now = 1000.0 + 5 * number
        for _ in range(5 * number):
            recorder.observe(completed(0.01))
    clock.now += 5

    columns = recorder.columns()

    assert [round(column.completed, 1) for column in columns] == [0.2, *range(1, COLUMNS)]


def test_the_last_column_counts_only_its_seconds_that_are_over(clock: Clock) -> None:
    recorder = Recorder(clock=clock)
    recorder.observe(completed(0.01))
    recorder.observe(completed(0.01))
    clock.now = 1002.0

    assert recorder.columns()[-1].completed == 1.0


def test_what_is_older_than_the_ring_is_forgotten(clock: Clock) -> None:
    recorder = Recorder(clock=clock)
    recorder.observe(completed(0.01))
    clock.now += 310.0  # the same row again
    recorder.observe(completed(0.01, "ERROR"))
    clock.now += 1

    assert recorder.last_seconds(1) == Rates(0.0, 1.0, 1.0, *[recorder.last_seconds(1).p50] * 3)
    assert sum(column.completed for column in recorder.columns()) == pytest.approx(1.0)


def test_errors_are_kept_up_to_a_limit_and_an_expected_end_is_none(clock: Clock) -> None:
    recorder = Recorder(clock=clock)
    recorder.observe(Disconnected("c", "g", 1000, "", True))
    for number in range(ERRORS_KEPT):
        recorder.observe(ErrorOccurred("start_failed", str(number)))
    clock.now += 1
    recorder.observe(Disconnected("c", "g", 1006, "", False))
    recorder.observe(LeaseLost("r", "run", "app-fn"))

    troubles = recorder.troubles()

    assert len(troubles) == ERRORS_KEPT
    assert [(at, one.name) for at, one in troubles[-3:]] == [
        (1000.0, "error"),
        (1001.0, "disconnected"),
        (1001.0, "lease_lost"),
    ]


def test_the_attempt_that_is_waited_for_is_known_until_connected(clock: Clock) -> None:
    recorder = Recorder(clock=clock)
    waiting = Reconnecting(2, 5.0, "no route")
    recorder.observe(waiting)
    during = recorder.reconnecting()
    recorder.observe(Connected("c", "g", 0.1))

    assert during == (1000.0, waiting)
    assert recorder.reconnecting() is None


def test_changes_are_told_at_once_and_requests_and_heartbeats_are_not(clock: Clock) -> None:
    told: list[str] = []
    recorder = Recorder(lambda: told.append("change"), clock)

    for quiet in (RECEIVED, completed(0.01), HeartbeatAnswered("c", 0.1), ErrorOccurred("k", "m")):
        recorder.observe(quiet)
    quiet_changes = len(told)
    for change in (
        StateChanged(ConnectionState.CONNECTING, ConnectionState.ACTIVE),
        Connected("c", "g", 0.1),
        Draining("c", "g"),
        Reconnecting(1, 1.0, "x"),
        Disconnected("c", "g", 1006, "", False),
    ):
        recorder.observe(change)

    assert (quiet_changes, len(told)) == (0, 5)
