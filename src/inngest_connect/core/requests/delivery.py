"""ReplyDelivery: gets every reply stored by the server, over a socket or over HTTP.

A reply is written on the newest usable socket. Without a WORKER_REPLY_ACK in time it is flushed
over HTTP; without a socket it is flushed at once; when a new connection is ready, everything that
is still waiting is written there too (sending twice is safe: the first reply wins). A flush is
repeated until the API accepts it; only an answer that can never change (400) ends it, loudly.
"""

from collections.abc import Callable
from typing import Final

from ..commands import Command, Flush, Send, Withdraw
from ..deadlines import Deadlines
from ..events import ErrorOccurred, ReplyAcknowledged
from ..retry import FLUSH_SCHEDULE, ScheduleRetry
from ..settings import CoreSettings
from ..signing_keys import SigningKeys
from ..wire import messages
from .answered_requests import REPEAT_WINDOW, AnsweredRequests
from .message_buffer import BufferedReply, MessageBuffer

PERMANENT: Final = frozenset({400, 413, 422})
"""Statuses that the same bytes will get again."""

WRITTEN_AT_ONCE: Final = 32 * 1024 * 1024
"""Bytes of replies that are written when a connection is ready; a socket queues no more."""


class ReplyDelivery:
    """Times are monotonic seconds. A *carrier* is the generation of the socket to write on."""

    def __init__(
        self,
        buffer: MessageBuffer,
        settings: CoreSettings,
        keys: SigningKeys,
        random: Callable[[], float],
        lease_interval: Callable[[], float],
    ) -> None:
        """``lease_interval`` is the time between the extensions of a lease."""
        self.buffer = buffer
        self.answered = AnsweredRequests()
        self.flushed = 0
        self.lost = 0
        self.about: Callable[[str], tuple[str | None, str | None]] = _unknown
        """Run id and function slug of a request; the request table sets it."""
        self._settings = settings
        self._keys = keys
        self._random = random
        self._lease_interval = lease_interval
        self._retry = ScheduleRetry(FLUSH_SCHEDULE)
        self.deadlines = Deadlines()
        self._flushing = 0
        self._forgetting_reported_at = float("-inf")

    def add(
        self, request_id: str, payload: bytes, carrier: int | None, now: float, out: list[Command]
    ) -> list[str]:
        """Keep and send a reply. Returns the ids of replies that had to make room for it."""
        deliver_at = now if carrier is None else now + self._settings.reply_ack_timeout
        evicted = self.buffer.add(request_id, payload)
        for lost_id in evicted:
            self.deadlines.discard(lost_id)
            self.lost += 1
            text = (
                "the buffer of unacknowledged replies is full, so the oldest reply was given "
                "up; Inngest will run that request again. Raise max_buffer_bytes (now "
                f"{self.buffer.max_bytes} bytes) or find out why replies are not accepted"
            )
            out.append(self.error("reply_evicted", text, lost_id))
        reply = self.buffer.get(request_id)
        if reply is not None:
            self.deadlines.set(request_id, deliver_at)
            if carrier is not None:
                self._write(reply, carrier, out)
        return evicted

    def acknowledged(self, request_id: str, now: float, out: list[Command]) -> bool:
        """WORKER_REPLY_ACK. Returns whether this reply was waited for."""
        return self._delivered(request_id, "socket", now, out)

    def repeat(self, request_id: str, carrier: int, now: float, out: list[Command]) -> None:
        """The same request came again, and its reply is kept: send it again."""
        reply = self.buffer.get(request_id)
        if reply is not None:
            self._write(reply, carrier, out)
            return
        stored = self.answered.reply(request_id)
        if stored is not None:
            self.answered.remember(request_id, stored, now)
            out.append(Send(carrier, messages.reply(stored), reply_to=request_id))

    def connection_ready(self, carrier: int, now: float, out: list[Command]) -> None:
        """Write what waits on the new socket, oldest first.

        Each message is a copy of its reply, so that a full buffer would need its size once more.
        What is above ``WRITTEN_AT_ONCE`` is flushed as before.
        """
        room = WRITTEN_AT_ONCE
        for reply in self.buffer:
            if reply.sent_over != carrier:
                room -= len(reply.payload)
                if room < 0:
                    return
                self._write(reply, carrier, out)
                if not reply.flushing:
                    self.deadlines.set(reply.request_id, now + self._settings.reply_ack_timeout)

    def hurry(self, now: float) -> None:
        """Flush everything that waits, now: the worker is about to end."""
        for reply in self.buffer:
            if not reply.flushing:
                self.deadlines.set(reply.request_id, now)

    def waiting_on(self, generation: int) -> bool:
        """Whether an acknowledgement over this socket is still outstanding."""
        return self.buffer.carried_by(generation) > 0

    def next_deadline(self) -> float | None:
        if self._flushing >= self._settings.flushes_at_once:
            return None
        return self.deadlines.earliest()

    def tick(self, now: float, out: list[Command]) -> None:
        """Flush what has waited long enough."""
        while self._flushing < self._settings.flushes_at_once:
            request_id = self.deadlines.pop_due(now)
            if request_id is None:
                return
            reply = self.buffer.get(request_id)
            if reply is not None:
                reply.flushing = True
                reply.flush_key = self._keys.current
                self._flushing += 1
                out.append(Flush(request_id, reply.payload, self._keys.current))

    def flush_succeeded(self, request_id: str, now: float, out: list[Command]) -> bool:
        """Returns whether this reply was still waited for."""
        reply = self._flush_ended(request_id)
        if reply is not None:
            self._keys.accepted(reply.flush_key)
            if reply.sent_over is not None:
                # On a slow line it may still wait behind others; sent twice, it delays them.
                out.append(Withdraw(reply.sent_over, request_id))
        if not self._delivered(request_id, "flush", now, out):
            return False
        self.flushed += 1
        return True

    def flush_failed(
        self,
        request_id: str,
        status: int | None,
        message: str,
        retry_after: float | None,
        now: float,
        out: list[Command],
    ) -> bool:
        """Plan the next try. Returns True when the reply had to be given up."""
        reply = self._flush_ended(request_id)
        if reply is None:
            return False
        if status in PERMANENT:
            self.buffer.remove(request_id)
            self.lost += 1
            text = f"the API will never accept this reply (HTTP {status}): {message}"
            out.append(self.error("reply_refused", text, request_id))
            return True
        reply.flush_failures += 1
        if status in (401, 403) and self._keys.refused(reply.flush_key):
            delay = 0.0
        else:
            delay = self._retry.delay(reply.flush_failures - 1, self._random)
        # The server's wish is a lower bound, within the schedule and within one extension interval:
        # a reply is of use only while its lease is valid, a lease outlives a few intervals, and
        # without a socket nothing extends it. The jitter keeps workers that were refused together
        # from coming together.
        wished = min(retry_after or 0.0, FLUSH_SCHEDULE[-1], self._lease_interval())
        delay = max(delay, wished * (1 + 0.2 * self._random()))
        self.deadlines.set(request_id, now + delay)
        text = f"a reply could not be flushed: {message}; trying again in {delay:.1f} s"
        out.append(self.error("flush_failed", text, request_id))
        return False

    def error(self, kind: str, text: str, request_id: str) -> ErrorOccurred:
        """An error about a request, named by its run and function as long as they are known."""
        run_id, function_slug = self.about(request_id)
        return ErrorOccurred(kind, text, request_id, run_id=run_id, function_slug=function_slug)

    def _flush_ended(self, request_id: str) -> BufferedReply | None:
        self._flushing -= 1
        reply = self.buffer.get(request_id)
        if reply is not None:
            reply.flushing = False
        return reply

    def _delivered(self, request_id: str, via: str, now: float, out: list[Command]) -> bool:
        self.deadlines.discard(request_id)
        reply = self.buffer.remove(request_id)
        if reply is None:
            return False
        early = self.answered.remember(request_id, reply.payload, now)
        if early and now - self._forgetting_reported_at >= REPEAT_WINDOW:
            self._forgetting_reported_at = now
            text = (
                f"{self.answered.forgotten} answered requests were forgotten before the "
                f"{REPEAT_WINDOW:g} s in which Inngest may send them again: too many are answered "
                "for the memory that is set aside. One that comes again is executed again"
            )
            out.append(self.error("answered_requests_forgotten", text, request_id))
        out.append(ReplyAcknowledged(request_id, via))
        return True

    def _write(self, reply: BufferedReply, carrier: int, out: list[Command]) -> None:
        self.buffer.sent(reply, carrier)
        out.append(Send(carrier, messages.reply(reply.payload), reply_to=reply.request_id))


def _unknown(request_id: str) -> tuple[None, None]:
    return None, None
