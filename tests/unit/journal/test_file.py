"""The file of a journal: real files, and everything that can be wrong with one."""

import contextlib
import errno
import multiprocessing
import os
import sqlite3
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inngest_connect.errors import ConfigurationError
from inngest_connect.journal.file import JournalFile, open_to_read
from inngest_connect.journal.rows import Holder, Row, lease_end, read
from inngest_connect.protocol import connect_pb2 as pb

pytestmark = pytest.mark.unit
OURS = Holder("here", 7, "worker-1", 1_700_000_000.0)
THEIRS = Holder("there", 8, "worker-2", 1_700_000_001.0)
LEASE = "01HF7YAT00AAAAAAAAAAAAAAAA"


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("file", "place"):
        monkeypatch.setattr(f"inngest_connect.journal.{module}.LOCK_SECONDS", 0.05)


def request(request_id: str) -> pb.GatewayExecutorRequestData:
    return pb.GatewayExecutorRequestData(
        request_id=request_id,
        account_id="account",
        env_id="env",
        app_name="app",
        function_slug="app-fn",
        run_id="run-1",
        lease_id=LEASE,
        request_payload=b"the payload of a user",
        system_trace_ctx=b"trace",
    )


def row(request_id: str, reply: bytes | None = None, at: float = 1_700_000_000.0) -> Row:
    return Row(request(request_id), at, reply)


@contextlib.contextmanager
def opened(path: Path, holder: Holder = OURS) -> Iterator[JournalFile]:
    with contextlib.closing(JournalFile(path, "normal", holder)) as file:
        file.open()
        yield file


def write(path: Path, *rows: Row, holder: Holder = OURS) -> None:
    with opened(path, holder) as file:
        file.write({each.request.request_id: each for each in rows})


def found(path: Path) -> dict[str, bytes | None]:
    with contextlib.closing(open_to_read(path)) as database:
        return {key: each.reply for key, each in read(database).rows.items()}


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught, opened(path):
        pass
    assert str(path) in str(caught.value)
    return str(caught.value)


def change(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


# --- what it keeps -------------------------------------------------------------------------------


def test_the_next_process_finds_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    write(path, row("early", at=10.0), row("late", b"reply", at=20.0), holder=THEIRS)

    with opened(path) as file:
        content, damage = file.take_found()

    assert damage is None
    assert content.holder == THEIRS
    assert [(key, each.acknowledged_at, each.reply) for key, each in content.rows.items()] == [
        ("early", 10.0, None),
        ("late", 20.0, b"reply"),
    ]
    names = content.rows["early"].request
    assert (names.run_id, names.lease_id, names.system_trace_ctx) == ("run-1", LEASE, b"trace")


def test_what_was_found_is_handed_over_once(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    write(path, row("a"))

    with opened(path) as file:
        file.take_found()
        again, _ = file.take_found()

    assert again.rows == {}


def test_no_payload_is_in_any_of_the_files(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as file:
        file.write({"a": row("a")})
        file.write({"a": row("a", b"reply")})
        everything = b"".join(each.read_bytes() for each in tmp_path.iterdir())

    assert b"app-fn" in everything
    assert b"payload" not in everything


def test_only_this_user_can_read_the_files(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.touch(0o644)
    with opened(path) as file:
        file.write({"a": row("a")})
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}

    assert modes == {
        "journal": 0o600, "journal-wal": 0o600, "journal-shm": 0o600, "journal-lock": 0o600,
    }  # fmt: skip


def test_a_reply_is_added_and_a_row_removed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as file:
        file.write({"a": row("a"), "b": row("b"), "c": None})
        file.write({"a": row("a", b"reply"), "b": None})
        ids = file.ids()

    assert ids == {"a"}
    assert found(path) == {"a": b"reply"}


def test_a_transaction_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as file:
        file.write({"a": row("a")})
        broken = row("b")
        broken.acknowledged_at = None  # type: ignore[assignment]
        with pytest.raises(struct.error):
            file.write({"a": None, "b": broken})
        ids = file.ids()

    assert ids == {"a"}
    assert found(path) == {"a": None}


def test_rows_that_an_outage_has_left_do_not_stay_as_space(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as file:
        file.write({str(n): row(str(n), b"x" * 100_000) for n in range(20)})
        file.write({str(n): None for n in range(20)})
    before = path.stat().st_size
    with opened(path):
        pass

    assert before > 2_000_000
    assert path.stat().st_size < 50_000


def test_the_end_of_a_lease_is_in_its_id() -> None:
    assert lease_end(LEASE) == 1_700_000_000.0
    assert lease_end(LEASE.lower()) == 1_700_000_000.0
    assert lease_end("not a lease") is None


# --- who has it ----------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from inngest_connect.journal.file import JournalFile
from inngest_connect.journal.rows import Holder
file = JournalFile(Path(sys.argv[1]), "normal", Holder("a-host", 4711, "i", 1_700_000_000.0))
file.open()
print("open", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def held(path: Path) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_process_is_told_who_has_the_file(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with held(path) as process:
        text = refusal(path)
        process.kill()
        process.wait()
        with opened(path) as file:
            holder = file.take_found()[0].holder

    assert "another worker has it: pid 4711 on a-host, started 2023-11-14T22:13:20Z" in text
    assert "pass another path, or end the other process" in text
    assert holder is not None
    assert holder.pid == 4711


def test_a_second_worker_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as file:
        text = refusal(path)
        file.write({"a": row("a")})

    assert "another worker has it: pid 7 on here" in text
    assert found(path) == {"a": None}


def test_a_refused_attempt_does_not_break_the_lock_of_its_own_process(tmp_path: Path) -> None:
    """POSIX ends the locks of a process when it closes any descriptor of the file."""
    path = tmp_path / "journal"
    with opened(path):
        refusal(path)
        found(path)
        outside = subprocess.run(
            [sys.executable, "-c", HOLDER, str(path)], capture_output=True, text=True, check=False
        )

    assert "another worker has it" in outside.stderr


def test_a_reader_does_not_disturb_the_one_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as file:
        file.write({"a": row("a")})
        first = found(path)
        file.write({"b": row("b")})
        second = found(path)

    assert (first, second) == ({"a": None}, {"a": None, "b": None})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside threads
def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    context = multiprocessing.get_context("fork")
    with opened(path) as file:
        file.write({"a": row("a")})
        child = context.Process(target=time.sleep, args=(600,))
        child.start()
    try:
        with opened(path, THEIRS) as file:
            ids = file.ids()
    finally:
        child.kill()
        child.join()

    assert ids == {"a"}


def test_the_lock_is_kept_while_the_database_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as file:
        file.close_database()
        text = refusal(path)
        file.open()
        in_place = file.is_in_place()

    assert "another worker has it" in text
    assert in_place


# --- paths that no journal can be at -------------------------------------------------------------


def test_a_text_file_is_refused_and_stays_as_it_is_however_often_one_tries(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("notes of a user\n" * 100)
    path.chmod(0o640)
    texts = {refusal(path) for _ in range(3)}

    assert len(texts) == 1
    assert "that file is not a journal: pass another path" in texts.pop()
    assert [each.name for each in tmp_path.iterdir()] == ["notes.txt"]
    assert path.read_text() == "notes of a user\n" * 100
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_another_database_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1);")
    path.chmod(0o640)
    before = path.read_bytes()
    texts = {refusal(path) for _ in range(2)}

    assert len(texts) == 1
    assert "that database is not a journal: pass another path" in texts.pop()
    assert [each.name for each in tmp_path.iterdir()] == ["other.db"]
    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("lock", ["is there", "was lost"])
def test_a_file_of_a_newer_release_is_refused(tmp_path: Path, lock: str) -> None:
    path = tmp_path / "journal"
    write(path, row("a"))
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 2")
    if lock == "was lost":
        (tmp_path / "journal-lock").unlink()
    text = refusal(path)

    assert "a newer release wrote it (version 2, this one reads up to 1)" in text
    assert "upgrade inngest-connect, or pass another path" in text


def _directory(path: Path) -> None:
    path.mkdir()


def _link(path: Path) -> None:
    path.with_name("target").touch()
    path.symlink_to("target")


def _dangling_link(path: Path) -> None:
    path.symlink_to("nothing")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (_directory, "it is not a regular file: pass another path"),
        (_pipe, "it is not a regular file: pass another path"),
        (_link, "it is a symbolic link: pass the path of the file itself"),
        (_dangling_link, "it is a symbolic link: pass the path of the file itself"),
    ],
)
def test_what_is_not_a_file_is_refused(
    tmp_path: Path, make: Callable[[Path], None], remedy: str
) -> None:
    path = tmp_path / "journal"
    make(path)
    before = sorted(each.name for each in tmp_path.iterdir())

    assert remedy in refusal(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("place", "remedy"),
    [
        ("missing/journal", "its directory does not exist: create it"),
        ("file/journal", "Not a directory: pass another path"),
        ("n" * 300, "File name too long: pass another path"),
        ("n" * 252, "cannot be created beside it (File name too long)"),
    ],
)
def test_a_path_that_cannot_be_is_refused(tmp_path: Path, place: str, remedy: str) -> None:
    (tmp_path / "file").touch()

    assert remedy in refusal(tmp_path / place)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc")
def test_a_directory_where_nothing_can_be_created_is_refused() -> None:
    text = refusal(Path("/proc/journal"))

    assert "journal-lock cannot be created beside it" in text
    assert "pass a path in a directory that is writable" in text


@contextlib.contextmanager
def as_another_user() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("directory", "journal-lock cannot be created beside it (Permission denied)"),
        ("file", "it cannot be read (Permission denied): pass another path"),
        ("readable file", "that file is not a journal: pass another path"),
        ("lock", "journal-lock cannot be opened (unable to open database file)"),
        ("journal", "it cannot be written (Operation not permitted): pass another path"),
    ],
)
def test_what_another_user_owns_is_refused(what: str, text: str) -> None:
    # The directories above ``tmp_path`` are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755 if what == "directory" else 0o777)
        path = Path(folder) / "journal"
        match what:
            case "file":
                path.touch(0o600)
            case "readable file":
                path.write_text("notes")
            case "lock":
                path.with_name("journal-lock").touch(0o600)
            case "journal":
                write(path, row("a"))
                path.with_name("journal-lock").chmod(0o666)
        with as_another_user():
            refused = refusal(path)

    assert text in refused


def test_a_lock_that_is_a_file_of_somebody_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal-lock").write_text("not a lock\n" * 100)
    text = refusal(tmp_path / "journal")

    assert "journal-lock beside it is not a lock" in text
    assert (tmp_path / "journal-lock").read_text() == "not a lock\n" * 100


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (sqlite3.SQLITE_IOERR_LOCK, "cannot be locked (no): pass a path on a local disk"),
        (sqlite3.SQLITE_PROTOCOL, "cannot be locked (no): pass a path on a local disk"),
        (sqlite3.SQLITE_READONLY, "beside it cannot be written (no): pass another path"),
    ],
)
def test_locks_that_a_file_system_refuses_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str
) -> None:
    """As NFS without its lock daemon does, which cannot be mounted here."""

    class Refusing(sqlite3.Connection):
        def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:
            if "EXCLUSIVE" in sql:
                error = sqlite3.OperationalError("no")
                error.sqlite_errorcode = code
                raise error
            return super().execute(sql)

    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda path, **given: connect(path, factory=Refusing, **given)
    )

    assert remedy in refusal(tmp_path / "journal")


def test_a_disk_that_is_full_is_no_wrong_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match="No space left") as caught, opened(tmp_path / "journal"):
        pass

    assert not isinstance(caught.value, ConfigurationError)


# --- damage --------------------------------------------------------------------------------------


def recover(path: Path) -> tuple[dict[str, bytes | None], str | None]:
    """What a successor finds, and the report of the damage; the damaged file must be kept."""
    with opened(path) as file:
        content, damage = file.take_found()
        assert file.ids() == (set(content.rows) if damage is None else set())
        file.write({"new": row("new")})
    assert (damage is not None) == bool(list(path.parent.glob("journal.damaged-*")))
    assert found(path).keys() >= {"new"}
    return {key: each.reply for key, each in content.rows.items()}, damage


def test_bytes_that_have_changed_are_not_delivered(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as file:
        file.write({"a": row("a"), "b": row("b", b"another")})
        file.write({"a": row("a", b"the result")})
        file.write({"c": row("c", b"a third")})
    change(path, b"the result", b"the rEsult")
    rows, damage = recover(path)

    assert rows == {"a": None, "b": b"another", "c": b"a third"}
    assert damage is not None
    assert "is damaged (malformed: batches have changed: 1)" in damage
    assert "and was moved to journal.damaged-" in damage
    assert "3 of its requests could be read" in damage


def test_a_reply_without_its_request_is_not_delivered(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    other = row("b")
    other.request.run_id = "run-2"
    with opened(path) as file:
        file.write({"a": row("a", b"result")})
        file.write({"b": other})
        file.write({"b": row("b", b"of a request that cannot be read")})
    change(path, b"run-2", b"run-3")

    assert recover(path)[0] == {"a": b"result"}


def test_one_byte_costs_a_part_of_a_large_journal_only(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    rows = {f"r{n:03d}": row(f"r{n:03d}", f"result {n:03d}".encode() * 100) for n in range(200)}
    with opened(path) as file:
        file.replace(rows)
    change(path, b"result 100result", b"result 100rEsult")
    left, damage = recover(path)

    assert damage is not None
    assert 100 < len(left) < 200
    assert {"r000", "r199"} < left.keys()


def test_what_is_on_sound_pages_of_a_damaged_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as file:
        for n in range(100):
            file.write({f"r{n:03d}": row(f"r{n:03d}", b"x" * 1000)})
    middle = path.stat().st_size // 2 // 4096 * 4096
    with path.open("r+b") as damaged:
        damaged.seek(middle)
        damaged.write(b"\xff" * 4096)
    rows, damage = recover(path)

    assert damage is not None
    assert 50 < len(rows) < 100
    assert set(rows.values()) == {b"x" * 1000}
    assert {"r000", "r099"} < rows.keys()


# --- its size ------------------------------------------------------------------------------------


def test_it_stays_small_however_much_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    everything = {"old": row("old", b"the first")}
    replaced = 0
    with opened(path) as file:
        file.write(dict(everything))
        for n in range(300):
            file.write({str(n): row(str(n), b"x" * 100_000)})
            file.write({str(n): None})
            if file.is_long:
                replaced += 1
                file.replace(everything)
        size = path.stat().st_size

    assert replaced >= 5
    assert size < 30_000_000 / 2
    assert found(path) == {"old": b"the first"}


def test_what_is_large_is_not_written_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    everything = {str(n): row(str(n), b"x" * 100_000) for n in range(100)}
    replaced = 0
    with opened(path) as file:
        file.replace(everything)
    with opened(path) as file:
        for n in range(130):
            file.write({f"new {n}": row(f"new {n}", b"x" * 100_000)})
            replaced += file.is_long

    assert replaced == 0


def test_a_file_without_its_header_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    write(path, row("a"))
    with path.open("r+b") as file:
        file.write(b"\0" * 100)
    damaged = path.read_bytes()
    rows, damage = recover(path)

    assert rows == {}
    assert damage is not None
    assert "file is not a database" in damage
    assert next(tmp_path.glob("journal.damaged-*")).read_bytes() == damaged


def test_a_file_that_was_cut_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    write(path, *(row(f"r{n:03d}", b"x" * 900) for n in range(100)))
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)
    _, damage = recover(path)

    assert damage is not None


def test_a_file_that_was_cut_to_nothing_beside_its_log_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with held(path) as process:
        process.kill()  # so that the log stays
        process.wait()
    log = (tmp_path / "journal-wal").read_bytes()
    os.truncate(path, 0)
    rows, damage = recover(path)

    assert rows == {}
    assert damage is not None
    assert "the file is empty and its log is not" in damage
    assert next(tmp_path.glob("journal.damaged-*-wal")).read_bytes() == log


def test_tables_that_are_missing_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    write(path, row("a", b"reply"))
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE worker")
    rows, damage = recover(path)

    assert rows == {"a": b"reply"}
    assert damage is not None
    assert "no such table: worker" in damage


def test_what_was_read_of_a_damaged_file_survives_a_failure_to_replace_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    write(path, row("b", b"another"))
    write(path, row("a", b"result"))
    change(path, b"result", b"rEsult")
    rename = Path.rename

    def rename_on_a_full_disk(source: Path, target: Path) -> Path:
        moved = rename(source, target)
        monkeypatch.setattr(os, "open", full)
        return moved

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with contextlib.closing(JournalFile(path, "normal", THEIRS)) as file:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", rename_on_a_full_disk)
            with pytest.raises(OSError, match="No space left"):
                file.open()
        monkeypatch.undo()
        file.open()
        content, damage = file.take_found()

    assert {key: each.reply for key, each in content.rows.items()} == {"b": b"another"}
    assert damage is not None


def test_a_database_that_is_locked_is_neither_damage_nor_a_wrong_path(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    write(path, row("a"))
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"), opened(path):
            pass
    rows, damage = recover(path)

    assert (rows, damage) == ({"a": None}, None)


# --- removed while it is open --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["journal", "journal-wal", "journal-lock"])
def test_a_file_that_was_removed_is_noticed_and_created_again(tmp_path: Path, name: str) -> None:
    path = tmp_path / "journal"
    with opened(path) as file:
        file.write({"a": row("a")})
        before = file.is_in_place()
        (tmp_path / name).unlink()
        removed = file.is_in_place()
        file.open()
        file.write({"b": row("b")})
        after = file.is_in_place()
        text = refusal(path)

    assert (before, removed, after) == (True, False, True)
    assert "another worker has it" in text
    assert "b" in found(path)


def test_an_error_while_it_is_opened_again_leaves_it_closed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with opened(folder / "journal") as file:
        file.write({"a": row("a")})
        for each in folder.iterdir():
            each.unlink()
        folder.rmdir()
        with pytest.raises(ConfigurationError, match="its directory does not exist"):
            file.open()
        without = file.is_in_place()
        folder.mkdir()
        file.open()

    assert not without
    assert found(folder / "journal") == {}


# --- reading -------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such file"):
        open_to_read(tmp_path / "journal")


def test_reading_a_file_of_something_else_closes_it(tmp_path: Path) -> None:
    """A connection that is left open is a warning, and an error here."""
    path = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (x)")
    with pytest.raises(ConfigurationError, match="that database is not a journal"):
        open_to_read(path)


def test_a_holder_that_makes_no_sense_is_nobody(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    write(path, row("a"))
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE worker SET started_at = 1e300")
    with opened(path) as file:
        content, damage = file.take_found()

    assert (content.holder, list(content.rows), damage) == (None, ["a"], None)
