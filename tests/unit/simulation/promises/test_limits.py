"""A limit is missed when the worker does not want to be called until after it."""

import pytest

from simulation.promises.limits import NEVER, Limits

pytestmark = pytest.mark.unit


def test_a_worker_that_is_called_later_misses_the_earliest_limit() -> None:
    limits = Limits()
    limits.set("late", 9.0)
    limits.set("early", 3.0)

    assert limits.missed(3.0) is None
    assert limits.missed(3.1) == ("early", 3.0)


def test_a_limit_that_was_cleared_or_moved_is_not_missed() -> None:
    limits = Limits()
    limits.set("cleared", 3.0)
    limits.set("moved", 4.0)

    limits.clear("cleared")
    limits.set("moved", 8.0)

    assert limits.missed(7.0) is None
    assert limits.missed(NEVER) == ("moved", 8.0)
    assert list(limits) == ["moved"]


def test_nothing_is_missed_without_limits() -> None:
    assert Limits().missed(NEVER) is None
