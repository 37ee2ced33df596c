"""What a journal is made of: the schema, the process that has it, and its rows as bytes and back.

A row has checksums of its own. SQLite finds pages that it cannot follow, and not bytes that have
changed inside of one; and what is read here is delivered as the result of a function.
"""

import re
import sqlite3
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError

from ..core.wire.remote_text import clean
from ..protocol import connect_pb2 as pb

VERSION: Final = 1
"""Of the schema. A higher number is a file that this package cannot read."""
APPLICATION_ID: Final = 0x696E6763  # "ingc"; SQLite keeps it in the header
# Without rowids, because then there is no index: each row is written once.
SCHEMA: Final = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE worker (host TEXT, pid INTEGER, instance_id TEXT, started_at REAL);
CREATE TABLE request (
  request_id TEXT PRIMARY KEY,
  acknowledged_at REAL NOT NULL,
  names BLOB NOT NULL,
  names_checksum INTEGER NOT NULL,
  reply BLOB,
  reply_checksum INTEGER
) WITHOUT ROWID;
"""
REPLACE: Final = "INSERT OR REPLACE INTO request VALUES (?, ?, ?, ?, ?, ?)"
ANSWER: Final = "UPDATE request SET reply = ?, reply_checksum = ? WHERE request_id = ?"
DELETE: Final = "DELETE FROM request WHERE request_id = ?"
_SELECT: Final = "SELECT * FROM request ORDER BY request_id"
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


@dataclass(slots=True)
class Content:
    """What was read of a journal. ``unreadable`` are the ids of rows whose bytes have changed."""

    holder: Holder | None
    rows: dict[str, Row]
    unreadable: set[Any]


def replaced(row: Row) -> tuple[object, ...]:
    """The values for ``REPLACE``."""
    request = row.request
    names = pb.GatewayExecutorRequestData()
    names.CopyFrom(request)
    names.ClearField("request_payload")
    data = names.SerializeToString()
    return (
        request.request_id,
        row.acknowledged_at,
        data,
        zlib.crc32(data),
        row.reply,
        None if row.reply is None else zlib.crc32(row.reply),
    )


def answered(row: Row) -> tuple[object, ...]:
    """The values for ``ANSWER``, for a row that has its reply now."""
    assert row.reply is not None
    return row.reply, zlib.crc32(row.reply), row.request.request_id


def read(database: sqlite3.Connection) -> Content:
    """Read a whole journal, the oldest request first."""
    content = Content(read_holder(database), {}, set())
    _add(content, database.execute(_SELECT))
    _sort(content)
    return content


def salvage(database: sqlite3.Connection) -> Content:
    """Read what can be read of a damaged journal: from its first row on, and back from its last."""
    content = Content(None, {}, set())
    for order in ("ASC", "DESC"):
        try:
            _add(content, database.execute(f"{_SELECT} {order}"))
        except sqlite3.Error:
            continue
    try:
        content.holder = read_holder(database)
    except sqlite3.Error:
        content.holder = None
    _sort(content)
    return content


def read_holder(database: sqlite3.Connection) -> Holder | None:
    """Who has it, or had it last."""
    found = database.execute("SELECT host, pid, instance_id, started_at FROM worker").fetchone()
    try:
        holder = Holder(str(found[0]), int(found[1]), str(found[2]), float(found[3]))
        str(holder)
    except (TypeError, ValueError, OverflowError, OSError):
        return None  # nobody yet, or bytes that have changed
    return holder


def _add(content: Content, rows: Iterable[tuple[Any, ...]]) -> None:
    for request_id, acknowledged_at, names, names_checksum, reply, reply_checksum in rows:
        try:
            if zlib.crc32(names) != names_checksum:
                raise ValueError("changed")
            request = pb.GatewayExecutorRequestData.FromString(names)
            row = Row(request, float(acknowledged_at))
            if request.request_id != request_id:
                raise ValueError("changed")
        except (DecodeError, TypeError, ValueError):
            content.unreadable.add(request_id)
            continue
        if isinstance(reply, bytes) and zlib.crc32(reply) == reply_checksum:
            row.reply = reply
        elif (reply, reply_checksum) != (None, None):
            content.unreadable.add(request_id)  # its function runs again, as if it had not returned
        content.rows.setdefault(request_id, row)


def _sort(content: Content) -> None:
    oldest_first = sorted(content.rows.items(), key=lambda item: item[1].acknowledged_at)
    content.rows = dict(oldest_first)


def lease_end(lease_id: str) -> float | None:
    """Return when a lease expires, in seconds since the epoch: the time in its ULID."""
    if not _ULID_TIME.fullmatch(lease_id):
        return None
    milliseconds = 0
    for digit in lease_id[:10].upper():
        milliseconds = milliseconds * 32 + _ULID_DIGITS[digit]
    return milliseconds / 1000
