"""Schedules that found defects: each file of ``regressions`` is one, shrunk, and named by it.

``python -m simulation --seed N --record FILE`` writes another one.
"""

from pathlib import Path

import pytest

from simulation import failure_of, replayed

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(300)]
REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.json"))


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_a_defect_does_not_come_back(path: Path) -> None:
    assert failure_of(replayed(path.read_text(encoding="utf-8"))) is None
