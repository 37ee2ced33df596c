"""Schedules that found defects: each file of ``regressions`` is one, shrunk, and named by it.

``python -m simulation --seed N --record FILE`` writes another one. Those in ``stack`` are of
the whole worker (``--stack``).
"""

from pathlib import Path

import pytest

from simulation import failure_of, replayed
from simulation.stack import StackSimulation
from tests.simulation.killed_processes import KILLS_PROCESSES

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(300), *KILLS_PROCESSES]
RECORDS = Path(__file__).parent / "regressions"
REGRESSIONS = sorted(RECORDS.glob("*.json"))
STACK_REGRESSIONS = sorted((RECORDS / "stack").glob("*.json"))


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_a_defect_does_not_come_back(path: Path) -> None:
    assert failure_of(replayed(path.read_text(encoding="utf-8"))) is None


@pytest.mark.parametrize("path", STACK_REGRESSIONS, ids=lambda path: path.stem)
def test_a_defect_of_the_whole_worker_does_not_come_back(path: Path) -> None:
    schedule = replayed(path.read_text(encoding="utf-8"))

    assert failure_of(schedule, simulation=StackSimulation) is None
