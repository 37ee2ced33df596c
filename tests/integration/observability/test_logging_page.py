"""docs/logging.md shows what is really logged, in that order.

``python -m tests.integration.observability.test_logging_page`` writes the page's blocks anew.
"""

import asyncio
import re
from pathlib import Path

import pytest

from tests.integration.observability.lives import LIVES, lived

pytestmark = pytest.mark.integration
PAGE = Path(__file__).parents[3] / "docs" / "logging.md"
BLOCK = re.compile(r"(<!-- life: (\w+) -->\n```text\n)(.*?)(```)", re.DOTALL)
LINE = re.compile(r"^[\d:]{8} ([A-Z]+) +(\w+)", re.MULTILINE)


def blocks() -> dict[str, list[tuple[str, str]]]:
    page = PAGE.read_text(encoding="utf-8")
    return {name: LINE.findall(text) for _, name, text, _ in BLOCK.findall(page)}


def test_every_life_is_on_the_page() -> None:
    assert list(blocks()) == list(LIVES)


@pytest.mark.parametrize("name", LIVES)
async def test_a_life_is_logged_as_the_page_says(name: str) -> None:
    log = await lived(name)

    assert log.sequence == blocks()[name]


def _rewrite() -> None:
    def again(block: re.Match[str]) -> str:
        log = asyncio.run(lived(block[2]))
        return block[1] + "".join(log.format(record) + "\n" for record in log.records) + block[4]

    PAGE.write_text(BLOCK.sub(again, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    _rewrite()
