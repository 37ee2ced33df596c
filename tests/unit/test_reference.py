"""docs/reference.md has every public name, once, and no other."""

import re
from types import ModuleType

import pytest

import inngest_connect
import inngest_connect.status
import inngest_connect.testing
from inngest_connect import WebSocketWorkerConnection
from tests.pages import ROOT

pytestmark = pytest.mark.unit
PAGE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


def names(section: str) -> list[str]:
    """The names in the first column of the tables of a section."""
    rows = re.findall(r"^\| (`[^|]+) \| [^|]+ \|$", section, re.M)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


def section(title: str) -> str:
    """The text below a heading, until the next one of its level or above."""
    level = len(title.partition(" ")[0])
    return re.split(rf"^#{{1,{level}}} ", PAGE.split(f"{title}\n", 1)[1], maxsplit=1, flags=re.M)[0]


@pytest.mark.parametrize(
    "module", [inngest_connect, inngest_connect.testing, inngest_connect.status]
)
def test_the_page_has_every_public_name_and_no_other(module: ModuleType) -> None:
    text = section(f"## {module.__name__}").replace(section("### A worker"), "")

    assert sorted(names(text)) == sorted(module.__all__)


def test_the_methods_of_a_worker_exist_and_have_a_docstring() -> None:
    documented = names(section("### A worker"))
    missing = [name for name in documented if not getattr(WebSocketWorkerConnection, name).__doc__]

    assert len(documented) > 10
    assert missing == []
