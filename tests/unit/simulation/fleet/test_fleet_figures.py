"""The figures of a fleet: a row of the table, and the picture."""

import xml.etree.ElementTree as ET

import pytest

from simulation.fleet import SCENARIOS, Measurement, Overload, draw, measure
from simulation.fleet.measurement import percentile

pytestmark = pytest.mark.unit

MEASURED = Measurement(
    "one gateway of ten killed", Overload.REFUSE, 6000, {0: 5000, 1: 999, 7: 1}, [0.5, 1.0, 3.0], 2
)


def test_a_row_has_calls_rates_and_times() -> None:
    assert MEASURED.row() == (
        "| one gateway of ten killed | 429 | 2000.00 | 5,000 | 5,000 | 1.0 s | 3.0 s | 3.0 s | 2 |"
    )


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 2), (51, 3), (99, 4), (100, 4)])
def test_a_percentile_is_one_of_the_values(percent: float, value: float) -> None:
    assert percentile([1, 2, 3, 4], percent) == value


def test_the_picture_has_a_panel_for_each_scenario_and_a_line_for_each_overload() -> None:
    drawn = draw(
        [
            Measurement(scenario, overload, 10, {0: 8, 3: 2}, [1.0], 0)
            for scenario in SCENARIOS
            for overload in Overload
        ],
        rate=5.0,
    )

    root = ET.fromstring(drawn)
    texts = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    lines = [path for path in root.iter("{http://www.w3.org/2000/svg}path") if path.get("fill")]
    assert texts >= {*SCENARIOS, "429", "429, Retry-After", "queue", "limit: 5 per s"}
    assert len(lines) == len(SCENARIOS) * len(Overload)


def test_a_seed_has_the_same_figures_each_time() -> None:
    first, again, other = (
        measure("one gateway of ten killed", Overload.REFUSE, workers=30, rate=2.0, seed=seed)
        for seed in (1, 1, 2)
    )

    assert first == again
    assert first.recoveries != other.recoveries
