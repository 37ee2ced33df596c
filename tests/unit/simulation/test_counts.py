"""What happened several times in one schedule counts once; totals show the rarest first."""

import pytest

from simulation import Counts, Totals

pytestmark = pytest.mark.unit


def test_totals_say_in_how_many_schedules_something_happened() -> None:
    first, second = Counts(), Counts()
    for counts in (first, first, second):
        counts.situation("drain")
    second.situation("reset")
    second.premise("a lease runs out")
    totals = Totals()

    totals.add(first)
    totals.add(second)

    assert list(totals.lines()) == [
        "schedules with these situations:",
        "        1  reset",
        "        2  drain",
        "schedules with these premises:",
        "        1  a lease runs out",
    ]


def test_totals_of_two_processes_are_added() -> None:
    counts, one, other = Counts(), Totals(), Totals()
    counts.situation("drain")
    one.add(counts)
    other.add(counts)

    one.update(other)

    assert one.situations == {"drain": 2}
