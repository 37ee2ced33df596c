"""Each promise has a name, and its premise is counted."""

import pytest

from simulation.promises import PROMISES, Tally

pytestmark = pytest.mark.unit


def test_a_premise_that_was_never_true_is_vacuous() -> None:
    tally = Tally(dict.fromkeys(PROMISES, 1))
    assert tally.vacuous() == []

    tally["drains"] = 0

    assert tally.vacuous() == ["drains"]


def test_a_promise_that_is_not_in_the_table_is_not_counted() -> None:
    with pytest.raises(KeyError, match="not in the table"):
        Tally()["typing error"] += 1
