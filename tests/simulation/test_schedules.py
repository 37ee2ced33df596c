"""20,000 bad days. ``make simulate SEEDS=1000000`` runs more."""

import pytest

from inngest_connect.testing.simulation import run_seeds

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(240)]


def test_every_invariant_holds_in_every_schedule() -> None:
    report = run_seeds(0, 20_000)

    assert report.schedules == 20_000
    assert report.failures == [], "replay one with: inngest-connect simulate --seed N"
