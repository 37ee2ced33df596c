"""Whatever a comment, a docstring or a page refers to can be opened by its reader."""

import re
from pathlib import Path

import pytest

from tests.pages import ROOT, anchors

pytestmark = pytest.mark.unit

PLACES = ("src", "tests", "scripts", "simulation", "chaos", "bench", "examples", "docs")
SUFFIXES = {".py", ".pyi", ".proto", ".md", ".mjs", ".js", ".html", ".css", ".toml", ".txt"}
FILES = [
    path
    for place in PLACES
    for path in sorted((ROOT / place).rglob("*"))
    if path.suffix in SUFFIXES and "node_modules" not in path.parts and path != Path(__file__)
] + [ROOT / name for name in ("Makefile", "pyproject.toml", *(p.name for p in ROOT.glob("*.md")))]

CITATION = re.compile(r"\bdocs/([\w-]+\.(?:md|json|svg))(?:#([\w-]+))?")
PAPER = re.compile(
    r"\b(?:PROTOCOL|SPEC|FIELD|SCENARIOS|USERS|DESIGN|STYLE|STYLE_STUDIES|SIMULATION_GAPS)\.md"
    r"|\bPROTOCOL (?:section|close)|\bSPEC\b|\bfield_cases\b|\b(?:Row|Decision): "
    r"|\b[Ii]ssue #?\d+\b|\b[Ss]cenarios? (?:\d+|[A-Z])\b(?!-)"
)
"""Words for papers, lists and numbers that are not in this repository."""

PATH = re.compile(
    r"(?<![\w/])(?:src|tests|scripts|simulation|chaos|bench|examples)/[\w./-]+\.\w+\b"
)
SHORT_PATH = re.compile(r"(?<![\w/.])(?:core|aio|sdk|transport|execution|observability)/[\w/]+\.py")
"""A file of the repository, and one of the package, as pages and comments name them."""


def unresolved(text: str) -> list[str]:
    """The citations of ``docs/`` in ``text`` whose page or anchor does not exist."""
    broken = []
    for match in CITATION.finditer(text):
        page, anchor = ROOT / "docs" / match[1], match[2]
        if not page.exists() or (anchor and anchor not in anchors(page)):
            broken.append(match[0])
    return broken


def papers(text: str) -> list[str]:
    """Mentions of papers that no reader has."""
    return [match[0] for match in PAPER.finditer(text)]


def test_every_citation_of_a_page_resolves() -> None:
    broken = {
        str(path.relative_to(ROOT)): found
        for path in FILES
        if (found := unresolved(path.read_text(encoding="utf-8")))
    }

    assert broken == {}


def test_nothing_cites_what_is_not_in_this_repository() -> None:
    cited = {
        str(path.relative_to(ROOT)): found
        for path in FILES
        if (found := papers(path.read_text(encoding="utf-8")))
    }

    assert cited == {}


def test_every_file_that_is_named_exists() -> None:
    package = ROOT / "src" / "inngest_connect"
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in FILES
        for pattern in (PATH, SHORT_PATH)
        for name in pattern.findall(path.read_text(encoding="utf-8"))
        if not (ROOT / name).exists() and not (package / name).exists()
    ]

    assert missing == []


@pytest.mark.parametrize(
    "planted",
    [
        "docs/protocols.md",
        "see docs/protocol.md#no-such-heading.",
        "(docs/protocol.md#leases-ids)",
        "docs/no-such-drawing.svg",
    ],
)
def test_a_citation_that_does_not_resolve_is_found(planted: str) -> None:
    assert unresolved(f"# as decided, {planted}") != []


@pytest.mark.parametrize(
    "planted",
    [
        "PROTOCOL.md section 8",
        "(PROTOCOL section 4)",
        "SPEC.md's states",
        "SPEC's figures",
        "SPEC: below 2 s",
        "as FIELD.md says",
        "DESIGN.md",
        "Scenario 12",
        "Scenarios A and B",
        "Row: 429",
        "Issue 3, row by row",
        "Decision: drain",
    ],
)
def test_a_citation_of_a_paper_is_found(planted: str) -> None:
    assert papers(f'"""{planted}."""') != []


@pytest.mark.parametrize(
    "harmless",
    [
        "docs/protocol.md#lease-ids",
        "docs/protocol.md, docs/grafana-dashboard.json",
        "CLOSE_PROTOCOL_ERROR, ssl.PROTOCOL_TLS_SERVER, DESCRIPTOR_FIELD_NUMBER",
        "RFC 6455 section 5.4; a whole scenario, written down; the rows of a table",
    ],
)
def test_what_can_be_opened_is_left_alone(harmless: str) -> None:
    assert unresolved(harmless) + papers(harmless) == []
