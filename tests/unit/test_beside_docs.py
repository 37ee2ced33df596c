"""The pages say what was seen beside other software, and show programs that were run there."""

import pytest

from scripts import beside_docs
from tests.beside.situations import FOLDER, SITUATIONS
from tests.pages import ROOT, blocks

pytestmark = pytest.mark.unit
PROGRAMS = "\n".join(
    path.read_text(encoding="utf-8") for path in (FOLDER / "programs").glob("**/*.py")
)
PAGES = ("gunicorn", "jupyter", "frozen-time")


def test_the_page_has_what_was_seen_last() -> None:
    page = beside_docs.TARGET.read_text(encoding="utf-8")

    is_current = beside_docs.render(page, beside_docs.load()) == page
    assert is_current, "docs/compatibility.md is stale: run `make docs`"


def test_every_situation_has_a_result() -> None:
    assert beside_docs.load().keys() == SITUATIONS.keys(), "run `make test-beside`"


def test_only_what_was_run_is_on_the_page() -> None:
    seen = {
        "date": "2026-01-02",
        "versions": {"python": "3.11.7", "uvloop": "1.0"},
        "reason": "because",
        "seconds": 1,
    }
    results = {
        "uvloop": {**seen, "result": "works"},
        "anyio": {**seen, "result": "not run"},
        "trio": {**seen, "result": "does not work"},
    }

    page = beside_docs.render("# Compatibility\n", results)

    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert rows[2:] == [
        "| uvloop | uvloop 1.0 | works |  |",
        "| trio | uvloop 1.0 | **does not work**: because |  |",
    ]


@pytest.mark.parametrize("name", PAGES)
def test_the_programs_of_a_page_are_run(name: str) -> None:
    found = blocks(ROOT / "docs" / "how-to" / f"{name}.md")

    assert found
    for block in found:
        shown = block.text.removeprefix("# gunicorn.conf.py\n").strip()
        assert shown in PROGRAMS, f"{block} is not in tests/beside/programs"
