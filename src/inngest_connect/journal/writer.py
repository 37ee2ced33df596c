"""Journal: keeps a ``JournalFile`` up to date, on a thread of its own.

    record(), erase()  ->  what changed, by request  ->  one transaction for all of it

Theory of operation. Nothing waits for a disk: ``record`` and ``erase`` change dictionaries, and the
thread writes what has changed since its last transaction. So a disk that stalls for ten seconds
delays the journal and nothing else, and a request that is answered and delivered between two
transactions is never written at all.

``_rows`` has everything that the file has to have. When the file cannot be written, or was removed,
the worker goes on without: what changed is kept, the file is opened again every ``_TRY_AGAIN``
seconds, and then all rows are written. The first failure of a row of them is reported.
"""

import asyncio
import concurrent.futures
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..aio.clock import monotonic
from ..core.events import ErrorOccurred, Event
from ..core.inputs import Input, JournalCommitted, JournalEntry, JournalRecovered
from ..core.settings import JournalCommit
from ..errors import ConfigurationError
from ..protocol import connect_pb2 as pb
from .file import Holder, JournalFile, Row, Sync

_GATHER: Final = 0.005
"""Seconds from the first change to the transaction for it and for what follows it."""
_TRY_AGAIN: Final = 1.0
_OPEN_SECONDS: Final = 10.0
"""For a file on a disk that stalls; after that the worker starts, and the file is opened later."""
_CLOSE_SECONDS: Final = 5.0
_SLOW: Final = 1.0
"""Seconds that a transaction may take before it is reported."""


class Journal:
    """``record`` and ``erase`` belong to the I/O loop; ``observe`` is called on the thread."""

    def __init__(
        self,
        path: str,
        sync: Sync,
        commit: JournalCommit,
        instance_id: str,
        observe: Callable[[Event], None],
    ) -> None:
        self.path = Path(path)
        self._sync = sync
        self._required = commit == "required"
        self._holder = Holder(socket.gethostname(), os.getpid(), instance_id, time.time())
        self._observe = observe
        self._post: Callable[[Input], None] | None = None
        self._lock = threading.Lock()
        self._rows: dict[str, Row] = {}
        # What the file does not have yet. The thread takes the whole dictionary; ``_changed_at`` is
        # when its first key came.
        self._changed: dict[str, None] = {}
        self._changed_at = 0.0
        self._wake = threading.Event()
        self._begun = threading.Event()
        self._closing = threading.Event()
        self._failure: str | None = None
        self._opened: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()

    # --- for the worker ----------------------------------------------------------------------

    async def open(self) -> None:
        """Open the file. Raises ConfigurationError when the path is wrong.

        Returns without it when that takes long, or fails in a way that can pass.
        """
        name = "inngest-connect-journal"
        threading.Thread(target=self._run, name=name, daemon=True).start()
        await asyncio.wait([asyncio.wrap_future(self._opened)], timeout=_OPEN_SECONDS)
        if self._opened.done():
            self._opened.result()
        else:
            self._failed("the file could not be opened yet, the disk does not answer")

    def begin(self, post: Callable[[Input], None]) -> None:
        """The worker runs: ``post`` takes what is recovered and what is committed."""
        self._post = post
        self._begun.set()

    async def close(self) -> None:
        """Write what has changed, and release the file; gives up on a disk that stalls."""
        self._closing.set()
        self._begun.set()
        self._wake.set()
        await asyncio.wait([asyncio.wrap_future(self._ended)], timeout=_CLOSE_SECONDS)

    def record(self, request: pb.GatewayExecutorRequestData, reply: bytes | None) -> None:
        """Keep this request, and its reply when there is one."""
        request_id = request.request_id
        with self._lock:
            row = self._rows.get(request_id)
            # The clock of the machine, because another process compares it.
            at = time.time() if row is None else row.acknowledged_at
            self._rows[request_id] = Row(request, at, reply)
            self._change(request_id)

    def erase(self, request_id: str) -> None:
        """Nothing is owed for this request any more."""
        with self._lock:
            if self._rows.pop(request_id, None) is not None:
                self._change(request_id)

    def _change(self, request_id: str) -> None:
        if not self._changed:
            self._changed_at = monotonic()
            self._wake.set()
        self._changed[request_id] = None

    # --- what can be read --------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def failure(self) -> str | None:
        """Why the file is not written at present; None when it is."""
        return self._failure

    @property
    def lag(self) -> float:
        """Seconds since the oldest change that the file does not have."""
        return monotonic() - self._changed_at if self._changed else 0.0

    # --- on the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._keep()
        except Exception as error:  # noqa: BLE001 - a bug here must not be silent
            self._failed(f"{type(error).__name__}: {error}")
        finally:
            self._ended.set_result(None)

    def _keep(self) -> None:
        file = self._open_first()
        self._begun.wait()
        stored = self._adopt(file)
        while not (self._closing.is_set() and not self._changed):
            self._wake.wait()
            if not self._required:
                self._closing.wait(_GATHER)
            changed = self._take()
            try:
                if file is None or not file.is_in_place():
                    if file is not None:
                        file.close()
                    file = JournalFile(self.path, self._sync, self._holder)
                    stored = self._adopt(file)
                    changed = dict.fromkeys([*stored, *tuple(self._rows)])
                self._write(file, stored, changed)
            except (sqlite3.Error, OSError, ConfigurationError) as error:
                if file is not None:
                    file.close()
                    file = None
                with self._lock:
                    self._changed = {**changed, **self._changed}
                    self._wake.set()
                self._failed(str(error))
                if self._closing.wait(_TRY_AGAIN):
                    break
            else:
                self._failure = None
        if file is not None:
            file.close()

    def _open_first(self) -> JournalFile | None:
        try:
            file = JournalFile(self.path, self._sync, self._holder)
        except ConfigurationError as error:
            self._closing.set()
            self._opened.set_exception(error)
            return None
        except (sqlite3.Error, OSError) as error:
            self._failed(str(error))
            file = None
        else:
            self._failure = None
        self._opened.set_result(None)
        return file

    def _adopt(self, file: JournalFile | None) -> set[str]:
        """Hand over what another process has left in the file; returns the ids of its rows."""
        if file is None:
            return set()
        if file.damage is not None:
            self._observe(ErrorOccurred("journal_damaged", file.damage))
        stored = set() if file.damage is not None else set(file.rows)
        if not file.rows or file.predecessor == self._holder or self._post is None:
            return stored  # of this worker itself, before the file was lost for a while
        with self._lock:
            # A request that has come again meanwhile is newer than what the file has of it.
            self._rows = {**file.rows, **self._rows}
            if file.damage is not None:
                for request_id in file.rows:
                    self._change(request_id)
        now = time.time()
        entries = (
            JournalEntry(row.request, row.reply, max(now - row.acknowledged_at, 0.0))
            for row in file.rows.values()
        )
        self._post(JournalRecovered(tuple(entries), str(file.predecessor or "not known which")))
        return stored

    def _take(self) -> dict[str, None]:
        with self._lock:
            changed, self._changed = self._changed, {}
            self._wake.clear()
        return changed

    def _write(self, file: JournalFile, stored: set[str], changed: dict[str, None]) -> None:
        # What came and went between two transactions is not worth one.
        changes = {
            key: row for key in changed if (row := self._rows.get(key)) is not None or key in stored
        }
        if not changes:
            return
        begun = monotonic()
        file.write(changes)
        for key, row in changes.items():
            if row is None:
                stored.discard(key)
            else:
                stored.add(key)
        if self._required and self._post is not None:
            replied = (key for key, row in changes.items() if row is not None and row.reply)
            self._post(JournalCommitted(tuple(replied)))
        took = monotonic() - begun
        if took >= _SLOW:
            text = f"the disk took {took:.1f} s for a transaction of the journal {self.path}"
            self._observe(ErrorOccurred("journal_slow", text))

    def _failed(self, text: str) -> None:
        known, self._failure = self._failure, text
        if known is None:
            text = (
                f"the journal {self.path} cannot be written: {text}. The worker goes on without, "
                f"and tries again every {_TRY_AGAIN:g} s; what is unfinished meanwhile does not "
                "survive a crash"
            )
            self._observe(ErrorOccurred("journal_unavailable", text))
        if self._required and self._post is not None:
            # What waits for the file is offered without it.
            with self._lock:
                replied = [key for key in self._changed if self._has_reply(key)]
            self._post(JournalCommitted(tuple(replied)))

    def _has_reply(self, request_id: str) -> bool:
        row = self._rows.get(request_id)
        return row is not None and row.reply is not None
