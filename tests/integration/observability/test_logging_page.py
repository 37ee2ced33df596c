"""docs/logging.md shows what is logged, in that order.

``python -m tests.integration.observability.test_logging_page`` rewrites the excerpts of the page.
"""

import asyncio
import re
from pathlib import Path

import pytest

from tests.integration.observability.excerpts import EXCERPTS, logged

pytestmark = pytest.mark.integration
PAGE = Path(__file__).parents[3] / "docs" / "logging.md"
BLOCK = re.compile(r"(<!-- excerpt: (\w+) -->\n```text\n)(.*?)(```)", re.DOTALL)
LINE = re.compile(r"^[\d:]{8} ([A-Z]+) +(\w+)", re.MULTILINE)


def blocks() -> dict[str, list[tuple[str, str]]]:
    page = PAGE.read_text(encoding="utf-8")
    return {name: LINE.findall(text) for _, name, text, _ in BLOCK.findall(page)}


def test_every_excerpt_is_on_the_page() -> None:
    assert list(blocks()) == list(EXCERPTS)


@pytest.mark.parametrize("name", EXCERPTS)
async def test_an_excerpt_is_what_a_worker_logs(name: str) -> None:
    log = await logged(name)

    assert log.sequence == blocks()[name]


def _rewrite() -> None:
    def again(block: re.Match[str]) -> str:
        log = asyncio.run(logged(block[2]))
        return block[1] + "".join(log.format(record) + "\n" for record in log.records) + block[4]

    PAGE.write_text(BLOCK.sub(again, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    _rewrite()
