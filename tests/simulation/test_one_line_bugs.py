"""Each promise finds the bugs that break it, soon enough to be of use with few schedules."""

import pytest

from simulation import failure_of, make_schedule
from tests.simulation.one_line_bugs import ONE_LINE_BUGS

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(2400)]
SCHEDULES = 2_000


@pytest.mark.parametrize("name", ONE_LINE_BUGS)
def test_a_bug_of_one_line_is_found_by_its_promise(name: str) -> None:
    promise, bug = ONE_LINE_BUGS[name]

    with bug():
        failures = (failure_of(make_schedule(seed)) for seed in range(SCHEDULES))
        found = next((failure for failure in failures if failure is not None), None)

    assert found is not None
    assert found.startswith(f"InvariantViolated: {promise}: ")
