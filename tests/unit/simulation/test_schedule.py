"""Schedules are what a seed makes of them."""

from collections.abc import Callable

import pytest

from simulation import make_schedule
from simulation.schedule import Schedule
from simulation.stack import make_stack_schedule

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("make", [make_schedule, make_stack_schedule])
def test_nothing_happens_when_nothing_is_supposed_to_be_wrong(
    make: Callable[[int], Schedule],
) -> None:
    schedules = [make(seed) for seed in range(1_000)]

    late = [each.seed for each in schedules if each.entries[-1].at >= each.quiet_from]

    assert late == []
