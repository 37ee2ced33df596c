"""What a journal is made of: the schema, the process that has it, and its rows as bytes and back.

The changes of each transaction are one batch, with a checksum: to insert, update and delete a row
in a table costs three times as much for a request. SQLite finds pages that it cannot follow, and
not bytes that have changed inside of one; and what is read here is delivered as the result of a
function.
"""

import re
import sqlite3
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ..core.wire.remote_text import clean
from ..protocol import connect_pb2 as pb

VERSION: Final = 1
"""Of the schema. A higher number is a file that this package cannot read."""
APPLICATION_ID: Final = 0x696E6763  # "ingc"; SQLite keeps it in the header
SCHEMA: Final = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE worker (host TEXT, pid INTEGER, instance_id TEXT, started_at REAL);
CREATE TABLE batch (number INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, data BLOB NOT NULL);
"""
INSERT: Final = "INSERT INTO batch (checksum, data) VALUES (?, ?)"
_SELECT: Final = "SELECT number, checksum, data FROM batch ORDER BY number"
_BATCH_BYTES: Final = 64 * 1024
"""After which another batch begins: so much is lost with one byte that has changed."""
# Kind, when it was acknowledged, the lengths of what follows. A row is its names and its reply; a
# reply of a row that is known, and a row that is gone, have the request id instead of the names.
_CHANGE: Final = struct.Struct("<BdII")
_ROW, _ANSWERED_ROW, _REPLY, _GONE = range(4)
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
    """What was read of a journal. ``unreadable`` counts the batches whose bytes have changed."""

    holder: Holder | None
    rows: dict[str, Row]
    unreadable: int = 0
    size: int = 0
    """Bytes of all batches."""


def batches(changes: Mapping[str, Row | None], known: set[str]) -> Iterator[tuple[int, bytes]]:
    """Return the values for ``INSERT``. ``known`` are the rows that the file has by now."""
    parts: list[bytes] = []
    size = 0
    for key, row in changes.items():
        if row is None:
            if key not in known:
                continue  # what came and went between two transactions is not worth one
            names = key.encode()
            parts += (_CHANGE.pack(_GONE, 0.0, len(names), 0), names)
            continue
        reply = row.reply or b""
        if row.reply is None:
            kind, names = _ROW, _names(row.request)
        elif key in known:
            kind, names = _REPLY, key.encode()
        else:
            kind, names = _ANSWERED_ROW, _names(row.request)
        parts += (_CHANGE.pack(kind, row.acknowledged_at, len(names), len(reply)), names, reply)
        size += len(names) + len(reply)
        if size >= _BATCH_BYTES:
            yield _batch(parts)
            parts, size = [], 0
    if parts:
        yield _batch(parts)


def _batch(parts: list[bytes]) -> tuple[int, bytes]:
    data = b"".join(parts)
    return zlib.crc32(data), data


def _names(request: pb.GatewayExecutorRequestData) -> bytes:
    names = pb.GatewayExecutorRequestData()
    names.CopyFrom(request)
    names.ClearField("request_payload")
    return names.SerializeToString()


def read(database: sqlite3.Connection) -> Content:
    """Read a whole journal, the oldest request first."""
    content = Content(read_holder(database), {})
    for _, checksum, data in database.execute(_SELECT):
        _apply(content, checksum, data)
    return content


def salvage(database: sqlite3.Connection) -> Content:
    """Read what can be read of a damaged journal: from its first batch on, and from its last."""
    content, found = Content(None, {}), dict[int, tuple[object, object]]()
    for order in ("ASC", "DESC"):
        try:
            for number, checksum, data in database.execute(f"{_SELECT} {order}"):
                found[number] = checksum, data
        except sqlite3.Error:
            continue
    for _, (checksum, data) in sorted(found.items()):
        _apply(content, checksum, data)
    try:
        content.holder = read_holder(database)
    except sqlite3.Error:
        content.holder = None
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


def _apply(content: Content, checksum: object, data: object) -> None:
    if not isinstance(data, bytes) or zlib.crc32(data) != checksum:
        content.unreadable += 1
        return
    content.size += len(data)
    rows = content.rows
    for kind, at, names, reply in _changes(data):  # right, as their checksum is
        if kind == _GONE:
            rows.pop(names.decode(), None)
        elif kind == _REPLY:
            # Without its row, which was in a batch that could not be read, nobody can deliver it.
            if (row := rows.get(names.decode())) is not None:
                row.reply = reply
        else:
            request = pb.GatewayExecutorRequestData.FromString(names)
            rows[request.request_id] = Row(request, at, reply if kind == _ANSWERED_ROW else None)


def _changes(data: bytes) -> Iterable[tuple[int, float, bytes, bytes]]:
    position = 0
    while position < len(data):
        kind, at, names_length, reply_length = _CHANGE.unpack_from(data, position)
        names_end = position + _CHANGE.size + names_length
        end = names_end + reply_length
        yield kind, at, data[names_end - names_length : names_end], data[names_end:end]
        position = end


def lease_end(lease_id: str) -> float | None:
    """Return when a lease expires, in seconds since the epoch: the time in its ULID."""
    if not _ULID_TIME.fullmatch(lease_id):
        return None
    milliseconds = 0
    for digit in lease_id[:10].upper():
        milliseconds = milliseconds * 32 + _ULID_DIGITS[digit]
    return milliseconds / 1000
