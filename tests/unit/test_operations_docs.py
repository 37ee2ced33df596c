"""docs/operations.md and examples/deploy agree with the code."""

import ast
import configparser
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from inngest_connect import errors
from inngest_connect.cli.app import app
from inngest_connect.cli.doctor.checks import CHECKS
from inngest_connect.cli.doctor.configuration import KNOWN_VARIABLES
from inngest_connect.cli.doctor.findings import FIRST_EXIT_CODE
from inngest_connect.core.events import EVENTS
from inngest_connect_ready import parser

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "inngest_connect"
DEPLOY = ROOT / "examples" / "deploy"
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
GRACE = 15
"""Seconds beyond ``shutdown_timeout``, as the page promises to be enough."""


def section(title: str) -> str:
    """The part of the page below a heading, up to the next one of any level."""
    return re.split(rf"^#+ {re.escape(title)}$", PAGE, flags=re.M)[1].split("\n#")[0]


def first_cells(title: str) -> set[str]:
    """The names in backticks in the first column of the tables of a section."""
    rows = [line for line in section(title).splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}


def kinds() -> set[str]:
    """Every kind of error that is written in the source."""
    return {
        constant.value
        for path in SOURCE.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and call.args and _tells_an_error(call.func, path)
        for constant in ast.walk(call.args[0])
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
    }


def _tells_an_error(function: ast.expr, path: Path) -> bool:
    if isinstance(function, ast.Attribute):
        return function.attr in {"error", "ErrorOccurred"} and "core" in path.parts
    return isinstance(function, ast.Name) and function.id == "ErrorOccurred"


def test_every_kind_of_error_is_explained() -> None:
    found = kinds()

    assert len(found) > 20
    assert found - first_cells("Kinds of `error`") == set()


def test_every_event_is_explained_and_no_other() -> None:
    assert first_cells("What each event means") == {each.name for each in EVENTS}


def test_every_error_that_can_be_caught_is_explained() -> None:
    branches = {"ConnectError", "LocalMistake", "PeerFault", "Sequence"}
    raised = {name for name, value in vars(errors).items() if isinstance(value, type)} - branches

    assert first_cells("Errors that are raised") == raised


def test_the_exit_codes_of_the_doctor_are_those_of_its_checks() -> None:
    rows = re.findall(r"^\| (\d+) \| ([\w ]+) \|", section("`doctor`"), flags=re.M)

    assert dict(rows) == {str(FIRST_EXIT_CODE + one.number): one.name for one in CHECKS}


def test_the_doctor_knows_every_variable_that_is_documented() -> None:
    documented = set(
        re.findall(
            r"INNGEST_CONNECT_[A-Z_]+", (ROOT / "docs" / "configuration.md").read_text("utf-8")
        )
    )

    assert documented - KNOWN_VARIABLES - variables_of_commands() == set()


def commands() -> dict[str, Any]:
    group = typer.main.get_command(app)
    return dict(group.commands)  # type: ignore[attr-defined]


def options_of(command: str) -> set[str]:
    if command == "ready":
        return set(re.findall(r"--[a-z-]+", parser().format_help()))
    parameters = commands()[command].params
    return {"--help"} | {
        option for each in parameters for option in (*each.opts, *each.secondary_opts)
    }


def variables_of_commands() -> set[str]:
    found = {each.envvar for command in commands().values() for each in command.params}
    return {name for name in found if isinstance(name, str)}


def uses() -> Iterator[tuple[str, str, list[str]]]:
    """File, command and flags of each line that calls ``inngest-connect``."""
    pages = sorted((ROOT / "docs").glob("*.md"))
    for path in [*pages, *sorted(DEPLOY.iterdir())]:
        # A command as a list of words, in JSON or in YAML, becomes one line.
        text = re.sub(r'", "|\n +- (?=")|\n +args:', " ", path.read_text(encoding="utf-8"))
        for call in re.finditer(r"\binngest-connect (?P<command>[a-z]+)(?P<rest>[^\n`]*)", text):
            rest = call["rest"].partition("  #")[0]
            yield path.name, call["command"], re.findall(r"(?<![\w-])--[a-z-]+", rest)


def test_every_flag_in_the_documentation_and_the_examples_exists() -> None:
    found = list(uses())

    assert {name for name, _, flags in found if flags} >= {
        "operations.md", "kubernetes.yaml", "inngest-connect.service",
    }  # fmt: skip
    for name, command, flags in found:
        assert command in commands(), f"{name}: inngest-connect {command}"
        assert set(flags) <= options_of(command), f"{name}: inngest-connect {command} {flags}"


def seconds(file: str, pattern: str) -> int:
    match = re.search(pattern, (DEPLOY / file).read_text(encoding="utf-8"))
    assert match is not None, f"{file} has no {pattern}"
    return int(match[1])


def test_the_examples_give_a_worker_the_time_that_it_asks_for() -> None:
    kubernetes, systemd = (
        ("kubernetes.yaml", "kubernetes-statefulset.yaml"),
        "inngest-connect.service",
    )
    in_docker = seconds("Dockerfile", r"INNGEST_CONNECT_SHUTDOWN_TIMEOUT=(\d+)")

    for granted, asked in (
        *(
            (
                seconds(file, r"terminationGracePeriodSeconds: (\d+)"),
                seconds(file, r"--shutdown-timeout=(\d+)"),
            )
            for file in kubernetes
        ),
        (
            seconds(systemd, r"TimeoutStopSec=(\d+)"),
            seconds(systemd, r"--shutdown-timeout (\d+)"),
        ),
        (seconds("docker-compose.yaml", r"stop_grace_period: (\d+)s"), in_docker),
    ):
        assert granted == asked + GRACE


@pytest.mark.parametrize(
    ("file", "journal", "kept"),
    [
        ("kubernetes.yaml", r"--journal=(\S+)/journal\b", r"mountPath: ([^}]+)}"),
        ("kubernetes-statefulset.yaml", r"--journal=(\S+)/journal\b", r"mountPath: ([^}]+)}"),
        ("inngest-connect.service", r"--journal /var/lib/(\S+)/journal\b", r"StateDirectory=(\S+)"),
        ("Dockerfile", r"INNGEST_CONNECT_JOURNAL=(\S+)/journal\b", r"--mode 700 (\S+)"),
        ("docker-compose.yaml", None, r"volumes:\n +- (\S+)"),
    ],
)
def test_the_examples_keep_the_journal_where_the_worker_can_write(
    file: str, journal: str | None, kept: str
) -> None:
    text = (DEPLOY / file).read_text(encoding="utf-8")
    directory = re.search(kept, text)
    assert directory is not None
    # The image has the path for Compose, in a variable.
    given = re.search(journal, text) if journal else None

    assert directory[1] == (given[1] if given else "/var/lib/worker")


def test_the_unit_is_well_formed_and_the_dockerfile_uses_the_exec_form() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((DEPLOY / "inngest-connect.service").read_text(encoding="utf-8"))
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")

    assert unit["Service"]["KillMode"] == "mixed"
    commands_run = re.findall(r"\bCMD (.*)$", dockerfile, flags=re.M)
    assert [json.loads(each)[0] for each in commands_run] == ["inngest-connect"] * 2
