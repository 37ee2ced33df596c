"""The page of scenarios is made from the markers of the tests, and each row has a test."""

from pathlib import Path

import pytest

from scripts import scenario_docs
from tests.pages import ROOT

pytestmark = pytest.mark.unit


def write_test(directory: Path, decorator: str) -> None:
    (directory / "test_one.py").write_text(
        f"import pytest\n\n\n{decorator}\nasync def test_something() -> None: ...\n",
        encoding="utf-8",
    )


def test_the_rows_of_a_test_come_from_its_marker(tmp_path: Path) -> None:
    write_test(tmp_path, '@pytest.mark.scenario("18", "F")')

    place = "test_one.py", "test_something"
    assert scenario_docs.marked_tests(tmp_path) == {"18": [place], "F": [place]}


@pytest.mark.parametrize("marker", ["scenario()", "scenario(18)", "scenario(ROW)", "scenario"])
def test_a_marker_without_literal_rows_is_refused(tmp_path: Path, marker: str) -> None:
    write_test(tmp_path, f"@pytest.mark.{marker}")

    with pytest.raises(ValueError, match=r"test_one\.py, test_something"):
        scenario_docs.marked_tests(tmp_path)


def test_a_row_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="1000"):
        scenario_docs.render({"1000": [("test_one.py", "test_something")]})


def test_a_row_without_a_test_is_visible() -> None:
    page = scenario_docs.render({"1": [("test_one.py", "test_something")]})

    assert page.count("**no test**") == len(scenario_docs.ROWS) - 1
    assert "/test_one.py`: `test_something` |" in page


def test_every_row_has_a_test() -> None:
    found = scenario_docs.marked_tests(ROOT / "tests")

    assert [row for row in scenario_docs.ROWS if row not in found] == []
