"""The journal's thread: what it writes, hands over and reports, on real files."""

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inngest_connect.core.events import ErrorOccurred, Event
from inngest_connect.core.inputs import JournalCommitted, JournalRecovered
from inngest_connect.errors import ConfigurationError
from inngest_connect.journal import writer
from inngest_connect.journal.file import JournalFile, open_to_read
from inngest_connect.journal.rows import Holder, Row, read
from inngest_connect.journal.writer import Journal
from inngest_connect.protocol import connect_pb2 as pb

pytestmark = pytest.mark.unit
THEIRS = Holder("there", 8, "worker-2", 1_700_000_000.0)
THREAD = "inngest-connect-journal"
LIMIT = 20.0


@pytest.fixture(autouse=True)
def times(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short times, and no thread that stays."""
    for name in ("_TRY_AGAIN", "_LOOK_AGAIN"):
        monkeypatch.setattr(writer, name, 0.05)
    for module in ("file", "place"):
        monkeypatch.setattr(f"inngest_connect.journal.{module}.LOCK_SECONDS", 0.05)
    yield
    ends = time.monotonic() + LIMIT
    while any(each.name == THREAD for each in threading.enumerate()):
        assert time.monotonic() < ends, "a thread of the journal has not ended"
        time.sleep(0.01)


class Owner:
    """A journal and what it has reported. Not begun, unless it is entered."""

    def __init__(self, path: Path | str, commit: Any = "beside") -> None:
        self.events: list[Event] = []
        self.posted: list[Any] = []
        self.stored_at_post: list[set[str]] = []
        self._path = Path(path)
        self.journal = Journal(str(path), "normal", commit, "worker-1", self.events.append)

    async def __aenter__(self) -> "Owner":
        await self.journal.open()
        self.journal.begin(self.post)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.journal.close()
        await self.journal.closed()

    def post(self, input: Any) -> None:
        with contextlib.suppress(sqlite3.Error, ConfigurationError):
            self.stored_at_post.append(set(stored(self._path)))
        self.posted.append(input)

    @property
    def kinds(self) -> list[str]:
        return [each.kind for each in self.events if isinstance(each, ErrorOccurred)]

    @property
    def committed(self) -> list[str]:
        committed = (each for each in self.posted if isinstance(each, JournalCommitted))
        return [request_id for each in committed for request_id in each.request_ids]

    @property
    def recovered(self) -> list[JournalRecovered]:
        return [each for each in self.posted if isinstance(each, JournalRecovered)]


class Gate:
    """Stands for a disk that does not answer: nothing passes until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self._real: Callable[..., Any] = getattr(JournalFile, method)
        self._opened = threading.Event()
        self.reached = threading.Event()
        gate = self

        def wait(file: JournalFile, *rest: Any) -> Any:
            gate.reached.set()
            assert gate._opened.wait(LIMIT)
            return gate._real(file, *rest)

        monkeypatch.setattr(JournalFile, method, wait)

    def open(self) -> None:
        self._opened.set()


def request(request_id: str) -> pb.GatewayExecutorRequestData:
    return pb.GatewayExecutorRequestData(request_id=request_id, request_payload=b"payload")


def stored(path: Path) -> dict[str, bytes | None]:
    with contextlib.closing(open_to_read(path)) as database:
        return {key: row.reply for key, row in read(database).rows.items()}


def left_behind(path: Path, **replies: bytes | None) -> None:
    """What another process has not finished."""
    with contextlib.closing(JournalFile(path, "normal", THEIRS)) as file:
        file.open()
        for key, reply in replies.items():
            file.write({key: Row(request(key), time.time(), reply)})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.005)


async def until_stored(path: Path, expected: dict[str, bytes | None]) -> None:
    def is_stored() -> bool:
        with contextlib.suppress(sqlite3.Error, ConfigurationError):
            return stored(path) == expected
        return False

    await until(is_stored)


# --- what is written -----------------------------------------------------------------------------


async def test_what_is_recorded_is_on_disk_and_what_is_erased_is_not(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with Owner(path) as owner:
        owner.journal.record(request("a"), None)
        owner.journal.record(request("b"), None)
        await until_stored(path, {"a": None, "b": None})
        owner.journal.record(request("a"), b"reply")
        owner.journal.erase("b")
        await until_stored(path, {"a": b"reply"})
        entries = len(owner.journal)
        await until(lambda: owner.journal.lag == 0.0)

    assert entries == 1
    assert (owner.events, owner.posted) == ([], [])


async def test_the_end_writes_what_has_changed_and_releases_the_file(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with Owner(path) as owner:
        owner.journal.record(request("a"), b"reply")
        owner.journal.record(request("b"), None)
        owner.journal.erase("b")
    descriptors = [os.readlink(f"/proc/self/fd/{n}") for n in _descriptors()]

    assert stored(path) == {"a": b"reply"}
    assert [each for each in descriptors if str(tmp_path) in each] == []
    async with Owner(path):
        pass


def _descriptors() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            os.readlink(f"/proc/self/fd/{number}")
            found.append(number)
    return found


async def test_every_row_counts_from_its_acknowledgement(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with Owner(path) as owner:
        begun = time.time()
        owner.journal.record(request("a"), None)
        await until_stored(path, {"a": None})
        recorded = time.time()
        await asyncio.sleep(0.05)
        owner.journal.record(request("a"), b"reply")
        await until_stored(path, {"a": b"reply"})
        empty(tmp_path)  # so that all of it is written again
        await until_stored(path, {"a": b"reply"})

    with contextlib.closing(open_to_read(path)) as database:
        assert begun <= read(database).rows["a"].acknowledged_at <= recorded


async def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    async with Owner("journal") as owner:
        monkeypatch.chdir(tmp_path / "elsewhere")
        owner.journal.record(request("a"), None)
        await until_stored(tmp_path / "journal", {"a": None})

    assert owner.events == []
    assert os.listdir(tmp_path / "elsewhere") == []


# --- what another process has left ---------------------------------------------------------------


async def test_what_was_left_behind_is_handed_over_and_kept_until_it_is_erased(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal"
    left_behind(path, a=None, b=b"reply")
    async with Owner(path) as owner:
        await until(lambda: bool(owner.recovered))
        (recovered,) = owner.recovered
        entries = len(owner.journal)
        before = stored(path)
        owner.journal.erase("b")
        await until_stored(path, {"a": None})

    assert recovered.predecessor == "pid 8 on there, started 2023-11-14T22:13:20Z"
    left = [(each.request.request_id, each.reply) for each in recovered.entries]
    assert left == [("a", None), ("b", b"reply")]
    assert all(0.0 <= each.age < 10.0 for each in recovered.entries)
    assert entries == 2
    assert before == {"a": None, "b": b"reply"}


async def test_a_start_that_failed_leaves_it_to_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    left_behind(path, a=None)
    owner = Owner(path)
    await owner.journal.open()
    await owner.__aexit__()
    async with Owner(path) as later:
        await until(lambda: bool(later.recovered))

    assert owner.posted == []


@pytest.mark.parametrize(("jump", "age"), [(-86_400.0, 0.0), (86_400.0, 86_400.0)])
async def test_a_clock_that_has_jumped_makes_no_age_negative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float, age: float
) -> None:
    path = tmp_path / "journal"
    left_behind(path, a=b"reply")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    async with Owner(path) as owner:
        await until(lambda: bool(owner.recovered))

    ((entry,),) = (each.entries for each in owner.recovered)
    assert entry.age == pytest.approx(age, abs=10.0)


async def test_a_clock_that_jumps_while_it_runs_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    real = time.time
    async with Owner(path) as owner:
        for number, jump in enumerate((0.0, -1e9, 1e9)):
            monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
            owner.journal.record(request(str(number)), None)
            await until(lambda number=number: len(stored(path)) == number + 1)
        lag = owner.journal.lag

    assert 0.0 <= lag < 10.0
    assert owner.events == []


async def test_what_can_be_read_of_a_damaged_file_is_handed_over_and_written_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal"
    left_behind(path, a=b"result", b=b"other")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"result", b"rEsult"))
    async with Owner(path) as owner:
        await until(lambda: bool(owner.recovered))
        await until_stored(path, {"b": b"other"})

    assert owner.kinds == ["journal_damaged"]
    (recovered,) = owner.recovered
    assert recovered.predecessor == "pid 8 on there, started 2023-11-14T22:13:20Z"
    assert {e.request.request_id: e.reply for e in recovered.entries} == {"b": b"other"}


# --- required ------------------------------------------------------------------------------------


async def test_a_reply_is_committed_when_it_is_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with Owner(path, "required") as owner:
        owner.journal.record(request("a"), None)
        await until_stored(path, {"a": None})
        assert owner.committed == []
        for number in range(50):
            owner.journal.record(request(f"r{number}"), b"reply")
            await asyncio.sleep(0.001 * (number % 3))
        await until(lambda: len(set(owner.committed)) == 50)

    stored_then = zip(owner.posted, owner.stored_at_post, strict=True)
    assert all(set(each.request_ids) <= ids for each, ids in stored_then)


async def test_beside_tells_nobody(tmp_path: Path) -> None:
    async with Owner(tmp_path / "journal") as owner:
        owner.journal.record(request("a"), b"reply")
        await until_stored(tmp_path / "journal", {"a": b"reply"})

    assert owner.posted == []


async def test_recovered_replies_are_committed_too(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    left_behind(path, a=b"reply")
    async with Owner(path, "required") as owner:
        await until(lambda: bool(owner.recovered))
        owner.journal.record(request("a"), b"reply")
        await until(lambda: "a" in owner.committed)


async def test_without_a_file_no_reply_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with Owner(path, "required") as owner:
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            owner.journal.record(request("waiting"), b"reply")
            await until(lambda: "waiting" in owner.committed)
            owner.journal.record(request("later"), b"reply")
            at_once = list(owner.committed)
        await until_stored(path, {"waiting": b"reply", "later": b"reply"})

    assert "later" in at_once
    assert owner.kinds == ["journal_unavailable"]


# --- a disk that fails or stalls -----------------------------------------------------------------


async def test_a_file_that_cannot_be_written_is_reported_once_and_written_later(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal"
    async with Owner(path) as owner:
        owner.journal.record(request("before"), None)
        await until_stored(path, {"before": None})
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            owner.journal.record(request("a"), None)
            owner.journal.erase("before")
            await until(lambda: owner.journal.failure is not None)
            failure = owner.journal.failure
            owner.journal.record(request("b"), None)
            await asyncio.sleep(0.3)  # some attempts more
            lag = owner.journal.lag
        await until_stored(path, {"a": None, "b": None})
        await until(lambda: owner.journal.failure is None)

    assert failure == "OperationalError: database is locked"
    assert lag > 0.2
    (event,) = owner.events
    assert isinstance(event, ErrorOccurred)
    assert event.kind == "journal_unavailable"
    assert f"the journal {path} cannot be written: OperationalError: database" in event.message


async def test_nothing_waits_for_a_disk_that_stalls_and_it_is_reported_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    async with Owner(path) as owner:
        with monkeypatch.context() as patched:
            gate = Gate(patched, "write")
            owner.journal.record(request("a"), None)
            await until(gate.reached.is_set)
            await until(lambda: owner.journal.lag > 0.1)  # of what is being written
            slowest = 0.0
            while not owner.events:
                begun = time.perf_counter()
                owner.journal.record(request("b"), b"reply")
                slowest = max(slowest, time.perf_counter() - begun)
                await asyncio.sleep(0.01)
            lag = owner.journal.lag
            owner.journal.record(request("b"), b"reply")
        gate.open()
        await until_stored(path, {"a": None, "b": b"reply"})
        await until(lambda: owner.journal.lag == 0.0)

    assert slowest < 0.5
    assert lag >= 1.0
    assert owner.kinds == ["journal_slow"]
    assert "the disk does not answer: a transaction has not ended" in str(owner.events[0])


async def test_a_slow_transaction_is_reported_with_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_SLOW", 0.05)
    async with Owner(tmp_path / "journal") as owner:
        with monkeypatch.context() as patched:
            gate = Gate(patched, "write")
            owner.journal.record(request("a"), None)
            await until(gate.reached.is_set)
            await asyncio.sleep(0.1)
        gate.open()
        await until(lambda: bool(owner.events))

    assert owner.kinds == ["journal_slow"]
    assert "the disk took 0." in str(owner.events[0])


async def test_the_end_does_not_wait_for_a_disk_that_stalls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_CLOSE_SECONDS", 0.1)
    owner = await Owner(tmp_path / "journal").__aenter__()
    gate = Gate(monkeypatch, "write")
    owner.journal.record(request("a"), None)
    await until(gate.reached.is_set)
    async with asyncio.timeout(LIMIT / 2):
        await owner.__aexit__()
    gate.open()
    await until_stored(tmp_path / "journal", {"a": None})


async def test_a_bug_does_not_end_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    path = tmp_path / "journal"
    async with Owner(path, "required") as owner:
        with monkeypatch.context() as patched:
            patched.setattr(JournalFile, "write", fail)
            owner.journal.record(request("a"), b"reply")
            await until(lambda: "a" in owner.committed)
        await until_stored(path, {"a": b"reply"})

    assert owner.kinds == ["journal_unavailable"]
    assert "ZeroDivisionError: a bug" in str(owner.events[0])


# --- the start -----------------------------------------------------------------------------------


async def test_a_wrong_path_is_raised(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    with pytest.raises(ConfigurationError, match="it is not a regular file"):
        await owner.journal.open()

    assert owner.events == []


async def test_a_file_that_cannot_be_opened_now_is_opened_later(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    left_behind(path, a=b"reply")
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        owner = await Owner(path).__aenter__()
        await until(lambda: bool(owner.events))
        failure = owner.journal.failure
        other.rollback()
        await until(lambda: bool(owner.recovered))
        await until(lambda: owner.journal.failure is None)
    await owner.__aexit__()

    assert failure == "OperationalError: database is locked"
    assert owner.kinds == ["journal_unavailable"]
    assert owner.recovered[0].predecessor == "pid 8 on there, started 2023-11-14T22:13:20Z"


async def test_the_start_does_not_wait_for_a_disk_that_stalls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_OPEN_SECONDS", 0.05)
    path = tmp_path / "journal"
    left_behind(path, a=b"reply")
    with monkeypatch.context() as patched:
        gate = Gate(patched, "open")
        owner = await Owner(path, "required").__aenter__()
        owner.journal.record(request("b"), b"reply")
        at_once = list(owner.committed)
        kinds = list(owner.kinds)
    gate.open()
    await until(lambda: bool(owner.recovered))
    await until_stored(path, {"a": b"reply", "b": b"reply"})
    await owner.__aexit__()

    assert (at_once, kinds) == (["b"], ["journal_unavailable"])
    assert owner.kinds == ["journal_unavailable"]


async def test_a_wrong_path_that_is_found_too_late_is_reported_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_OPEN_SECONDS", 0.05)
    path = tmp_path / "folder" / "journal"
    with monkeypatch.context() as patched:
        gate = Gate(patched, "open")
        owner = await Owner(path).__aenter__()
    gate.open()
    await until(lambda: "does not exist" in str(owner.journal.failure))
    path.parent.mkdir()
    owner.journal.record(request("a"), None)
    await until_stored(path, {"a": None})
    await owner.__aexit__()


async def test_a_start_that_is_cancelled_releases_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    with monkeypatch.context() as patched:
        gate = Gate(patched, "open")
        opening = asyncio.create_task(Owner(path).journal.open())
        await until(gate.reached.is_set)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    gate.open()
    await until(lambda: all(each.name != THREAD for each in threading.enumerate()))
    async with Owner(path):
        pass


# --- a file that disappears ----------------------------------------------------------------------


def empty(folder: Path) -> None:
    for each in folder.iterdir():
        each.unlink()


async def test_a_directory_that_was_removed_and_created_again_has_everything(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "journal"
    async with Owner(path) as owner:
        owner.journal.record(request("a"), b"reply")
        await until_stored(path, {"a": b"reply"})
        empty(folder)
        folder.rmdir()
        owner.journal.record(request("b"), None)
        await until(lambda: owner.journal.failure is not None)
        folder.mkdir()
        await until_stored(path, {"a": b"reply", "b": None})
        await until(lambda: owner.journal.failure is None)

    assert owner.kinds == ["journal_unavailable"]
    assert owner.posted == []


async def test_that_a_file_was_removed_is_noticed_when_nothing_changes(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with Owner(path) as owner:
        owner.journal.record(request("a"), b"reply")
        await until_stored(path, {"a": b"reply"})
        empty(tmp_path)
        await until_stored(path, {"a": b"reply"})

    assert owner.events == []


async def test_rows_of_another_process_in_a_file_that_is_opened_again_are_handed_over(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "journal"
    async with Owner(path) as owner:
        owner.journal.record(request("a"), None)
        await until_stored(path, {"a": None})
        folder.rename(tmp_path / "moved")
        folder.mkdir()
        left_behind(path, theirs=b"reply")
        await until(lambda: bool(owner.recovered))
        await until_stored(path, {"a": None, "theirs": b"reply"})

    (recovered,) = owner.recovered
    assert [each.request.request_id for each in recovered.entries] == ["theirs"]


async def test_a_path_that_another_worker_has_taken_meanwhile_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_LOOK_AGAIN", LIMIT)  # the other one is first
    path = tmp_path / "journal"
    async with Owner(path) as owner:
        owner.journal.record(request("first"), None)
        await until_stored(path, {"first": None})
        empty(tmp_path)
        async with Owner(path) as other:
            other.journal.record(request("theirs"), None)
            owner.journal.record(request("ours"), None)
            await until(lambda: owner.journal.failure is not None)
            failure = str(owner.journal.failure)
            await until_stored(path, {"theirs": None})
            other.journal.erase("theirs")
        await until_stored(path, {"first": None, "ours": None})

    assert "another worker has it" in failure


async def test_a_reply_is_committed_when_the_lock_was_removed_before(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with Owner(path, "required") as owner:
        owner.journal.record(request("a"), None)
        await until_stored(path, {"a": None})
        (tmp_path / "journal-lock").unlink()
        owner.journal.record(request("a"), b"reply")
        await until(lambda: "a" in owner.committed)

    assert owner.events == []
    assert stored(path) == {"a": b"reply"}
