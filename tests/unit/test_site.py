"""The site has each page once, each public name once, and loads nothing from other hosts."""

import re

import pytest

import inngest_connect
import inngest_connect.status
import inngest_connect.testing
from scripts.site_check import loaded_by_page
from scripts.site_drawings import DRAWINGS, drawing
from tests.pages import PAGES, ROOT

pytestmark = pytest.mark.unit

CONFIGURATION = (ROOT / "mkdocs.yml").read_text("utf-8")
NAV = CONFIGURATION.partition("\nnav:\n")[2]


def test_the_nav_has_every_page_once() -> None:
    named = re.findall(r"[ -]+(?:.*: )?([\w/-]+\.md)$", NAV, re.M)
    pages = {page.relative_to(ROOT).as_posix().removeprefix("docs/") for page in PAGES}
    beside = {"SECURITY.md", "examples/README.md"}

    # The README is on the first page.
    expected = sorted((pages | beside) - {"README.md"})
    assert sorted(named) == expected, "each page has a place in the nav of mkdocs.yml"


def test_every_line_of_the_nav_is_understood() -> None:
    lines = [line for line in NAV.splitlines() if not re.fullmatch(r" +- [^:]+:", line)]

    assert all(line.endswith(".md") for line in lines)
    assert len(lines) > 20


def test_the_docstrings_of_every_public_name_are_shown_once() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES if page.parent.name == "api")
    modules = (inngest_connect, inngest_connect.status, inngest_connect.testing)

    shown = sorted(re.findall(r"^::: (\S+)$", text, re.M))

    assert shown == sorted(
        f"{module.__name__}.{name}" for module in modules for name in module.__all__
    ), "each public name has a line in a page of docs/api/"


def test_the_documented_methods_of_a_worker_are_shown() -> None:
    shown = re.search(r"members: \[([^]]+)\]", (ROOT / "docs/api/worker.md").read_text("utf-8"))
    text = (ROOT / "docs/reference.md").read_text("utf-8")
    section = text.split("### A worker")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.M)
    documented = re.findall(r"`(\w+)`", "".join(rows))

    assert shown is not None
    assert sorted(shown[1].split(", ")) == sorted(documented)


def test_every_diagram_of_a_page_has_a_drawing() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES)

    assert re.findall(r"^```mermaid\n---\ntitle: (.+)$", text, re.M) == list(DRAWINGS)
    assert text.count("```mermaid") == len(DRAWINGS)
    for title in DRAWINGS:
        arrows = drawing(title).count('class="arrow"')
        assert arrows > 5
        assert f"\n{arrows}. " in drawing(title)


def test_blocks_in_lists_are_indented_as_github_and_the_site_understand() -> None:
    misread = [
        f"{page.name}:{number}"
        for page in PAGES
        for number, line in enumerate(page.read_text("utf-8").splitlines(), 1)
        if re.match(r" {1,3}(```|[-*] |\d+\. )", line)
    ]

    assert misread == []


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/css">',
        '<link href="https://fonts.example" rel="preconnect">',
        '<img src="a.png" srcset="https://img.example/b.png 2x">',
        '<iframe src="http://video.example/1"></iframe>',
        '<svg><image href="https://img.example/c.png"/></svg>',
        '<p style="background: url(https://img.example/d.png)"></p>',
        "<style>@import '//fonts.example/e.css';</style>",
        '<pre class="mermaid">a --> b</pre>',
    ],
)
def test_what_is_loaded_from_another_host_is_found(html: str) -> None:
    assert len(loaded_by_page(html)) == 1


@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://www.inngest.com">Inngest</a>',
        '<script src="assets/x.js"></script><script>let a = "https://b.example"</script>',
        '<link rel="canonical" href="https://docs.example/"><link rel="icon" href="assets/i.png">',
        '<img src="data:image/png;base64,AAAA"><svg xmlns="http://www.w3.org/2000/svg"></svg>',
    ],
)
def test_what_a_reader_clicks_or_the_site_has_is_not(html: str) -> None:
    assert loaded_by_page(html) == []
