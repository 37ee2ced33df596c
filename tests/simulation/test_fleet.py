"""What a fleet needs from its delays: small ones here, ten thousand workers with ``make fleet``."""

import pytest

from simulation.fleet import Measurement, Overload, measure

pytestmark = pytest.mark.simulation
WORKERS = 200


def small(
    scenario: str, overload: Overload = Overload.REFUSE, workers: int = WORKERS
) -> Measurement:
    """The API needs 20 s for all workers, as it does for ten thousand with 500 calls a second."""
    return measure(scenario, overload, workers=workers, rate=workers / 20, seed=1)


def test_workers_of_a_killed_gateway_come_back_quickly_and_with_few_calls() -> None:
    measured = small("one gateway of ten killed", workers=500)

    assert measured.calls_per_recovery < 2
    assert measured.after(99) < 8


def test_a_deployment_takes_no_worker_out_of_service() -> None:
    measured = small("gateways drained one by one")

    assert measured.lost == 0
    assert measured.calls_per_recovery < 2
    assert measured.peak < 4 * WORKERS / 20


@pytest.mark.parametrize(
    "scenario", ["all gateways drained at once", "all workers started at once"]
)
def test_a_fleet_that_is_refused_returns_in_little_more_than_the_time_that_the_api_needs(
    scenario: str,
) -> None:
    measured = small(scenario)

    assert measured.after(50) < 14
    assert measured.after(99) < 35
    assert measured.calls_per_recovery < 4.5


@pytest.mark.scenario("U")
def test_workers_that_are_refused_with_the_same_retry_after_do_not_return_in_the_same_second() -> (
    None
):
    """All call in second 0; those that are refused are told to come back after 5 s."""
    measured = small("all workers started at once", Overload.REFUSE_FOR)

    returned = {second: calls for second, calls in measured.per_second.items() if second}
    assert min(returned) == 5
    assert max(returned.values()) < 0.3 * measured.per_second[0]


def test_no_worker_waits_for_longer_than_six_minutes_after_an_outage() -> None:
    measured = small("API away for 5 min, all connections lost")

    assert measured.after(100) < 361
    assert measured.after(99) - measured.after(1) > 120, "they come back spread"
