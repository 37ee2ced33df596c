"""The simulation is tested: each seeded bug has to be found within 20,000 schedules."""

import pytest

from simulation import failure_of, make_schedule
from tests.simulation.seeded_bugs import SEEDED_BUGS
from tests.simulation.seeded_journal_bugs import SEEDED_JOURNAL_BUGS

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(2400)]
SCHEDULES = 20_000
BUGS = SEEDED_BUGS | SEEDED_JOURNAL_BUGS
FOUND_AT = {"what_was_left_can_be_executed": 2193}
"""Which seed found it last, of a bug that takes long to find; tried first."""


@pytest.mark.parametrize("name", BUGS)
def test_a_seeded_bug_is_found(name: str) -> None:
    seeds = [FOUND_AT.get(name, 0), *range(SCHEDULES)]
    with BUGS[name]():
        found = any(failure_of(make_schedule(seed)) for seed in seeds)

    assert found
