"""JournalFile: one SQLite database, owned by one process, with one row for each unfinished request.

Rules of this file:
1. A second database beside it, ``PATH-lock``, is locked for as long as the process lives. SQLite's
   own locks end with their process, however it dies, are not inherited by forked children, and
   conflict within one process too. The first database stays readable for others meanwhile.
2. A wrong path is a ConfigurationError. A damaged file is moved aside, never deleted, and what can
   be read of it is kept. Everything else is an error of SQLite or the operating system, after which
   the caller may try again.
3. Everything belongs to the thread that opened it.
"""

import contextlib
import errno
import os
import re
import sqlite3
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from google.protobuf.message import DecodeError

from ..core.wire.remote_text import clean
from ..errors import ConfigurationError
from ..protocol import connect_pb2 as pb

Sync = Literal["normal", "full"]

VERSION: Final = 1
"""Of the schema. A higher number is a file that this package cannot read."""
_APPLICATION_ID: Final = 0x696E6763  # "ingc"; SQLite keeps it in the header
_HEADER: Final = b"SQLite format 3\0"
_MODE: Final = 0o600
_LOCK_SECONDS: Final = 1.0
"""For the end of a process that is about to release the lock."""
_WAL_BYTES: Final = 16 * 1024 * 1024
"""What the write-ahead log is cut to, after a burst of large replies."""
_SCHEMA: Final = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE worker (host TEXT, pid INTEGER, instance_id TEXT, started_at REAL);
CREATE TABLE request (
  request_id TEXT PRIMARY KEY,
  run_id TEXT NOT NULL,
  function_slug TEXT NOT NULL,
  lease_id TEXT NOT NULL,
  lease_expires_at REAL,
  acknowledged_at REAL NOT NULL,
  names BLOB NOT NULL,
  reply BLOB
);
"""
_COLUMNS: Final = "request_id, acknowledged_at, names, reply"
_UPSERT: Final = """
INSERT INTO request VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (request_id) DO UPDATE SET reply = excluded.reply, lease_id = excluded.lease_id
"""
_ULID_TIME: Final = re.compile("[0-7][0-9A-HJKMNP-TV-Z]{25}", re.IGNORECASE)
_ULID_DIGITS: Final = {c: n for n, c in enumerate("0123456789ABCDEFGHJKMNPQRSTVWXYZ")}


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has, or had, a journal. ``started_at`` is seconds since the epoch."""

    host: str
    pid: int
    instance_id: str
    started_at: float

    def __str__(self) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started_at))
        return f"pid {self.pid} on {clean(self.host)}, started {at}"


@dataclass(slots=True)
class Row:
    """One unfinished request. ``request`` needs no payload; ``reply`` is an SDKResponse."""

    request: pb.GatewayExecutorRequestData
    acknowledged_at: float
    """Seconds since the epoch."""
    reply: bytes | None = None


class JournalFile:
    """An open journal. ``rows`` and ``predecessor`` are what it had when it was opened."""

    def __init__(self, path: Path, sync: Sync, holder: Holder) -> None:
        """Raises ConfigurationError, sqlite3.Error or OSError; see rule 2."""
        self.path = path
        self.rows: dict[str, Row] = {}
        self.predecessor: Holder | None = None
        self.damage: str | None = None
        """What was wrong with the file that was found, and where it is now."""
        _check_place(path)
        was_ours = path.with_name(f"{path.name}-lock").exists()
        self._lock = _locked(path)
        try:
            _create(path)
            _check_header(path, was_ours=was_ours)
            try:
                self._database = self._opened(sync)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._move_aside(error)
                self._database = self._opened(sync)
            self._inode = _identity(path)
            with self._database:
                self._database.execute("DELETE FROM worker")
                self._database.execute(
                    "INSERT INTO worker VALUES (?, ?, ?, ?)",
                    (holder.host, holder.pid, holder.instance_id, holder.started_at),
                )
        except BaseException:
            self.close()
            raise

    def _opened(self, sync: Sync) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=_LOCK_SECONDS)
        try:
            _check_schema(self.path, database)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(f"PRAGMA synchronous = {sync}")
            database.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
            (state,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(f"malformed: {state}")
            self.predecessor, rows = read(database)
            self.rows.update(rows)
            if not rows and database.execute("PRAGMA freelist_count").fetchone()[0]:
                database.execute("VACUUM")  # give back what an outage has taken
        except BaseException:
            database.close()
            raise
        return database

    def _move_aside(self, error: sqlite3.DatabaseError) -> None:
        self.predecessor, self.rows = _salvaged(self.path)
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        self.damage = (
            f"the journal {self.path} is damaged ({error}) and was moved to {aside.name}; "
            f"{len(self.rows)} of its requests could be read"
        )
        _create(self.path)

    def is_in_place(self) -> bool:
        """Whether the path still leads to this file: one that was removed protects nothing."""
        return _identity(self.path) == self._inode

    def write(self, changes: Mapping[str, Row | None]) -> None:
        """Write rows and delete those that are None, in one transaction."""
        gone = [(key,) for key, row in changes.items() if row is None]
        kept = [_values(row) for row in changes.values() if row is not None]
        with self._database:
            if gone:
                self._database.executemany("DELETE FROM request WHERE request_id = ?", gone)
            if kept:
                self._database.executemany(_UPSERT, kept)

    def close(self) -> None:
        """Release the lock. What was written stays."""
        for name in ("_database", "_lock"):
            with contextlib.suppress(sqlite3.Error, AttributeError):
                getattr(self, name).close()


def read(database: sqlite3.Connection) -> tuple[Holder | None, dict[str, Row]]:
    """Read a whole journal: the process that has or had it, and its rows."""
    holder = database.execute("SELECT * FROM worker").fetchone()
    rows = database.execute(f"SELECT {_COLUMNS} FROM request ORDER BY rowid")  # noqa: S608
    return holder and Holder(*holder), dict(_decoded(rows))


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a journal that a worker may be writing. Raises ConfigurationError or sqlite3.Error."""
    if not path.is_file():
        raise ConfigurationError(f"journal is {str(path)!r}; there is no such file")
    _check_header(path, was_ours=False)
    database = _opened_to_read(path)
    _check_schema(path, database, create=False)
    return database


def _opened_to_read(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _decoded(rows: Iterable[tuple[str, float, bytes, bytes | None]]) -> Iterable[tuple[str, Row]]:
    for request_id, acknowledged_at, names, reply in rows:
        with contextlib.suppress(DecodeError, TypeError):  # of a row that was overwritten
            request = pb.GatewayExecutorRequestData.FromString(names)
            if request.request_id == request_id:
                yield request_id, Row(request, float(acknowledged_at), reply)


def _salvaged(path: Path) -> tuple[Holder | None, dict[str, Row]]:
    """Read what can be read of a damaged file: from its first row on, and back from its last."""
    holder, rows = None, dict[str, Row]()
    for order in ("ASC", "DESC"):
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as it:
            query = f"SELECT {_COLUMNS} FROM request ORDER BY rowid {order}"  # noqa: S608
            for key, row in _decoded(it.execute(query)):
                rows.setdefault(key, row)
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as it:
        found = it.execute("SELECT * FROM worker").fetchone()
        holder = found and Holder(*found)
    return holder, rows


def _values(row: Row) -> tuple[object, ...]:
    request = row.request
    names = pb.GatewayExecutorRequestData()
    names.CopyFrom(request)
    names.ClearField("request_payload")
    return (
        request.request_id,
        request.run_id,
        request.function_slug,
        request.lease_id,
        lease_end(request.lease_id),
        row.acknowledged_at,
        names.SerializeToString(),
        row.reply,
    )


def lease_end(lease_id: str) -> float | None:
    """Return when a lease expires, in seconds since the epoch: the time in its ULID."""
    if not _ULID_TIME.fullmatch(lease_id):
        return None
    milliseconds = 0
    for digit in lease_id[:10].upper():
        milliseconds = milliseconds * 32 + _ULID_DIGITS[digit]
    return milliseconds / 1000


# --- what can be wrong ---------------------------------------------------------------------------


def _wrong(path: Path, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"journal is {str(path)!r}; {remedy}")


def _check_place(path: Path) -> None:
    """Refuse a path that no journal can be at, without opening the file.

    To close a file that SQLite has open in the same process would end SQLite's locks on it.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise _wrong(path, "its directory does not exist: create it") from None
        return
    except OSError as error:
        raise _wrong(path, f"{error.strerror}: pass another path") from None
    if stat.S_ISLNK(status.st_mode):
        raise _wrong(path, "it is a symbolic link: pass the path of the file itself")
    if not stat.S_ISREG(status.st_mode):
        raise _wrong(path, "it is not a regular file: pass another path")


def _locked(path: Path) -> sqlite3.Connection:
    lock = path.with_name(f"{path.name}-lock")
    try:
        connection = sqlite3.connect(lock, timeout=_LOCK_SECONDS, isolation_level=None)
    except sqlite3.OperationalError as error:
        raise _wrong(path, f"{lock.name} cannot be opened beside it ({error})") from None
    try:
        connection.execute("PRAGMA journal_mode = MEMORY")  # nothing is ever written to it
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        connection.close()
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_BUSY:
            remedy = (
                f"another worker has it: {_holder(path)}. One file is for one worker process: "
                "pass another path, or end the other process"
            )
        elif code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            remedy = f"its directory cannot be written ({error}): pass another path"
        elif code == sqlite3.SQLITE_FULL:
            raise
        else:
            remedy = f"{lock.name} cannot be locked ({error}): pass a path on a local disk"
        raise _wrong(path, remedy) from None
    return connection


def _holder(path: Path) -> str:
    try:
        with contextlib.closing(_opened_to_read(path)) as database:
            found = database.execute("SELECT * FROM worker").fetchone()
    except sqlite3.Error:
        found = None
    return str(Holder(*found)) if found else "which one is not known, it has just begun"


def _create(path: Path) -> None:
    """Create the file, for this user only. Its companions get the same mode from SQLite."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, _MODE))
        path.chmod(_MODE)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise _wrong(path, f"it cannot be written ({error.strerror}): pass another path") from None


def _check_header(path: Path, *, was_ours: bool) -> None:
    """Refuse what was never a journal; a wrong path must not cost anybody's file."""
    with path.open("rb") as file:
        beginning = file.read(len(_HEADER))
    if beginning and beginning != _HEADER and not was_ours:
        raise _wrong(path, "that file is not a journal: pass another path")


def _check_schema(path: Path, database: sqlite3.Connection, *, create: bool = True) -> None:
    (application_id,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not (application_id or version or tables) and create:
        database.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
    elif application_id != _APPLICATION_ID:
        raise _wrong(path, "that database is not a journal: pass another path")
    elif version > VERSION:
        raise _wrong(
            path,
            f"a newer release wrote it (version {version}, this one reads up to {VERSION}): "
            "upgrade inngest-connect, or pass another path",
        )


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    damaged = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return "malformed" in str(error) if code is None else code & 0xFF in damaged


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
