"""ErrorFigures: what is wrong now, apart from what has passed."""

import pytest

from inngest_connect import Disconnected, ErrorOccurred, LeaseLost
from inngest_connect.observability.error_figures import OTHER, ErrorFigures

pytestmark = pytest.mark.unit

REFUSED = ErrorOccurred("start_failed", "no")


def open_kinds(figures: ErrorFigures, now: float) -> list[str]:
    resolved = figures.resolved(now)
    return [kind.kind for kind in figures.kinds() if not resolved(kind)]


def test_each_kind_is_counted_and_the_last_one_comes_first() -> None:
    figures = ErrorFigures()
    figures.count(REFUSED, 1.0)
    figures.count(Disconnected("c", "g", 1006, "", False), 2.0)
    figures.count(LeaseLost("r", "run", "app-fn"), 3.0)
    figures.count(ErrorOccurred("start_failed", "still no"), 4.0)

    kinds = [(k.kind, k.count, k.first_at, k.last_at) for k in figures.kinds()]

    assert kinds == [
        ("start_failed", 2, 1.0, 4.0),
        ("lease_lost", 1, 3.0, 3.0),
        ("disconnected", 1, 2.0, 2.0),
    ]
    assert figures.kinds()[0].last == ErrorOccurred("start_failed", "still no")


def test_errors_of_a_connection_are_resolved_when_the_next_one_has_served_for_a_minute() -> None:
    figures = ErrorFigures()
    figures.count(REFUSED, 100.0)
    during = open_kinds(figures, 100_000.0)
    figures.connected(110.0)

    assert during == ["start_failed"]
    assert open_kinds(figures, 169.0) == ["start_failed"]
    assert open_kinds(figures, 170.0) == []


def test_a_connection_that_is_lost_again_and_again_stays_trouble() -> None:
    figures = ErrorFigures()
    for now in range(0, 600, 30):
        figures.count(Disconnected("c", "g", 1006, "", False), float(now))
        figures.connected(now + 1.0)

    assert open_kinds(figures, 600.0) == ["disconnected"]


def test_other_errors_are_resolved_when_they_have_not_happened_for_a_quarter_of_an_hour() -> None:
    figures = ErrorFigures()
    figures.count(ErrorOccurred("listener_failed", "a bug"), 100.0)
    figures.connected(101.0)

    assert open_kinds(figures, 999.0) == ["listener_failed"]
    assert open_kinds(figures, 1000.0) == []


def test_a_lost_result_is_never_resolved() -> None:
    figures = ErrorFigures()
    figures.count(ErrorOccurred("reply_undelivered", "gone"), 100.0)
    figures.connected(101.0)

    assert open_kinds(figures, 1e6) == ["reply_undelivered"]


def test_there_are_not_more_kinds_than_a_table_can_have() -> None:
    figures = ErrorFigures()
    for number in range(1000):
        figures.count(ErrorOccurred(f"kind_{number}", ""), float(number))

    assert len(figures.kinds()) == 65
    assert figures.kinds()[0].kind == OTHER
    assert figures.kinds()[0].count == 1000 - 64
