"""Journal: keeps a ``JournalFile`` up to date, on a thread of its own.

    record(), erase()  ->  what changed, by request  ->  one transaction for all of it

Theory of operation. Nothing waits for a disk: ``record`` and ``erase`` change dictionaries, and the
thread writes what has changed since its last transaction. So a disk that stalls for ten seconds
delays the journal and nothing else, and a request that is answered and delivered between two
transactions is never written at all.

``Changes`` has everything that the file has to have. When the file cannot be written, or was
removed, the worker goes on without: what changed is kept, the file is opened again every
``_TRY_AGAIN`` seconds, and then all rows are written. The first failure of several is reported.
"""

import asyncio
import concurrent.futures
import contextlib
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ..aio.clock import monotonic
from ..aio.waiters import until_done
from ..core.events import ErrorOccurred, Event
from ..core.inputs import Input, JournalCommitted, JournalEntry, JournalRecovered
from ..core.settings import JournalCommit
from ..core.wire.user_text import shown_error
from ..errors import ConfigurationError
from ..protocol import connect_pb2 as pb
from .changes import Changes
from .file import JournalFile, Sync
from .rows import Holder, Row

_GATHER: Final = 0.002
_INTERVAL: Final = 0.02
"""Seconds from a change to its transaction, and from one to the next when there are many."""
_TRY_AGAIN: Final = 1.0
_LOOK_AGAIN: Final = 10.0
"""Whether the file is in place, when nothing changes."""
_OPEN_SECONDS: Final = 10.0
"""For a file on a disk that stalls; after that the worker starts, and the file is opened later."""
_CLOSE_SECONDS: Final = 5.0
_SLOW: Final = 1.0
"""Seconds that a transaction may take before it is reported."""


class Journal:
    """``record`` and ``erase`` belong to the I/O loop; ``observe`` is called on any thread."""

    def __init__(
        self,
        path: str,
        sync: Sync,
        commit: JournalCommit,
        instance_id: str,
        observe: Callable[[Event], None],
    ) -> None:
        self.path = Path(path).absolute()  # the program may change its directory
        self._required = commit == "required"
        self._holder = Holder(socket.gethostname(), os.getpid(), instance_id, time.time())
        self._file = JournalFile(self.path, sync, self._holder)
        """Belongs to the thread."""
        self._observe = observe
        self._post: Callable[[Input], None] | None = None
        self._changes = Changes()
        self._begun = threading.Event()
        self._closing = threading.Event()
        self._failure: str | None = None
        self._slow_reported = False
        self._open_lock = threading.Lock()
        self._opened: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()

    # --- for the worker ----------------------------------------------------------------------

    async def open(self) -> None:
        """Open the file. Raises ConfigurationError when the path is wrong.

        Returns without it when that takes long, or fails in a way that can pass.
        """
        name = "inngest-connect-journal"
        threading.Thread(target=self._run, name=name, daemon=True).start()
        try:
            await _wait(self._opened, _OPEN_SECONDS)
        except BaseException:
            self.close()
            raise
        with self._open_lock:
            in_time = self._opened.done()
            if not in_time:
                self._opened.set_result(None)  # from here on an error is reported, and not raised
        if not in_time:
            self._failed("the file could not be opened yet, the disk does not answer")
        self._opened.result()

    def begin(self, post: Callable[[Input], None]) -> None:
        """The worker runs: ``post`` takes what is recovered and what is committed."""
        self._post = post
        self._begun.set()

    def close(self) -> None:
        """Have the thread write what has changed, release the file, and end."""
        self._closing.set()
        self._begun.set()
        self._changes.wake.set()

    async def closed(self) -> None:
        """Wait until it has ended; gives up on a disk that stalls."""
        await _wait(self._ended, _CLOSE_SECONDS)

    def record(self, request: pb.GatewayExecutorRequestData, reply: bytes | None) -> None:
        """Keep this request, and its reply when there is one."""
        row = self._changes.record(request, reply)
        if self._changes.writing_since is not None:
            self._report_stall(self._changes.writing_since)
        if reply is not None and self._failure is not None:
            self._committed({request.request_id: row})

    def erase(self, request_id: str) -> None:
        """Nothing is owed for this request any more."""
        self._changes.erase(request_id)

    def _committed(self, rows: Mapping[str, Row | None]) -> None:
        # What has a reply is on disk, or there is no disk to wait for.
        if self._required and self._post is not None:
            replied = (k for k, row in rows.items() if row is not None and row.reply is not None)
            self._post(JournalCommitted(tuple(replied)))

    # --- what can be read --------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._changes)

    @property
    def failure(self) -> str | None:
        """Why the file is not written at present; None when it is."""
        return self._failure

    @property
    def lag(self) -> float:
        """Seconds since the oldest change that the file does not have."""
        return self._changes.lag

    # --- on the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if self._open_first():
                self._begun.wait()
                if self._post is not None:
                    self._keep()
        finally:
            self._file.close()
            self._ended.set_result(None)

    def _open_first(self) -> bool:
        try:
            self._file.open()
        except ConfigurationError as error:
            with self._open_lock:
                if not self._opened.done():
                    self._opened.set_exception(error)
                    return False
            self._failed(_text(error))
        except Exception as error:  # noqa: BLE001 - the worker goes on without
            self._failed(_text(error))
        with self._open_lock:
            if not self._opened.done():
                self._opened.set_result(None)
        return True

    def _keep(self) -> None:
        is_new = True  # what the file has is not handed over yet
        while True:
            changed = self._changes.take()
            try:
                if not self._file.is_in_place():
                    self._file.open()
                    is_new = True
                if is_new:
                    changed = self._adopt(changed)
                    is_new = False
                written_at = monotonic()
                self._write(changed)
            except Exception as error:  # noqa: BLE001 - a bug here must not end the journal
                self._file.close_database()
                self._changes.put_back(changed)
                self._failed(_text(error))
                if self._closing.wait(_TRY_AGAIN):
                    return
                continue
            self._failure = None
            if self._closing.is_set() and self._changes.are_written:
                if not len(self._changes):
                    with contextlib.suppress(sqlite3.Error):
                        self._file.replace({})  # no result stays on disk
                return
            self._changes.wake.wait(_LOOK_AGAIN)
            interval = 0.0 if self._required else _INTERVAL
            self._closing.wait(max(written_at + interval - monotonic(), _GATHER))

    def _adopt(self, changed: dict[str, None]) -> dict[str, None]:
        # Hand over what another process has left in the file. Returns what is still to be written.
        found, damage = self._file.take_found()
        if damage is not None:
            self._observe(ErrorOccurred("journal_damaged", damage))
        is_theirs = found.holder != self._holder
        ours = self._changes.adopt(found.rows if is_theirs else {})
        if is_theirs and found.rows:
            now = time.time()
            entries = tuple(
                JournalEntry(row.request, row.reply, max(now - row.acknowledged_at, 0.0))
                for row in found.rows.values()
            )
            assert self._post is not None
            self._post(JournalRecovered(entries, str(found.holder or "not known which")))
        if is_theirs and damage is None:
            return {**changed, **dict.fromkeys(ours)}
        # A new file, or what this worker itself had written before it was lost for a while.
        everything = self._changes.all()
        self._file.replace(everything)
        self._committed(everything)
        return {}

    def _write(self, changed: dict[str, None]) -> None:
        begun = monotonic()
        changes = self._changes.of(changed)
        self._file.write(changes)
        if self._file.is_long:
            self._file.replace(self._changes.all())
        self._committed(changes)
        self._changes.writing_since = None
        took = monotonic() - begun
        if took >= _SLOW:
            self._report_slow(f"the disk took {took:.1f} s for a transaction")
        self._slow_reported = False

    # --- what is wrong -----------------------------------------------------------------------

    def _failed(self, text: str) -> None:
        known, self._failure = self._failure, text
        if known is None:
            text = (
                f"the journal {self.path} cannot be written: {text}. The worker goes on without, "
                f"and tries again every {_TRY_AGAIN:g} s; what is unfinished meanwhile does not "
                "survive a crash"
            )
            self._observe(ErrorOccurred("journal_unavailable", text))
        # What waits for the file is offered without it.
        self._committed(self._changes.waiting())

    def _report_stall(self, since: float) -> None:
        # On the I/O loop, while the thread waits for the disk.
        if monotonic() - since >= _SLOW and self._failure is None:
            self._report_slow("the disk does not answer: a transaction has not ended")

    def _report_slow(self, text: str) -> None:
        if not self._slow_reported:
            self._slow_reported = True
            self._observe(ErrorOccurred("journal_slow", f"{text}; the journal is {self.path}"))


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, ConfigurationError) else shown_error(error)


async def _wait(future: "concurrent.futures.Future[None]", seconds: float) -> None:
    # Without an error when the limit is over, or when the future ends after the event loop.
    waiting = asyncio.ensure_future(until_done(future))
    try:
        await asyncio.wait([waiting], timeout=seconds)
    finally:
        waiting.cancel()
