"""The pages of documentation and the Python in them."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """One block of Python. ``number`` counts from 1 on its page."""

    page: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.page} {self.number}"


def blocks(page: Path) -> list[Block]:
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    name = page.relative_to(ROOT).as_posix().removeprefix("docs/")
    return [Block(name, number, text) for number, text in enumerate(found, 1)]


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    kept = (re.sub(r"[^\w\- ]", "", heading.strip().lower()) for heading in headings)
    return frozenset(heading.replace(" ", "-") for heading in kept)
