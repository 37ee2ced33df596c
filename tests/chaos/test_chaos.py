"""A minute of chaos with real processes. ``make chaos SECONDS=3600`` runs more."""

import os

import pytest

from chaos import run_chaos

SECONDS = float(os.environ.get("CHAOS_SECONDS", "60"))
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(SECONDS + 600)]


@pytest.mark.scenario("C", "E")
def test_no_result_is_lost_in_a_minute_of_chaos() -> None:
    report = run_chaos(SECONDS, seed=1)

    assert report.problems == []
    assert report.server["runs"]["completed"] > SECONDS
    assert report.server["replied"] == report.server["requests"] - report.server["unroutable"]
    assert report.server["requests"] >= report.server["acknowledged"] > 0
    assert report.executed >= report.server["acknowledged"]
    assert sum(report.server["faults"].values()) > SECONDS / 5
    assert report.stops.total() > 0
