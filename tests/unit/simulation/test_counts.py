"""What happened several times in one schedule counts once; totals show the rarest first."""

import pytest

from simulation import Counts, Totals

pytestmark = pytest.mark.unit


def test_totals_say_in_how_many_schedules_something_happened() -> None:
    first, second = Counts(), Counts()
    for counts in (first, first, second):
        counts.situation("drain")
    second.situation("reset")
    second.tally["drains"] += 2
    totals = Totals()

    totals.add(first)
    totals.add(second)

    lines = list(totals.lines())
    assert lines[:4] == [
        "schedules with these situations:",
        "           1  reset",
        "           2  drain",
        "how often each promise was in question:",
    ]
    assert "           2  drains                  a serving connection was drained" in lines


def test_totals_of_two_processes_are_added() -> None:
    counts, one, other = Counts(), Totals(), Totals()
    counts.situation("drain")
    one.add(counts)
    other.add(counts)

    one.update(other)

    assert one.situations == {"drain": 2}
    assert one.tally["drains"] == 0
