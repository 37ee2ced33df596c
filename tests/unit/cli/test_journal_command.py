"""``inngest-connect journal``: what it prints of real files, and how it refuses others."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inngest_connect.cli.app import app
from inngest_connect.journal.file import JournalFile
from inngest_connect.journal.rows import Holder, Row
from inngest_connect.protocol import connect_pb2 as pb

pytestmark = pytest.mark.unit
NOW = 1_700_000_100.0
HOLDER = Holder("a-host", 4711, "worker-1", 1_700_000_000.0)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inngest_connect.cli.journal.time.time", lambda: NOW)


def row(request_id: str, reply: bytes | None, *, lease: str = "", run: str = "run") -> Row:
    request = pb.GatewayExecutorRequestData(
        request_id=request_id,
        run_id=run,
        function_slug="shop-charge",
        lease_id=lease,
        request_payload=b"the payload",
    )
    return Row(request, NOW - 12.5, reply)


@contextlib.contextmanager
def journal(path: Path, *rows: Row) -> Iterator[None]:
    with contextlib.closing(JournalFile(path, "normal", HOLDER)) as file:
        file.open()
        file.write({each.request.request_id: each for each in rows})
        yield


def command(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["journal", *map(str, arguments)], env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


def test_it_shows_what_is_unfinished_while_a_worker_uses_the_file(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with journal(path, row("request-1", None), row("request-2", b"the result")):
        code, output, _ = command(path)

    assert code == 0
    lines = output.splitlines()
    assert lines[0] == "last opened by pid 4711 on a-host, started 2023-11-14T22:13:20Z"
    assert lines[1].split() == ["request", "run", "function", "left", "age"]
    assert [" ".join(line.split()) for line in lines[2:]] == [
        "request-1 run shop-charge no reply yet 12.5 s",
        "request-2 run shop-charge a reply of 10 bytes 12.5 s",
    ]


def test_it_prints_objects_without_payloads(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    rows = row("a", None, lease="01HF7YAT00AAAAAAAAAAAAAAAA"), row("b", b"the result")
    with journal(path, *rows):
        pass
    code, output, _ = command(path, "--json")

    assert code == 0
    names = {"run_id": "run", "function": "shop-charge", "age": 12.5}
    assert [json.loads(line) for line in output.splitlines()] == [
        {**names, "request_id": "a", "left": "request", "reply_bytes": None,
         "first_lease_ends_in": -100.0},
        {**names, "request_id": "b", "left": "reply", "reply_bytes": 10,
         "first_lease_ends_in": None},
    ]  # fmt: skip


def test_an_empty_journal_says_so(tmp_path: Path) -> None:
    with journal(tmp_path / "journal"):
        pass
    code, output, _ = command(tmp_path / "journal")

    assert (code, output.splitlines()[1]) == (0, "nothing is unfinished")


def test_what_a_peer_has_chosen_cannot_control_the_terminal(tmp_path: Path) -> None:
    with journal(tmp_path / "journal", row("a", None, run="\x1b[2J[bold]run[/x]")):
        pass
    _, output, _ = command(tmp_path / "journal")

    assert "\x1b" not in output
    assert "\\x1b[2J[bold]run[/x]" in output


def test_bytes_that_have_changed_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with journal(path, row("a", b"result")):
        pass
    with journal(path, row("b", None)):
        pass
    path.write_bytes(path.read_bytes().replace(b"result", b"rEsult"))
    code, output, errors = command(path, "--json")

    assert code == 0
    assert [json.loads(line)["request_id"] for line in output.splitlines()] == ["b"]
    assert "1 of its batches cannot be read" in errors


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    code, output, errors = command(tmp_path / "journal")

    assert (code, output) == (2, "")
    assert "there is no such file" in errors


def test_a_text_file_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("notes\n" * 100)
    code, output, errors = command(path)

    assert (code, output) == (2, "")
    assert "cannot be read: file is not a database" in errors
    assert [each.name for each in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("PRAGMA application_id = 1", "that database is not a journal"),
        ("PRAGMA user_version = 2", "a newer release wrote it (version 2"),
        ("DROP TABLE batch", "no such table"),
    ],
)
def test_another_database_is_an_error(tmp_path: Path, statement: str, text: str) -> None:
    path = tmp_path / "journal"
    with journal(path, row("a", None)):
        pass
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(statement)
    code, output, errors = command(path)

    assert (code, output) == (2, "")
    assert text in errors
