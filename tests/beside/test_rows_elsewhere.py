"""The rows with packages of their own, in environments that are made for them."""

from pathlib import Path

import pytest

from tests.beside.situations import HERE, SITUATIONS
from tests.beside.verdict import check

pytestmark = [pytest.mark.beside, pytest.mark.timeout(1800)]  # the first builds an environment
NAMES = [name for name, each in SITUATIONS.items() if each.environment != HERE]


@pytest.mark.parametrize("name", NAMES)
async def test_a_worker_beside(name: str, tmp_path: Path) -> None:
    await check(name, tmp_path)
