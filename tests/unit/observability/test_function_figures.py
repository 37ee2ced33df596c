"""FunctionFigures: exact figures of each function, in memory that does not grow."""

import pytest

from inngest_connect import RequestCompleted
from inngest_connect.observability.function_figures import (
    DURATIONS_KEPT,
    FunctionFigures,
    FunctionRow,
    exact_percentile,
)

pytestmark = pytest.mark.unit


def completed(
    seconds: float, status: str = "DONE", slug: str = "app-fn", error: str | None = None
) -> RequestCompleted:
    return RequestCompleted("r", "run", slug, status, seconds, 5.0, error)


def test_a_function_that_was_not_executed_has_a_row_without_figures() -> None:
    figures = FunctionFigures(["app-b", "app-a"])

    assert figures.rows(1.0) == [
        FunctionRow("app-a", 0, 0, None, None, None, None, None),
        FunctionRow("app-b", 0, 0, None, None, None, None, None),
    ]


def test_percentiles_are_values_that_occurred_without_the_wait_before_them() -> None:
    figures = FunctionFigures(["app-fn"])
    for number in range(100, 0, -1):
        figures.count(completed(number / 1000), 10.0)

    (row,) = figures.rows(10.0)

    assert (row.executions, row.p50, row.p95, row.p99) == (100, 0.05, 0.095, 0.099)


def test_the_last_executions_count_and_older_ones_are_forgotten() -> None:
    figures = FunctionFigures(["app-fn"])
    for _ in range(DURATIONS_KEPT):
        figures.count(completed(9.0), 10.0)
    before = figures.rows(10.0)[0]
    for _ in range(DURATIONS_KEPT):
        figures.count(completed(0.1), 11.0)

    after = figures.rows(11.0)[0]

    assert (before.p50, before.p99) == (9.0, 9.0)
    assert (after.executions, after.p50, after.p99) == (2 * DURATIONS_KEPT, 0.1, 0.1)
    assert len(figures._functions["app-fn"].durations) == DURATIONS_KEPT


def test_failures_are_counted_and_a_step_that_goes_on_is_none() -> None:
    figures = FunctionFigures(["app-fn"])
    figures.count(completed(0.1, "NOT_COMPLETED"), 10.0)
    figures.count(completed(0.1, "ERROR", error="ValueError: no"), 20.0)
    figures.count(completed(0.1), 30.0)

    (row,) = figures.rows(32.0)

    assert (row.executions, row.failures, row.failure_age) == (3, 1, 12.0)
    assert row.last_error == "ValueError: no"


def test_a_name_that_the_worker_does_not_have_becomes_no_key() -> None:
    figures = FunctionFigures(["app-fn"])
    figures.count(completed(0.1, slug="from the network"), 10.0)

    assert [(row.function_slug, row.executions) for row in figures.rows(10.0)] == [("app-fn", 0)]


def test_a_long_name_is_known_as_events_show_it() -> None:
    figures = FunctionFigures(["app-" + "x" * 100])
    figures.count(completed(0.1, slug="app-xxxxxxxxxxxx..."), 10.0)

    assert [(r.function_slug, r.executions) for r in figures.rows(10.0)] == [
        ("app-xxxxxxxxxxxx...", 1)
    ]


@pytest.mark.parametrize(
    ("values", "fraction", "value"),
    [
        ([], 0.5, None),
        ([7.0], 0.99, 7.0),
        ([1.0, 2.0], 0.50, 1.0),
        ([1.0, 2.0], 0.51, 2.0),
        ([float(n) for n in range(1, 1001)], 0.99, 990.0),
    ],
)
def test_an_exact_percentile(values: list[float], fraction: float, value: float | None) -> None:
    assert exact_percentile(values, fraction) == value
