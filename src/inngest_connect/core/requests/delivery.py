"""ReplyDelivery: gets every reply stored by the server, over a socket or over HTTP.

A reply is written on the connection that serves. Without a WORKER_REPLY_ACK in time it is flushed
over HTTP; without a connection it is flushed immediately; when a new connection is ready, what
still waits is written there too, and so is what a flush could not deliver. To send twice is safe:
the first reply wins. A flush is repeated until the API accepts it; only an answer that can never
change ends it, and that is reported.

So during an outage a reply is in the ``MessageBuffer``, and here its next try has a deadline. See
docs/protocol.md#replies.
"""

from collections.abc import Callable
from typing import Final

from ...protocol import connect_pb2 as pb
from ..commands import Flush, Withdraw
from ..deadlines import Deadlines, earliest
from ..events import ErrorOccurred, ReplyAcknowledged
from ..outbox import Outbox
from ..retry import FLUSH_JITTER, FLUSH_SCHEDULE, ScheduleRetry
from ..settings import CoreSettings
from ..signing_keys import SigningKeys
from ..wire import messages
from .answered_requests import REPEAT_WINDOW, AnsweredRequests
from .carrier import Carrier
from .leases import LeaseTable
from .message_buffer import BufferedReply, MessageBuffer

# Looked up once: reading a member of a protobuf enum costs as much as parsing a small message.
_WORKER_REPLY: Final = pb.GatewayMessageType.WORKER_REPLY

# Statuses that the same bytes will get again.
PERMANENT: Final = frozenset({400, 413, 422})

# Replies that are written when a connection is ready. A send queue holds no more.
FIRST_BATCH_BYTES: Final = 32 * 1024 * 1024


class ReplyDelivery:
    """Owns the replies. Times are monotonic seconds."""

    def __init__(
        self,
        buffer: MessageBuffer,
        settings: CoreSettings,
        keys: SigningKeys,
        random: Callable[[], float],
        leases: LeaseTable,
        outbox: Outbox,
    ) -> None:
        self.buffer = buffer
        self.answered = AnsweredRequests()
        self.flushed = 0
        self.lost = 0
        self._settings = settings
        self._keys = keys
        self._random = random
        self._leases = leases
        self._outbox = outbox
        self._retry = ScheduleRetry(FLUSH_SCHEDULE, FLUSH_JITTER)
        self.deadlines = Deadlines()
        """When each reply is flushed next."""
        self.patience = Deadlines()
        """Until when each reply waits for the journal."""
        self._flushing: set[str] = set()
        self._forgetting_reported_at = float("-inf")

    def add(self, reply: BufferedReply, carrier: Carrier | None, now: float) -> list[BufferedReply]:
        """Keep and send a reply. Returns the replies that were evicted for it."""
        reply.added_at = now
        evicted = self.buffer.add(reply)
        for lost in evicted:
            self._forget_deadlines(lost.request_id)
            self.lost += 1
            text = (
                "the buffer of unacknowledged replies is full, so the oldest reply was given "
                "up; Inngest will run that request again. Raise max_buffer_bytes (now "
                f"{self.buffer.max_bytes} bytes) or find out why replies are not accepted"
            )
            self.error("reply_evicted", text, lost)
        # Not always ``reply``: the first reply of a request wins.
        kept = self.buffer.get(reply.request_id)
        if kept is not None and kept.uncommitted:
            self.patience.set(reply.request_id, now + self._settings.journal_patience)
        elif kept is not None:
            self._offer(kept, carrier, now)
        return evicted

    def _offer(self, reply: BufferedReply, carrier: Carrier | None, now: float) -> None:
        # Without a carrier it is due now, and the same turn flushes it. With one, the flush is the
        # second way, for a reply that was written and not acknowledged.
        at = now if carrier is None else now + self._settings.reply_ack_timeout
        self.deadlines.set(reply.request_id, at)
        if carrier is not None:
            self._write(reply, carrier)

    def recover(self, reply: BufferedReply, carrier: Carrier | None, now: float) -> None:
        """Send a reply of another process, both ways at once: it has waited longest.

        Evicts nothing. It is in memory already, and no function starts until there is room.
        """
        self.buffer.keep(reply)
        self.deadlines.set(reply.request_id, now)
        if carrier is not None:
            self._write(reply, carrier)

    def committed(self, request_id: str, carrier: Carrier | None, now: float) -> None:
        """The journal has this reply, so that it can be offered."""
        reply = self.buffer.get(request_id)
        if reply is None or not reply.uncommitted:
            return  # evicted, or its patience was over first
        reply.uncommitted = False
        self.patience.discard(request_id)
        self._offer(reply, carrier, now)

    def acknowledged(self, request_id: str, now: float) -> bool:
        """WORKER_REPLY_ACK. Returns whether this reply was waited for."""
        return self._delivered(request_id, "socket", now)

    def repeat(self, request_id: str, carrier: Carrier, now: float) -> None:
        """The same request came again, and its reply is kept: send it again.

        On the connection that brought it, even while another one carries the first reply: only
        there the gateway waits for it.
        """
        reply = self.buffer.get(request_id)
        if reply is not None:
            if not reply.uncommitted:
                self._write(reply, carrier)
            return
        stored = self.answered.reply(request_id)
        if stored is not None:
            self.answered.remember(request_id, stored, now)
            carrier.send(_WORKER_REPLY, messages.reply(stored), reply_to=request_id)

    def connection_ready(self, carrier: Carrier, now: float) -> None:
        """Write what waits on the new connection, oldest first.

        Each message is a copy of its reply, so a full buffer would need its size twice. What is
        above ``FIRST_BATCH_BYTES`` keeps its deadlines, and is flushed.
        """
        left = FIRST_BATCH_BYTES
        for reply in self.buffer:
            if reply.sent_over != carrier.number and not reply.uncommitted:
                left -= len(reply.payload)
                if left < 0:
                    return
                self._write(reply, carrier)
                # A flush under way is not disturbed: whichever is first ends the waiting.
                if not reply.flushing:
                    self.deadlines.set(reply.request_id, now + self._settings.reply_ack_timeout)

    def hurry(self, now: float) -> None:
        """Flush everything that waits, now: the worker is about to end."""
        for reply in self.buffer:
            if not reply.flushing:
                reply.uncommitted = False  # there is no time left to wait for a disk
                self.patience.discard(reply.request_id)
                self.deadlines.set(reply.request_id, now)

    def waiting_on(self, generation: int) -> bool:
        """Whether an acknowledgement over this socket is still outstanding."""
        return self.buffer.carried_by(generation) > 0

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do next."""
        # At the limit the end of a flush is what is waited for, and that is an input. A deadline
        # here would make the worker spin until then.
        full = len(self._flushing) >= self._settings.flushes_at_once
        return earliest(self.patience.earliest(), None if full else self.deadlines.earliest())

    def tick(self, carrier: Carrier | None, now: float) -> None:
        """Offer what has waited long enough for the journal, and flush what is due."""
        # A disk that stalls must not cost the reply. It is offered as any other is, because flushes
        # alone may be too slow for all of them, or refused.
        while (request_id := self.patience.pop_due(now)) is not None:
            reply = self.buffer.get(request_id)
            assert reply is not None  # its deadline would have ended with it
            text = "a reply waited too long for the journal, and is sent without it"
            self.error("journal_slow", text, reply)
            self.committed(request_id, carrier, now)
        while len(self._flushing) < self._settings.flushes_at_once:
            request_id = self.deadlines.pop_due(now)
            if request_id is None:
                return
            reply = self.buffer.get(request_id)
            # A reply that was evicted is still on its way. Of two, the server takes the first one
            # that it gets, and this one has no deadline until it is known what became of that.
            if reply is not None and request_id not in self._flushing:
                self.buffer.flush_began(reply, self._keys.current)
                self._flushing.add(request_id)
                self._outbox.put(Flush(request_id, reply.payload, self._keys.current))

    def flush_succeeded(self, request_id: str, now: float) -> bool:
        """Returns whether this reply was still waited for."""
        # None when the gateway has acknowledged it meanwhile: both ways were open, one was first.
        reply = self._flush_ended(request_id, failed=False)
        if reply is not None:
            self._keys.accepted(reply.flush_key)
            if reply.sent_over is not None:
                # On a slow line it may still be in the send queue. There it delays others.
                self._outbox.put(Withdraw(reply.sent_over, request_id))
        if not self._delivered(request_id, "flush", now):
            return False
        self.flushed += 1
        return True

    def flush_failed(
        self,
        request_id: str,
        status: int | None,
        message: str,
        retry_after: float | None,
        carrier: Carrier | None,
        now: float,
    ) -> bool:
        """Plan the next try. Returns True when the reply had to be given up."""
        reply = self._flush_ended(request_id, failed=True)
        if reply is None:
            has_time = request_id in self.deadlines or request_id in self.patience
            if request_id in self.buffer and not has_time:
                self.deadlines.set(request_id, now)
            return False
        if status in PERMANENT:
            self.buffer.remove(request_id)
            self.lost += 1
            text = f"the API will never accept this reply (HTTP {status}): {message}"
            self.error("reply_refused", text, reply)
            return True
        if status in (401, 403) and self._keys.refused(reply.flush_key):
            delay = 0.0  # with the other key, immediately
        else:
            delay = self._retry.delay(reply.flush_failures - 1, self._random)
        # Retry-After is a lower bound, within the schedule and within one extension interval: a
        # reply is of use only while its lease is valid, a lease outlives a few intervals, and
        # without a connection nothing extends it. The jitter keeps workers that were refused
        # together from coming back together.
        wished = min(retry_after or 0.0, FLUSH_SCHEDULE[-1], self._leases.interval)
        delay = max(delay, wished * (1 + FLUSH_JITTER * self._random()))
        if carrier is not None and reply.sent_over != carrier.number:
            # It was not written there: it was more than fits into the first batch, or it has left
            # its acknowledgement to a drained connection. Repeated flushes alone would cost it its
            # lease while the API refuses them.
            self._write(reply, carrier)
            delay = max(delay, self._settings.reply_ack_timeout)
        self.deadlines.set(request_id, now + delay)
        text = f"a reply could not be flushed: {message}; trying again in {delay:.1f} s"
        self.error("flush_failed", text, reply)
        return False

    def error(self, kind: str, text: str, reply: BufferedReply) -> None:
        """Put an ``error`` event about a reply, which is named by its run and its function."""
        self._outbox.put(
            ErrorOccurred(
                kind,
                text,
                reply.request_id,
                run_id=reply.run_id,
                function_slug=reply.function_slug,
            )
        )

    def _flush_ended(self, request_id: str, *, failed: bool) -> BufferedReply | None:
        """Returns the reply that was flushed, None when it does not wait any more."""
        self._flushing.discard(request_id)
        reply = self.buffer.get(request_id)
        if reply is None or not reply.flushing:
            return None
        self.buffer.flush_ended(reply, failed=failed)
        return reply

    def _forget_deadlines(self, request_id: str) -> None:
        self.deadlines.discard(request_id)
        self.patience.discard(request_id)

    def _delivered(self, request_id: str, via: str, now: float) -> bool:
        self._forget_deadlines(request_id)
        reply = self.buffer.remove(request_id)
        if reply is None:
            return False
        # Remembered with its reply: the gateway can send the request again for two minutes.
        early = self.answered.remember(request_id, reply.payload, now)
        if early and now - self._forgetting_reported_at >= REPEAT_WINDOW:
            self._forgetting_reported_at = now
            text = (
                f"{self.answered.forgotten} answered requests were forgotten before the "
                f"{REPEAT_WINDOW:g} s in which Inngest may send them again: too many are answered "
                "for the memory that is set aside. One that comes again is executed again"
            )
            self.error("answered_requests_forgotten", text, reply)
        self._outbox.put(ReplyAcknowledged(request_id, via))
        return True

    def _write(self, reply: BufferedReply, carrier: Carrier) -> None:
        self.buffer.sent(reply, carrier.number)
        carrier.send(_WORKER_REPLY, messages.reply(reply.payload), reply_to=reply.request_id)
