"""Shutdown: the stages from the wish to close until nothing is left to do.

Rules of this file:
1. What a stage waits for, and what comes after it, is in ``STAGES``. Drawings and tests come from
   it. No flag repeats what the stage expresses.
2. Stages only move forward. New requests are refused from the first one on, so work only shrinks.

Theory of operation. The first thing to wait for are acknowledgements: WORKER_PAUSE can overtake one
that was just written, and the gateway would then take back a request that runs here. When they had
time to arrive, WORKER_PAUSE is sent, and functions run to their end, over new connections if need
be (each is paused before anything else). Then replies are delivered or flushed, and at last sockets
are closed. A shutdown that is *forced*, by ``shutdown_timeout`` or by the user who insists, cancels
what runs and goes to FLUSHING immediately: replies that are ready get a last moment.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import ConnectError, WorkAbandoned
from ..protocol import CLOSE_NORMAL, REASON_WORKER_SHUTDOWN
from ..protocol import connect_pb2 as pb
from .connections.connections import Connections
from .deadlines import earliest
from .outbox import Outbox
from .requests.delivery import ReplyDelivery
from .requests.request_table import RequestTable
from .settings import CoreSettings
from .wire import messages
from .wire.durations import span
from .wire.remote_text import clean, shortened_id

_WORKER_PAUSE: Final = pb.GatewayMessageType.WORKER_PAUSE

# Seconds until a shutdown reports what it waits for: at once for a person, and after what ends
# within a moment, so that not every deployment logs a warning.
FIRST_NOTICE: Final = 0.2
# Between one such notice and the next.
NOTICE_INTERVAL: Final = 30.0


class Stage(enum.Enum):
    """How far a shutdown has come."""

    RUNNING = "RUNNING"
    """Nobody has asked for a shutdown."""
    SETTLING = "SETTLING"
    FINISHING = "FINISHING"
    FLUSHING = "FLUSHING"
    CLOSING = "CLOSING"
    DONE = "DONE"


@dataclass(frozen=True, slots=True)
class Row:
    """One stage: what it waits for, and what comes next."""

    awaits: str
    """Completes "the worker has ..."; ``Shutdown._has_what_it_awaits`` decides it."""
    next: Stage | None
    forced: Stage | None = None
    """What comes next when the shutdown is forced in this stage; None where nothing changes."""


STAGES: Final[dict[Stage, Row]] = {
    Stage.RUNNING: Row("been asked to close", Stage.SETTLING),
    Stage.SETTLING: Row(
        "given the last acknowledgement its pause_delay, and sent WORKER_PAUSE",
        Stage.FINISHING,
        Stage.FLUSHING,
    ),
    Stage.FINISHING: Row("no unfinished function", Stage.FLUSHING, Stage.FLUSHING),
    Stage.FLUSHING: Row(
        "no undelivered reply, or was forced and final_flush_timeout has passed", Stage.CLOSING
    ),
    Stage.CLOSING: Row("no socket left", Stage.DONE),
    Stage.DONE: Row("", None),
}


class Shutdown:
    """Times are monotonic seconds."""

    def __init__(
        self,
        settings: CoreSettings,
        connections: Connections,
        requests: RequestTable,
        delivery: ReplyDelivery,
        outbox: Outbox,
    ) -> None:
        self.stage = Stage.RUNNING
        self.forced = False
        self.abandoned: tuple[str, ...] = ()
        """Request ids that were given up unfinished."""
        self._settings = settings
        self._connections = connections
        self._requests = requests
        self._delivery = delivery
        self._outbox = outbox
        self._signals = True
        self._pauses = False
        """Whether the serving connection has still to be sent WORKER_PAUSE."""
        self._notice_at: float | None = None
        self._deadline: float | None = None
        """When the shutdown is forced, or a forced one stops to flush."""
        self._error: ConnectError | None = None

    # --- what asks for it -------------------------------------------------------------------

    def request(self, now: float, *, signals: bool, error: ConnectError | None = None) -> None:
        """Begin. ``signals``: whether a second signal would force it.

        ``error`` is what ``start()`` raises, whatever becomes of the work.
        """
        self._signals = signals
        self._error = error
        self._enter(Stage.SETTLING, now)
        self._pauses = True
        self._notice_at = now + FIRST_NOTICE
        if self._settings.shutdown_timeout is not None:
            self._deadline = now + self._settings.shutdown_timeout

    def force(self, now: float) -> Sequence[str]:
        """Give up what is unfinished; returns its request ids. To be called only once."""
        self.forced = True
        # From here on ``_deadline`` limits the last flush. Nothing is left that an operator could
        # wait for, so there are no more notices.
        self._notice_at = None
        self._deadline = now + self._settings.final_flush_timeout
        self.abandoned = tuple(self._requests.abandon())
        following = STAGES[self.stage].forced
        if following is not None:
            self._enter(following, now)
        else:
            self._hurry(now)
        return self.abandoned

    def paused(self) -> None:
        """A connection that was made meanwhile has sent WORKER_PAUSE as its first message."""
        self._pauses = False

    def connection_lost(self, now: float) -> None:
        """The serving connection ended: nothing delivers replies over a socket any more."""
        if self.stage is Stage.FLUSHING:
            self._hurry(now)

    def wants_connection(self) -> bool:
        """Whether what is left needs a connection. Replies do not: they are flushed over HTTP."""
        if self.stage in (Stage.SETTLING, Stage.FINISHING):
            return self._requests.unfinished > 0
        # A function that was given up can still run, but nothing is extended for it any more.
        return self.stage is Stage.RUNNING

    # --- moving along -----------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """The next time at which something changes by itself, None when nothing does."""
        if self.stage is Stage.RUNNING:
            return None  # asked at the end of every turn
        return earliest(self._deadline, self._pause_at(), self._notice_at)

    def _pause_at(self) -> float | None:
        """When WORKER_PAUSE is due, None while that is not known."""
        # A gateway that handles WORKER_PAUSE before an acknowledgement routes the request again,
        # while it runs here. The two are written in order on one socket, but the gateway handles
        # them concurrently, so only time separates them. It counts from when the last one was
        # written: on a slow line that can be long after the shutdown began.
        requests = self._requests
        if not self._pauses or self._connections.current is None or requests.acknowledgements_due:
            return None
        return requests.last_acknowledged_at + self._settings.pause_delay

    def settle(self, now: float) -> bool:
        """Move along as far as the situation allows. Returns True when nothing is left to do.

        Called after every input, because what a stage waits for can end by any of them: by a reply,
        an acknowledgement, a closed socket or the time.
        """
        # The time limit first, and the notice before the work it is about changes.
        if self._deadline is not None and now >= self._deadline:
            self._deadline = None
            if not self.forced:
                self._time_is_over(now)
        if self._notice_at is not None and now >= self._notice_at:
            self._notice_at = now + NOTICE_INTERVAL
            self._report_what_is_awaited(now)
        # Also when forced: until its socket closes, a gateway that was not paused sends requests
        # here that are not executed, and each of them waits for an acknowledgement in vain.
        pause_at, current = self._pause_at(), self._connections.current
        if pause_at is not None and current is not None and now >= pause_at:
            self._pauses = False
            current.send(_WORKER_PAUSE, messages.PAUSE)
        # Several stages can pass in one turn: an idle worker goes from FINISHING to CLOSING.
        while self._has_what_it_awaits():
            following = STAGES[self.stage].next
            assert following is not None
            self._enter(following, now)
        return self.stage is Stage.DONE

    def _has_what_it_awaits(self) -> bool:
        # A forced shutdown flushes until its deadline has passed, which is None from then on.
        delivered = not len(self._delivery.buffer) or (self.forced and self._deadline is None)
        match self.stage:
            case Stage.SETTLING:
                # Without a connection there is nothing to pause; a new one is paused when ready.
                return not self._pauses or self._connections.current is None
            case Stage.FINISHING:
                return not self._requests.unfinished
            case Stage.FLUSHING:
                return delivered
            case Stage.CLOSING:
                # A function that was given up can still return while sockets close.
                return not self._connections.closing and delivered
            case Stage.RUNNING | Stage.DONE:
                return False

    def _enter(self, stage: Stage, now: float) -> None:
        self.stage = stage
        match stage:
            case Stage.FLUSHING:
                # No function runs, so an attempt would only delay the end. If there is a
                # connection, replies that were written there get their time for an acknowledgement
                # first.
                self._connections.abandon_attempt(now)
                self._hurry(now)
            case Stage.CLOSING:
                for generation in self._connections.generations():
                    self._connections.close(generation, CLOSE_NORMAL, REASON_WORKER_SHUTDOWN, now)

    def _hurry(self, now: float) -> None:
        """Flush when no socket can deliver; a flush that fails then keeps its own schedule."""
        if self.forced or self._connections.current is None:
            self._delivery.hurry(now)
            self._delivery.tick(self._connections.current, now)

    # --- what it reports --------------------------------------------------------------------

    def outcome(self) -> ConnectError | None:
        """What ``start()`` raises, if anything; reports every reply that is left behind."""
        undelivered = list(self._delivery.buffer)
        kept = "; the journal keeps it for the next process" if self._settings.journal else ""
        for reply in undelivered:
            text = f"the worker ended before the server accepted this reply{kept}"
            self._delivery.error("reply_undelivered", text, reply)
        if self._error is not None:
            return self._error
        lost = (*self.abandoned, *(reply.request_id for reply in undelivered))
        return WorkAbandoned(lost, journalled=bool(self._settings.journal)) if lost else None

    def _time_is_over(self, now: float) -> None:
        abandoned = self.force(now)
        if abandoned:
            limit = self._settings.shutdown_timeout
            ids = ", ".join(map(shortened_id, abandoned))
            text = f"shutdown_timeout={limit:g} s has passed; not finished: {ids}"
            self._outbox.error("shutdown_timeout", text)

    def _report_what_is_awaited(self, now: float) -> None:
        """Report why the worker does not end, and what the operator can do."""
        awaited = [f"{self._requests.unfinished} function(s)"] if self._requests.unfinished else []
        if len(self._delivery.buffer):
            awaited.append(f"{len(self._delivery.buffer)} reply(s) that Inngest has not stored yet")
        if not awaited:
            return
        text = f"waiting for {' and '.join(awaited)}"
        oldest = self._requests.oldest_unfinished()
        if oldest is not None:
            slug = clean(oldest.request.function_slug)
            text += f"; the oldest is {slug}, {span(now - oldest.received_at)} old"
        if self._deadline is None:
            text += "; there is no time limit, because shutdown_timeout is not set"
        else:
            left = span(self._deadline - now)
            text += f"; for {left} at most, because of shutdown_timeout"
        if self._signals:
            text += ". A second signal (Ctrl-C again) stops it now"
        else:
            text += ". Cancel the task that runs the worker to stop now"
        if oldest is None:
            self._outbox.error("shutdown_waiting", text)
        else:
            self._requests.error("shutdown_waiting", text, oldest.request.request_id)
