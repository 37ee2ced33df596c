"""The simulation is tested: each seeded bug has to be found within 20,000 schedules."""

import pytest

from simulation import failure_of, make_schedule
from tests.simulation.seeded_bugs import SEEDED_BUGS

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(2400)]
SCHEDULES = 20_000


@pytest.mark.parametrize("name", SEEDED_BUGS)
def test_a_seeded_bug_is_found(name: str) -> None:
    with SEEDED_BUGS[name]():
        found = any(failure_of(make_schedule(seed)) for seed in range(SCHEDULES))

    assert found
