"""JournalFile: one SQLite database, owned by one process, with its unfinished requests.

Rules of this file:
1. ``place`` has the lock, which is kept while the database is opened again after an error.
2. A wrong path is a ConfigurationError. A damaged file is moved aside, never deleted, and what can
   be read of it is kept. Everything else is an error of SQLite or the operating system, after which
   the caller may try again.
3. Everything belongs to the thread that opened it.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

from . import rows
from .place import LOCK_SECONDS, PathLock, check_mark, error_code, identity, opened_to_read, wrong
from .rows import Content, Holder, Row

Sync = Literal["normal", "full"]

_WAL_BYTES: Final = 16 * 1024 * 1024
"""When the write-ahead log begins anew, and what it is cut to after a burst of large replies."""
_PAGE_BYTES: Final = 4096
# SQLITE_ERROR is a schema that is not ours: the statements are constant, and right.
_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
_LONG: Final = 4 * 1024 * 1024
"""Bytes of changes, beyond those of all rows, after which all rows are written again."""
_NOTHING: Final = Content(None, {})


class JournalFile:
    """``open`` may be called again at any time, and has to be after every error."""

    def __init__(self, path: Path, sync: Sync, holder: Holder) -> None:
        self.path = path
        self._found = _NOTHING
        self._aside: tuple[Content, str] | None = None
        """What was read of a damaged file, until it is taken: it may fail to be replaced."""
        self._sync = sync
        self._holder = holder
        self._lock: PathLock | None = None
        self._database: sqlite3.Connection | None = None
        self._stored: set[str] = set()
        self._size = 0
        self._first_size = 0
        """Of all rows, when they were written last."""
        self._identities: list[tuple[int, int] | None] = []

    def open(self) -> None:
        """Raises ConfigurationError, sqlite3.Error or OSError; see rule 2."""
        self.close_database()
        if self._lock is not None and not self._lock.is_in_place():
            self.close()
        if self._lock is None:
            self._lock = PathLock(self.path)
        try:
            self._lock.create()
            self._open_database()
        except sqlite3.DatabaseError as error:
            if error_code(error) not in _DAMAGE:
                self.close_database()
                raise
            self._replace(error)
        except BaseException:
            self.close_database()
            raise
        self._identities = self._identify()

    def _replace(self, error: sqlite3.DatabaseError) -> None:
        assert self._lock is not None
        try:
            self._move_aside(error)
            self._lock.create()
            self._open_database()
        except BaseException:
            self.close_database()
            raise

    def _open_database(self) -> None:
        if _size(self.path) == 0 and _size(_beside(self.path, "-wal")):
            # SQLite would delete the log of a file that was cut to nothing.
            raise _malformed("the file is empty and its log is not")
        database = sqlite3.connect(self.path, timeout=LOCK_SECONDS)
        self._database = database
        if not _marked(self.path, database):
            database.executescript(f"BEGIN; {rows.SCHEMA} COMMIT;")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA synchronous = {self._sync}")
        database.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        # Each checkpoint waits for the disk, and what changes meanwhile with it.
        database.execute(f"PRAGMA wal_autocheckpoint = {_WAL_BYTES // _PAGE_BYTES}")
        (state,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise _malformed(state)
        found = self._found = rows.read(database)
        if found.unreadable:
            raise _malformed(f"batches have changed: {found.unreadable}")
        self._stored, self._size = set(found.rows), found.size
        self._first_size = found.size
        if not found.rows and found.size:
            self.replace({})
        if not found.rows and database.execute("PRAGMA freelist_count").fetchone()[0]:
            with contextlib.suppress(sqlite3.OperationalError):
                database.execute("VACUUM")  # give back what an outage has taken
        with database:
            database.execute("DELETE FROM worker")
            holder = self._holder
            database.execute(
                "INSERT INTO worker VALUES (?, ?, ?, ?)",
                (holder.host, holder.pid, holder.instance_id, holder.started_at),
            )

    def _move_aside(self, error: sqlite3.DatabaseError) -> None:
        self.close_database()
        found = _salvaged(self.path)
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        for suffix in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                _beside(self.path, suffix).rename(_beside(aside, suffix))
        text = (
            f"the journal {self.path} is damaged ({error}) and was moved to {aside.name}; "
            f"{len(found.rows)} of its requests could be read"
        )
        self._aside = found, text

    def take_found(self) -> tuple[Content, str | None]:
        """What the file had when it was opened, and what was wrong with it; once."""
        found, damage = self._aside or (self._found, None)
        self._aside, self._found = None, _NOTHING
        return found, damage

    def is_in_place(self) -> bool:
        """Whether it is open and the paths lead to it: files that were removed protect nothing."""
        if self._database is None or self._lock is None or not self._lock.is_in_place():
            return False
        found = self._identify()
        return found[0] is not None and found == self._identities

    def _identify(self) -> list[tuple[int, int] | None]:
        return [identity(_beside(self.path, suffix)) for suffix in ("", "-wal")]

    def write(self, changes: Mapping[str, Row | None]) -> None:
        """Write rows and delete those that are None, in one transaction."""
        new = list(rows.batches(changes, self._stored))
        if not new:
            return
        database = self._in_use()
        with database:
            database.executemany(rows.INSERT, new)
        self._size += sum(len(data) for _, data in new)
        for key, row in changes.items():
            if row is None:
                self._stored.discard(key)
            else:
                self._stored.add(key)

    def replace(self, everything: Mapping[str, Row]) -> None:
        """Write all rows, and nothing else."""
        database = self._in_use()
        size = 0

        def counted() -> Iterator[tuple[int, bytes]]:
            nonlocal size
            for checksum, data in rows.batches(everything, set()):
                size += len(data)
                yield checksum, data

        with database:
            database.execute("DELETE FROM batch")
            database.executemany(rows.INSERT, counted())
        self._stored = set(everything)
        self._size = self._first_size = size

    @property
    def is_long(self) -> bool:
        """Whether what has changed is more than all rows, so that it is time to ``replace``."""
        return self._size > _LONG + 2 * self._first_size

    def _in_use(self) -> sqlite3.Connection:
        assert self._database is not None
        return self._database

    def ids(self) -> set[str]:
        """The requests that the file has."""
        return set(self._stored)

    def close_database(self) -> None:
        """Give up the database and keep the lock."""
        database, self._database = self._database, None
        self._stored = set()
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                database.close()

    def close(self) -> None:
        """Release the lock. What was written stays."""
        self.close_database()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a journal that a worker may be writing. Raises ConfigurationError or sqlite3.Error."""
    if not path.is_file():
        raise wrong(path, "there is no such file")
    database = opened_to_read(path)
    try:
        _marked(path, database, is_new=False)
    except BaseException:
        database.close()
        raise
    return database


def _marked(path: Path, database: sqlite3.Connection, *, is_new: bool = True) -> bool:
    # Whether it is a journal. One that has just been created is empty.
    (application_id,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if is_new and not (application_id or version or tables):
        return False
    check_mark(path, application_id, version)
    return True


def _salvaged(path: Path) -> Content:
    if _size(path):  # SQLite would delete the log of an empty one
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as it:
            return rows.salvage(it)
    return _NOTHING


def _malformed(text: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(f"malformed: {text}")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
