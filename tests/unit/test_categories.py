"""Each directory of tests is a category, and its tests carry the marker of that name."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.unit
TESTS = Path(__file__).parents[1]
CATEGORIES = {
    "unit", "integration", "characterization", "errors", "concurrency", "performance", "chaos",
    "field", "simulation", "real_server", "packaging", "beside",
}  # fmt: skip


def test_every_category_has_tests() -> None:
    assert {path.name for path in TESTS.iterdir() if list(path.glob("**/test_*.py"))} == CATEGORIES


def test_a_test_can_be_selected_by_marker_as_well_as_by_directory() -> None:
    unmarked = [
        str(path.relative_to(TESTS))
        for category in CATEGORIES
        for path in (TESTS / category).glob("**/test_*.py")
        if f"pytest.mark.{category}" not in path.read_text(encoding="utf-8")
    ]

    assert unmarked == []
