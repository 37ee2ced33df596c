"""Commands, options, make targets and pages that a page names exist, and its Python compiles."""

import ast
import itertools
import re
import textwrap
from pathlib import Path

import pytest
import typer

from inngest_connect.cli.app import app
from inngest_connect_ready import parser
from tests.pages import PAGES, ROOT, Block, anchors, blocks

pytestmark = pytest.mark.unit

LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?<![\w./-])inngest-connect ([a-z]+)((?: +[^\s`|&>#;]+)*)")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(text_of(page)) if "://" not in link]
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


def test_the_readme_leads_to_every_page() -> None:
    """Those in directories below docs/ have a page beside or above them that lists them."""
    lists = [ROOT / "README.md", ROOT / "docs/how-to/index.md", ROOT / "docs/reference.md"]
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in lists
        for link in LINK.findall(text_of(page))
    }

    assert set(PAGES) - linked == {ROOT / "README.md"}


def options() -> dict[str, set[str]]:
    """The options of every command."""
    group = typer.main.get_command(app)
    assert hasattr(group, "commands")
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        | {"--help", "--traceback"}
        for name, command in group.commands.items()
    } | {"ready": set(re.findall(r"--[a-z-]+", parser().format_help()))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_exists(page: Path) -> None:
    known = options()
    mentioned = [
        (name, re.findall(r"--[a-z][a-z-]*", arguments))
        for name, arguments in COMMAND.findall(text_of(page))
    ]
    unknown = [
        (name, option)
        for name, given in mentioned
        for option in (given or [""])
        if name not in known or (option and option not in known[name])
    ]

    assert unknown == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_of_make_exists(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", text_of(ROOT / "Makefile"), re.M))
    named = set(re.findall(r"(?:`|\$ )make ([a-z][\w-]*)", text_of(page)))

    assert named - targets == set()


PYTHON = list(itertools.chain.from_iterable(map(blocks, PAGES)))


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_every_block_of_python_can_be_compiled(block: Block) -> None:
    code = textwrap.dedent(block.text)

    compile(code, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_there_are_blocks() -> None:
    assert len(PYTHON) > 10
