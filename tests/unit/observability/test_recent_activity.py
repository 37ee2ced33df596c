"""RecentActivity: rates, latencies and errors of the last minutes, from events alone."""

import pytest

from inngest_connect import (
    Connected,
    Disconnected,
    ErrorOccurred,
    FunctionFailed,
    LeaseLost,
    Reconnecting,
    RequestCompleted,
    RequestReceived,
)
from inngest_connect.observability.recent_activity import (
    COLUMNS,
    ERRORS_KEPT,
    FAILURES_KEPT,
    Rates,
    RecentActivity,
    percentile,
)

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
    recent = RecentActivity(clock)

    assert recent.last_seconds() == NOTHING
    assert recent.columns() == [NOTHING] * COLUMNS
    assert recent.errors() == ()


def test_requests_are_counted_per_second_and_the_present_second_is_left_out(clock: Clock) -> None:
    recent = RecentActivity(clock)
    for _ in range(30):
        recent.observe(RECEIVED)
        recent.observe(completed(0.01))
    recent.observe(completed(0.01, "ERROR"))
    before = recent.last_seconds(10)
    clock.now += 1

    rates = recent.last_seconds(10)

    assert before == NOTHING
    assert (rates.received, rates.completed, rates.failed) == (3.0, 3.1, 0.1)


def test_latency_is_from_arrival_to_result_within_a_fifth(clock: Clock) -> None:
    recent = RecentActivity(clock)
    for _ in range(90):
        recent.observe(completed(0.006, queued=0.004))
    for _ in range(9):
        recent.observe(completed(0.5, queued=0.5))
    recent.observe(completed(1e9))
    clock.now += 1

    rates = recent.last_seconds(10)

    assert rates.p50 == pytest.approx(0.011, rel=0.2)
    assert rates.p95 == pytest.approx(1.1, rel=0.2)
    assert rates.p99 == pytest.approx(1.1, rel=0.2)


def test_columns_are_the_last_five_minutes_oldest_first(clock: Clock) -> None:
    recent = RecentActivity(clock)
    recent.observe(completed(0.01))
    for number in range(1, COLUMNS):
        clock.now = 1000.0 + 5 * number
        for _ in range(5 * number):
            recent.observe(completed(0.01))
    clock.now += 5

    columns = recent.columns()

    assert [round(column.completed, 1) for column in columns] == [0.2, *range(1, COLUMNS)]


def test_the_last_column_counts_only_its_seconds_that_are_over(clock: Clock) -> None:
    recent = RecentActivity(clock)
    recent.observe(completed(0.01))
    recent.observe(completed(0.01))
    clock.now = 1002.0

    assert recent.columns()[-1].completed == 1.0


def test_what_is_older_than_the_ring_is_forgotten(clock: Clock) -> None:
    recent = RecentActivity(clock)
    recent.observe(completed(0.01))
    clock.now += 310.0  # the same row again
    recent.observe(completed(0.01, "ERROR"))
    clock.now += 1

    assert recent.last_seconds(1) == Rates(0.0, 1.0, 1.0, *[recent.last_seconds(1).p50] * 3)
    assert sum(column.completed for column in recent.columns()) == pytest.approx(1.0)


def test_errors_are_kept_up_to_a_limit_and_an_expected_end_is_none(clock: Clock) -> None:
    recent = RecentActivity(clock)
    recent.observe(Disconnected("c", "g", 1000, "", True))
    for number in range(ERRORS_KEPT):
        recent.observe(ErrorOccurred("start_failed", str(number)))
    clock.now += 1
    recent.observe(Disconnected("c", "g", 1006, "", False))
    recent.observe(LeaseLost("r", "run", "app-fn"))

    errors = recent.errors()

    assert len(errors) == ERRORS_KEPT
    assert [(at, one.name) for at, one in errors[-3:]] == [
        (1000.0, "error"),
        (1001.0, "disconnected"),
        (1001.0, "lease_lost"),
    ]


def test_functions_that_fail_all_the_time_hide_no_other_error(clock: Clock) -> None:
    recent = RecentActivity(clock)
    recent.observe(ErrorOccurred("start_failed", "no"))
    for number in range(100):
        clock.now += 1
        recent.observe(FunctionFailed(str(number), "run", "app-fn", "ValueError", "ValueError: no"))

    names = [event.name for _, event in recent.errors()]

    assert names == ["error"] + ["function_failed"] * FAILURES_KEPT


def test_the_attempt_that_is_waited_for_is_known_until_connected(clock: Clock) -> None:
    recent = RecentActivity(clock)
    waiting = Reconnecting(2, 5.0, "no route")
    recent.observe(waiting)
    during = recent.reconnecting()
    recent.observe(Connected("c", "g", 0.1))

    assert during == (1000.0, waiting)
    assert recent.reconnecting() is None


@pytest.mark.parametrize(
    ("counted", "fraction", "value"),
    [
        ([], 0.5, None),
        ([(1.0, 0)], 0.5, None),
        ([(1.0, 1)], 0.99, 1.0),
        ([(1.0, 50), (2.0, 50)], 0.50, 1.0),
        ([(1.0, 50), (2.0, 50)], 0.51, 2.0),
        ([(1.0, 98), (2.0, 0), (3.0, 1), (4.0, 1)], 0.99, 3.0),
    ],
)
def test_a_percentile_is_the_value_up_to_which_that_fraction_lies(
    counted: list[tuple[float, int]], fraction: float, value: float | None
) -> None:
    assert percentile(counted, fraction) == value
