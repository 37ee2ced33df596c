"""Shutdown: what has been asked for, and how much time is left for it.

Stages (PROTOCOL.md section 8): requested, from when on no new work is taken; paused, once the last
acknowledgements had time to land; aborting, when the time limit is over or the user insists.
"""

from collections.abc import Callable, Sequence

from ..errors import ConnectError, WorkAbandoned
from .settings import CoreSettings


class Shutdown:
    """Times are monotonic seconds."""

    def __init__(self, settings: CoreSettings) -> None:
        self.requested = False
        self.aborting = False
        self.pause_at = 0.0
        self.abandoned: tuple[str, ...] = ()
        self.error: ConnectError | None = None
        self._settings = settings
        self._requested_at = 0.0
        self._deadline: float | None = None
        self._flush_until: float | None = None
        self._forced = False
        self._hurried = False
        self._flush_over = False

    def request(self, now: float, last_acknowledged_at: float) -> None:
        """Begin; the pause waits for acknowledgements just written, which it could overtake."""
        self.requested = True
        self._requested_at = now
        self.pause_at = max(now, last_acknowledged_at + self._settings.pause_delay)
        if self._settings.shutdown_timeout is not None:
            self._deadline = now + self._settings.shutdown_timeout

    def abort(self, now: float, abandoned: Sequence[str], forced: bool) -> None:
        """Give up what is unfinished; replies that are ready still get a moment to be flushed."""
        self.aborting = True
        self.abandoned = tuple(abandoned)
        self._forced = forced
        self._flush_until = now + self._settings.final_flush_timeout

    def overdue(self, now: float) -> bool:
        return self._deadline is not None and now >= self._deadline

    def final_flush_over(self, now: float) -> bool:
        if self._flush_until is not None and now >= self._flush_until:
            self._flush_until = None
            self._flush_over = True
        return self._flush_over

    def hurry_once(self, hurry: Callable[[], None]) -> None:
        """Replies are hurried once; after a failed flush they keep their own schedule."""
        if not self._hurried:
            self._hurried = True
            hurry()

    def next_deadline(self) -> float | None:
        """The next time at which something changes by itself, None when nothing does."""
        if not self.requested:
            return None
        if self.aborting:
            return self._flush_until
        return self._deadline

    def outcome(self, undelivered: Sequence[str]) -> ConnectError | None:
        """What ``start()`` raises, if anything."""
        if self.error is not None:
            return self.error
        lost = (*self.abandoned, *undelivered)
        return WorkAbandoned(lost) if self._forced and lost else None
