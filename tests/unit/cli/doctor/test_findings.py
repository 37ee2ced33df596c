"""Marks, exit codes, and what may be written."""

import json

import pytest

from inngest_connect.cli.doctor.checks import CHECKS, Check, examine
from inngest_connect.cli.doctor.examination import Examination
from inngest_connect.cli.doctor.findings import (
    Finding,
    Mark,
    Problem,
    Result,
    blocked,
    exit_code,
    failed,
    skipped,
)
from inngest_connect.cli.doctor.output import as_json, presentable
from inngest_connect.errors import ConfigurationError, ConnectError, UnsupportedSDKError
from inngest_connect.observability.redaction import Redactor

pytestmark = pytest.mark.unit
WARNING = Finding("", (Problem("", "", fatal=False),))


def results(*findings: Finding) -> list[Result]:
    return [Result(number, "", finding, 0.0) for number, finding in enumerate(findings, 1)]


def test_the_worst_problem_makes_the_mark() -> None:
    both = Finding("", (Problem("", "", fatal=False), Problem("", "")))

    assert [one.mark for one in (Finding(""), WARNING, both, skipped(""), blocked("key"))] == [
        Mark.OK, Mark.WARN, Mark.FAIL, Mark.SKIP, Mark.SKIP,
    ]  # fmt: skip


def test_the_exit_code_is_ten_and_the_first_check_that_failed() -> None:
    assert exit_code(results(Finding(""), WARNING, skipped(""))) == 0
    assert exit_code(results(Finding(""), failed("", ""), blocked(""), failed("", ""))) == 12


def test_the_numbers_of_the_checks_are_a_promise() -> None:
    """Exit codes are made of them: docs/operations.md."""
    assert [check.number for check in CHECKS] == list(range(1, 13))
    assert [check.name for check in CHECKS] == [
        "configuration", "signing key", "API name", "API address", "API TLS", "proxy",
        "API start", "gateway address", "WebSocket", "handshake", "heartbeats", "close",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [ConfigurationError, UnsupportedSDKError])
async def test_an_unreadable_configuration_blocks_everything_else(kind: type[ConnectError]) -> None:
    error = kind("INNGEST_DEV is wrong\nright it")

    first, *rest = await examine(Examination(error, 1.0), lambda _: None)

    assert first.mark is Mark.FAIL
    assert first.finding.problems == (Problem("INNGEST_DEV is wrong", "right it"),)
    assert {one.finding.blocked_by for one in rest} == {"configuration"}
    assert len(rest) == len(CHECKS) - 1


@pytest.mark.parametrize(
    ("error", "remedy"),
    [(OSError(101, "no route"), "Try again"), (KeyError("surprise"), "Report this as a bug")],
)
async def test_an_error_of_one_check_is_its_finding(
    monkeypatch: pytest.MonkeyPatch, error: Exception, remedy: str
) -> None:
    async def fails(_: Examination) -> Finding:
        raise error

    async def works(_: Examination) -> Finding:
        return Finding("fine")

    two = (Check(1, "one", fails), Check(2, "two", works))
    monkeypatch.setattr("inngest_connect.cli.doctor.checks.CHECKS", two)

    first, second = await examine(Examination(ConfigurationError(""), 1.0), lambda _: None)

    assert first.mark is Mark.FAIL
    assert remedy in first.finding.problems[0].remedy
    assert second.mark is Mark.OK


def test_what_is_written_has_no_credentials_and_no_control_characters() -> None:
    redactor = Redactor(["secret-of-mine"])
    text = "at http://user:pass@host/ a secret-of-mine\x1b[2J"
    found = failed(text, text, deep=[{"sign": text, "count": 1, "none": None}])

    document = json.loads(as_json(text, [Result(1, "one", found, 0.5)], redactor))

    clean = "at http://***@host/ a ***\\x1b[2J"
    check = document["checks"][0]
    assert presentable(text, redactor) == clean
    assert (document["target"], check["summary"]) == (clean, clean)
    assert check["problems"] == [{"text": clean, "remedy": clean, "fatal": True}]
    assert check["data"] == {"deep": [{"sign": clean, "count": 1, "none": None}]}
