"""Shutdown: from the wish to close until nothing is left to do.

Stages (PROTOCOL.md section 8): *requested*, from when on no new work is taken; *paused*, once the
last acknowledgements had time to land; then work in flight is finished, over new connections if
need be, and replies are delivered or flushed; *aborting*, when the time limit is over or the user
insists: what runs is cancelled, and what is ready gets a last moment to be flushed.
"""

from collections.abc import Sequence
from typing import Final

from ..errors import ConnectError, WorkAbandoned
from ..protocol import CLOSE_NORMAL, REASON_WORKER_SHUTDOWN
from .commands import Send
from .connections.generations import Connections
from .deadlines import earliest
from .outbox import Report
from .requests.delivery import ReplyDelivery
from .requests.request_table import RequestTable
from .settings import CoreSettings
from .wire import messages
from .wire.remote_text import clean, shortened_id

FIRST_NOTICE: Final = 1.0
NOTICE_INTERVAL: Final = 30.0
"""Seconds until the shutdown says what it waits for, and between one such notice and the next."""


class Shutdown:
    """Times are monotonic seconds."""

    def __init__(
        self,
        settings: CoreSettings,
        connections: Connections,
        requests: RequestTable,
        delivery: ReplyDelivery,
        report: Report,
    ) -> None:
        self.requested = False
        self.aborting = False
        self.error: ConnectError | None = None
        """What ``start()`` has to raise, whatever becomes of the work."""
        self._settings = settings
        self._connections = connections
        self._requests = requests
        self._delivery = delivery
        self._report = report
        self._pause_at = 0.0
        self._signals = True
        self._notice_at: float | None = None
        self._deadline: float | None = None
        self._flush_until: float | None = None
        self._flush_over = False
        self._hurried = False
        self.abandoned: tuple[str, ...] = ()
        """Request ids that were given up unfinished."""

    def request(self, now: float, *, signals: bool) -> None:
        """Begin; the pause waits for acknowledgements just written, which it could overtake."""
        self.requested = True
        self._signals = signals
        landed_at = self._requests.last_acknowledged_at + self._settings.pause_delay
        self._pause_at = max(now, landed_at)
        self._notice_at = now + FIRST_NOTICE
        if self._settings.shutdown_timeout is not None:
            self._deadline = now + self._settings.shutdown_timeout

    def abort(self, now: float) -> Sequence[str]:
        """Give up what is unfinished; returns its request ids."""
        self.aborting = True
        self._flush_until = now + self._settings.final_flush_timeout
        self.abandoned = tuple(self._requests.abandon(self._report.commands))
        return self.abandoned

    def next_deadline(self) -> float | None:
        """The next time at which something changes by itself, None when nothing does."""
        if not self.requested:
            return None
        if self.aborting:
            return earliest(self._flush_until, self._pause_due())
        return earliest(self._deadline, self._pause_due(), self._notice_at)

    def settle(self, now: float) -> bool:
        """Move along as far as the situation allows. Returns True when nothing is left."""
        self._check_deadline(now)
        self._say_what_is_awaited(now)
        self._pause(now)
        if self._requests.unfinished and not self.aborting:
            return False
        self._connections.abandon_attempt(self._report.commands)
        self._flush_what_is_left(now)
        if len(self._delivery.buffer) and not self._final_flush_over(now):
            return False
        if self._pause_due() is not None and not self.aborting:
            return False
        return self._close_sockets(now)

    def outcome(self) -> ConnectError | None:
        """What ``start()`` raises, if anything; tells of every reply that is left behind."""
        undelivered = [reply.request_id for reply in self._delivery.buffer]
        for request_id in undelivered:
            text = "the worker ended before the server accepted this reply"
            error = self._delivery.error("reply_undelivered", text, request_id)
            self._report.commands.append(error)
        if self.error is not None:
            return self.error
        lost = (*self.abandoned, *undelivered)
        return WorkAbandoned(lost) if lost else None

    def _check_deadline(self, now: float) -> None:
        if self.aborting or self._deadline is None or now < self._deadline:
            return
        abandoned = self.abort(now)
        if abandoned:
            limit = self._settings.shutdown_timeout
            ids = ", ".join(map(shortened_id, abandoned))
            self._report.error(
                "shutdown_timeout",
                f"shutdown_timeout={limit:g} s is over; not finished: {ids}",
            )

    def _say_what_is_awaited(self, now: float) -> None:
        """Who stopped the worker sees why it does not end, and what they can do."""
        if self.aborting or self._notice_at is None or now < self._notice_at:
            return
        self._notice_at = now + NOTICE_INTERVAL
        awaited = [f"{self._requests.unfinished} function(s)"] if self._requests.unfinished else []
        if len(self._delivery.buffer):
            awaited.append(f"{len(self._delivery.buffer)} reply(s) that Inngest has not stored yet")
        if not awaited:
            return
        text = f"waiting for {' and '.join(awaited)}"
        oldest = self._requests.oldest_unfinished()
        if oldest is not None:
            slug = clean(oldest.request.function_slug)
            text += f"; the oldest is {slug}, {now - oldest.received_at:.0f} s old"
        if self._deadline is None:
            text += "; there is no time limit, because shutdown_timeout is not set"
        else:
            text += f"; for {self._deadline - now:.0f} s at most, because of shutdown_timeout"
        if self._signals:
            text += ". Send a second signal, or cancel start(), to stop now"
        else:
            text += ". Cancel the task that runs the worker to stop now"
        if oldest is None:
            self._report.error("shutdown_waiting", text)
        else:
            error = self._delivery.error("shutdown_waiting", text, oldest.request.request_id)
            self._report.commands.append(error)

    def _pause_due(self) -> float | None:
        """When WORKER_PAUSE is due, None when none is."""
        current = self._connections.current
        if current is None or current.paused or not self.requested:
            return None
        return self._pause_at

    def _pause(self, now: float) -> None:
        current, due_at = self._connections.current, self._pause_due()
        if current is None or due_at is None or now < due_at:
            return
        current.paused = True
        self._report.commands.append(Send(current.number, messages.PAUSE))

    def _flush_what_is_left(self, now: float) -> None:
        """Once, and only when no socket can do it; a failed flush then keeps its own schedule."""
        if self._hurried or not (self.aborting or self._connections.current is None):
            return
        self._hurried = True
        self._delivery.hurry(now)
        self._delivery.tick(now, self._report.commands)

    def _final_flush_over(self, now: float) -> bool:
        if self._flush_until is not None and now >= self._flush_until:
            self._flush_until = None
            self._flush_over = True
        return self._flush_over

    def _close_sockets(self, now: float) -> bool:
        """Returns True when the last one has ended."""
        self._requests.carrier = None
        for generation in self._connections.living():
            self._connections.close(
                generation, CLOSE_NORMAL, REASON_WORKER_SHUTDOWN, now, self._report.commands
            )
        return not self._connections.closing
