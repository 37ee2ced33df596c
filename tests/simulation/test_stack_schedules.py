"""The whole worker in virtual time. ``make simulate ARGS=--stack`` runs more schedules."""

import pytest

from simulation import failure_of, run_seeds
from simulation.stack import StackSimulation, make_stack_schedule
from tests.simulation.seeded_wiring_bugs import SEEDED_WIRING_BUGS

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(2400)]
SCHEDULES = 2_000


def test_every_invariant_holds_for_the_whole_stack() -> None:
    report = run_seeds(0, SCHEDULES, stack=True)

    assert report.schedules == SCHEDULES
    assert report.failures == [], "replay one with: python -m simulation --stack --seed N"


@pytest.mark.parametrize("name", SEEDED_WIRING_BUGS)
def test_a_seeded_wiring_bug_is_found(name: str) -> None:
    with SEEDED_WIRING_BUGS[name]():
        found = any(
            failure_of(make_stack_schedule(seed), simulation=StackSimulation)
            for seed in range(SCHEDULES)
        )

    assert found
