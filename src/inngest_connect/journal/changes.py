"""Changes: every unfinished request, and which of them the file does not have as they are now.

No change is missed: ``wake`` is set with the first one after ``take``, which clears it under the
same lock.
"""

import threading
import time
from collections.abc import Iterable, Mapping

from ..aio.clock import monotonic
from ..protocol import connect_pb2 as pb
from .rows import Row


class Changes:
    """May be used on any thread; one of them takes what has changed, and writes it."""

    def __init__(self) -> None:
        self.wake = threading.Event()
        self.writing_since: float | None = None
        """When the oldest change came of those that were taken; None when they are written."""
        self._lock = threading.Lock()
        self._rows: dict[str, Row] = {}
        self._changed: dict[str, None] = {}
        self._changed_since: float | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def are_written(self) -> bool:
        """Whether nothing has changed since the last ``take``."""
        return not self._changed

    @property
    def lag(self) -> float:
        """Seconds since the oldest change that the file does not have."""
        since = self.writing_since or self._changed_since
        return 0.0 if since is None else monotonic() - since

    def record(self, request: pb.GatewayExecutorRequestData, reply: bytes | None) -> Row:
        """Keep this request, and its reply when there is one."""
        request_id = request.request_id
        with self._lock:
            known = self._rows.get(request_id)
            # The clock of the machine, because another process compares it.
            at = time.time() if known is None else known.acknowledged_at
            row = self._rows[request_id] = Row(request, at, reply)
            self._change(request_id)
        return row

    def erase(self, request_id: str) -> None:
        """Nothing is owed for this request any more."""
        with self._lock:
            if self._rows.pop(request_id, None) is not None:
                self._change(request_id)

    def _change(self, request_id: str) -> None:
        if not self._changed:
            self._changed_since = monotonic()
            self.wake.set()
        self._changed[request_id] = None

    def take(self) -> dict[str, None]:
        """Return the ids of what has changed, to be written now."""
        with self._lock:
            changed, self._changed = self._changed, {}
            self.writing_since, self._changed_since = self._changed_since, None
            self.wake.clear()
        return changed

    def put_back(self, changed: Mapping[str, None]) -> None:
        """It could not be written."""
        with self._lock:
            self._changed = {**changed, **self._changed}
            self._changed_since = self.writing_since or self._changed_since
            self.writing_since = None

    def adopt(self, found: Mapping[str, Row]) -> dict[str, Row]:
        """Keep what a file has, too. Returns what was here before."""
        with self._lock:
            ours = self._rows
            # A request that has come again meanwhile is newer than what the file has of it.
            self._rows = {**found, **ours}
        return ours

    def all(self) -> dict[str, Row]:
        """Everything that the file has to have."""
        with self._lock:
            return dict(self._rows)

    def of(self, request_ids: Iterable[str]) -> dict[str, Row | None]:
        """What is known of them now; None for what is owed no more."""
        return {key: self._rows.get(key) for key in request_ids}

    def waiting(self) -> dict[str, Row | None]:
        """What has changed since the last ``take``."""
        with self._lock:
            return self.of(self._changed)
