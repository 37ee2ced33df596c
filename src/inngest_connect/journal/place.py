"""Where a journal is: the path, what may be there already, and the lock of the process that has it.

``PATH-lock`` is a second database that is locked for as long as the process lives. SQLite's own
locks end with their process, however it dies, are not inherited by forked children, and conflict
within one process too. The journal itself stays readable for others meanwhile.

Nothing here opens and closes a file that this process may have open in SQLite: by the rules of
POSIX that would end SQLite's locks on it.
"""

import contextlib
import errno
import os
import sqlite3
import stat
from pathlib import Path
from typing import Final

from ..errors import ConfigurationError
from .rows import APPLICATION_ID, VERSION, read_holder

_MODE: Final = 0o600
LOCK_SECONDS: Final = 1.0
"""For the end of a process that is about to release the lock."""
_LASTING: Final = frozenset(
    (
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR),
        *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL),
    )
)
"""Errors of a path, and not of a disk that is full or does not answer: to try again is no use."""
_HEADER: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100


def wrong(path: Path, remedy: str) -> ConfigurationError:
    """The error for a path that no journal can be at."""
    return ConfigurationError(f"journal is {str(path)!r}; {remedy}")


def identity(path: Path) -> tuple[int, int] | None:
    """What a path leads to, None for nothing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class PathLock:
    """The lock on a path, and the creation of the file there."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError for what the user can change, else sqlite3.Error or OSError."""
        self._path = path
        self._lock = path.with_name(f"{path.name}-lock")
        _check_place(path)
        if identity(self._lock) is None:
            # So no worker has it, and no worker had it: what is there must not be touched.
            _check_foreign(path)
        self._connection = self._locked()
        self._identity = identity(self._lock)

    def is_in_place(self) -> bool:
        """Whether it still keeps others away: one that was removed does not."""
        found = identity(self._lock)
        return found is not None and found == self._identity

    def create(self) -> None:
        """Create the file, for this user only. Its companions get the same mode from SQLite."""
        try:
            _create(self._path)
            self._path.chmod(_MODE)
        except OSError as error:
            if error.errno not in _LASTING:
                raise
            why = f"it cannot be written ({error.strerror})"
            raise wrong(self._path, f"{why}: pass another path") from None

    def close(self) -> None:
        """Release it. The file of the lock stays: to remove it would break another's lock."""
        self._connection.close()

    def _locked(self) -> sqlite3.Connection:
        name = self._lock.name
        try:
            _create(self._lock)
        except OSError as error:
            if error.errno not in _LASTING:
                raise
            why = f"{name} cannot be created beside it ({error.strerror})"
            raise wrong(self._path, f"{why}: pass a path in a directory that is writable") from None
        try:
            connection = sqlite3.connect(self._lock, timeout=LOCK_SECONDS, isolation_level=None)
        except sqlite3.Error as error:
            raise wrong(
                self._path, f"{name} cannot be opened ({error}): pass another path"
            ) from None
        try:
            connection.execute("PRAGMA journal_mode = MEMORY")  # nothing is ever written to it
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            connection.close()
            code = error_code(error)
            if code == sqlite3.SQLITE_FULL:
                raise
            if code == sqlite3.SQLITE_BUSY:
                remedy = (
                    f"another worker has it: {self._holder()}. One file is for one worker process: "
                    "pass another path, or end the other process"
                )
            elif code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
                remedy = f"{name} beside it cannot be written ({error}): pass another path"
            elif code == sqlite3.SQLITE_NOTADB:
                remedy = f"{name} beside it is not a lock ({error}): pass another path"
            else:
                remedy = f"{name} cannot be locked ({error}): pass a path on a local disk"
            raise wrong(self._path, remedy) from None
        return connection

    def _holder(self) -> str:
        try:
            with contextlib.closing(opened_to_read(self._path)) as database:
                holder = read_holder(database)
        except sqlite3.Error:
            holder = None
        return str(holder or "which one is not known, it has just begun")


def opened_to_read(path: Path) -> sqlite3.Connection:
    """Open a database that another process may be writing."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=LOCK_SECONDS)


def check_mark(path: Path, application_id: int, version: int) -> None:
    """Refuse a database of something else, or of a newer release."""
    if application_id != APPLICATION_ID:
        raise wrong(path, "that database is not a journal: pass another path")
    if version > VERSION:
        raise wrong(
            path,
            f"a newer release wrote it (version {version}, this one reads up to {VERSION}): "
            "upgrade inngest-connect, or pass another path",
        )


def error_code(error: Exception) -> int | None:
    """The code of an error of SQLite, without what extends it."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF


def _check_place(path: Path) -> None:
    # Without opening the file.
    try:
        status = path.lstat()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise wrong(path, "its directory does not exist: create it") from None
        return
    except OSError as error:
        raise wrong(path, f"{error.strerror}: pass another path") from None
    if stat.S_ISLNK(status.st_mode):
        raise wrong(path, "it is a symbolic link: pass the path of the file itself")
    if not stat.S_ISREG(status.st_mode):
        raise wrong(path, "it is not a regular file: pass another path")


def _check_foreign(path: Path) -> None:
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise wrong(path, f"it cannot be read ({error.strerror}): pass another path") from None
    if not header:
        return
    if not header.startswith(_HEADER) or len(header) < _HEADER_BYTES:
        raise wrong(path, "that file is not a journal: pass another path")
    # Where SQLite keeps them, see the section "The Database Header" of its file format.
    check_mark(path, int.from_bytes(header[68:72], "big"), int.from_bytes(header[60:64], "big"))


def _create(path: Path) -> None:
    # Only a file that did not exist is opened, and closed, without SQLite.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE))
