"""The chaos command itself, for some seconds; the minute of chaos is in tests/chaos."""

import json
import subprocess
import sys

import pytest

from chaos import ChaosReport

pytestmark = pytest.mark.integration
WORKER = {"executed": 3, "executed_twice": 0, "invalid_transitions": 0}


def test_the_command_ends_with_the_ledger() -> None:
    command = [sys.executable, "-m", "chaos", "--seconds", "2"]

    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=80)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    summary = json.loads(ended.stdout)
    assert summary["lost"] == 0
    assert summary["executed"] >= summary["acknowledged"] > 0
    assert "stops a" in ended.stderr


def test_what_must_not_be_is_said_in_words() -> None:
    report = ChaosReport(1, 1.0, {"lost": 0, "runs": {"completed": 5}}, [WORKER, WORKER])
    sound = report.problems
    report.server = {"lost": 2, "runs": {"wrong": 1}}
    report.workers = [{**WORKER, "executed_twice": 3}]

    assert sound == []
    assert report.problems == [
        "2 acknowledged requests have no reply",
        "1 runs ended wrongly",
        "executed twice: 3",
    ]
