"""Whatever happens to a row is recorded, with its reason: nothing is skipped in silence."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.beside import results, verdict
from tests.beside.program import DoesNotWork
from tests.beside.situations import Situation
from tests.beside.verdict import check

pytestmark = pytest.mark.beside
Seen = dict[str, dict[str, Any]]


async def seen_of(
    situation: Situation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Seen]:
    """What the test of a row raises, and what it records."""
    file = folder / "results.json"
    monkeypatch.setenv(results.FILE, str(file))
    for module in (results, verdict):
        monkeypatch.setattr(module, "SITUATIONS", {situation.name: situation})
    with pytest.raises((DoesNotWork, pytest.skip.Exception)) as raised:
        await check(situation.name, folder)
    return str(raised.value), json.loads(file.read_text(encoding="utf-8"))


async def test_what_cannot_be_had_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Situation(name="x", group="g", command="true", probe="false", unavailable="needs x")

    reason, seen = await seen_of(row, tmp_path, monkeypatch)

    assert reason == "needs x"
    assert (seen["x"]["result"], seen["x"]["reason"]) == ("not run", "needs x")


@pytest.mark.parametrize(
    ("command", "more", "reason"),
    [
        ("sh -c 'exit 3'", {}, "ended with code 3, no connection"),
        ("true", {"holds": "refused"}, "ended with code 0, although it must be refused"),
        ("sh -c 'echo no; exit 1'", {"holds": "refused", "error": "yes"}, "does not contain 'yes'"),
        ("true", {"played": "tests", "says": "2 passed"}, "does not contain '2 passed'"),
        ("true", {"build": "false"}, "the build ended with code 1"),
        ("python worker.py", {"exit_code": 7}, "ended with code 0 instead of 7"),
    ],
)
async def test_what_does_not_hold_fails_and_says_why(
    command: str,
    more: dict[str, Any],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = Situation(name="x", group="g", command=command, **more)

    raised, seen = await seen_of(row, tmp_path, monkeypatch)

    assert reason in raised
    assert (seen["x"]["result"], seen["x"]["reason"]) == ("does not work", raised)
    assert str(tmp_path) not in json.dumps(seen)
