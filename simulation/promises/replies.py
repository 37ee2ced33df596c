"""What a worker promises about replies: written, flushed, and sent again until they are stored."""

from dataclasses import dataclass
from typing import Final

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core import inputs
from inngest_connect.core.connections.connections import GAVE_WAY
from inngest_connect.core.shutdown import Stage
from inngest_connect.core.wire.messages import ExecutionResult
from inngest_connect.protocol import DECODE_ERRORS, GATEWAY_READ_LIMIT
from inngest_connect.protocol import connect_pb2 as pb

from .connections import ConnectionPromises
from .keys import Keys
from .leases import LONGEST_RUN
from .limits import NEVER, ROUNDING, Limits
from .requests import GIVEN_UP
from .watch import Watch, payload_of

SCHEDULE: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
JITTER: Final = 0.2
PERMANENT: Final = frozenset({400, 413, 422})
FIRST_BATCH: Final = 32 * 1024 * 1024
"""Bytes that are written when a connection is ready; the rest is flushed."""
_ENVELOPE: Final = 16


@dataclass(slots=True)
class Waiting:
    """One reply that the server has not stored. Times are virtual seconds."""

    written_on: int | None = None
    flushing: bool = False
    failures: int = 0
    uncommitted: bool = False
    """The journal has to have it before it is offered."""
    not_before: float = 0.0
    payload: bytes = b""


class ReplyPromises:
    """Has its own limits, because flushes wait for one another."""

    def __init__(self, watch: Watch, connections: ConnectionPromises, keys: Keys) -> None:
        self._watch = watch
        self._connections = connections
        self._keys = keys
        self.waiting: dict[str, Waiting] = {}
        self._due = Limits()
        self._patience = Limits()
        """Until when a reply waits for the journal."""
        self._flushing: dict[str, None] = {}
        self._results: dict[str, ExecutionResult] = {}
        self._too_large: set[str] = set()
        self._rewrites = False
        """A connection began or ended in this turn, so what waits is written again."""
        self._hurried = False
        self._to_write: set[str] = set()
        """Replies that were committed in this turn, or whose flush has failed."""
        self._completed_offline = ""
        """The reply that was ready in this turn, at whose end there is no connection."""
        self._to_acknowledge = ""
        watch.on_input(inputs.ExecutionFinished, self._finished)
        watch.on_input(inputs.JournalCommitted, self._committed)
        watch.on_input(inputs.JournalRecovered, self._recovered)
        watch.on_command(seen.RequestCompleted, self._completed)
        watch.on_sent(pb.WORKER_REPLY, self._written)
        watch.on_command(do.Send, self._fits)
        watch.on_command(do.Flush, self._flush_began)
        watch.on_input(inputs.FlushSucceeded, self._flush_succeeded)
        watch.on_input(inputs.FlushFailed, self._flush_failed)
        watch.on_message(pb.WORKER_REPLY_ACK, self._acknowledged)
        watch.on_command(seen.ReplyAcknowledged, self._delivered)
        watch.on_command(seen.ErrorOccurred, self._error)
        watch.on_command(seen.Connected, self._connected)
        watch.on_command(seen.Disconnected, self._disconnected)
        watch.on_turn_end(self._turn_ends)

    # --- a reply is ready ----------------------------------------------------------------------

    def _finished(self, finished: inputs.ExecutionFinished) -> None:
        if finished.result is not None:
            self._results[finished.request_id] = finished.result

    def _completed(self, event: seen.RequestCompleted) -> None:
        watch, request_id = self._watch, event.request_id
        watch.tally["replies"] += 1
        if request_id in self.waiting:
            raise watch.broken("replies", f"{request_id} is completed for the second time")
        self.waiting[request_id] = reply = Waiting()
        if watch.settings.journal and watch.settings.journal_commit == "required":
            reply.uncommitted = True
            self._patience.set(request_id, watch.now + watch.settings.journal_patience)
        elif watch.core.connections.current is None:
            watch.tally["flushes_offline"] += 1
            self._completed_offline = request_id
            self._due_at(request_id, watch.now)
        else:
            watch.tally["replies_on_line"] += 1
            self._due_at(request_id, watch.now + watch.settings.reply_ack_timeout)
        reply.not_before = self._due.get(request_id) or 0.0

    def _committed(self, committed: inputs.JournalCommitted) -> None:
        watch = self._watch
        for request_id in committed.request_ids:
            reply = self.waiting.get(request_id)
            if reply is None or not reply.uncommitted:
                continue
            watch.tally["waits_for_commit"] += 1
            self._offered(request_id, reply)

    def _offered(self, request_id: str, reply: Waiting) -> None:
        watch = self._watch
        reply.uncommitted = False
        self._patience.clear(request_id)
        reply.not_before = watch.now
        if watch.core.connections.current is not None:
            reply.not_before += watch.settings.reply_ack_timeout
            self._to_write.add(request_id)
        self._due_at(request_id, reply.not_before)

    def _recovered(self, recovered: inputs.JournalRecovered) -> None:
        watch = self._watch
        here = {entry.request.request_id for entry in watch.core.requests}
        for entry in recovered.entries:
            request_id = entry.request.request_id
            if request_id not in here and entry.age < LONGEST_RUN:
                watch.tally["recovers"] += 1
                self.waiting[request_id] = Waiting()
                self._due_at(request_id, watch.now)

    def _due_at(self, request_id: str, at: float) -> None:
        self._due.set(request_id, at)

    def _written(self, generation: int, data: bytes) -> None:
        watch, payload = self._watch, payload_of(data) or b""
        response = pb.SDKResponse.FromString(payload)
        request_id = response.request_id
        reply = self.waiting.get(request_id)
        if reply is None:
            return  # an answered request came again
        if reply.uncommitted:
            raise watch.broken("waits_for_commit", f"{request_id} is written before its commit")
        self._to_write.discard(request_id)
        # The turn that writes it first may be the one that closes its connection.
        closes = request_id == self._completed_offline
        self._keeps_result(reply, response, payload)
        reply.written_on = generation
        if (self._rewrites or closes) and not reply.flushing:
            at = watch.now + watch.settings.reply_ack_timeout
            self._due_at(request_id, at)
            reply.not_before = at

    def _keeps_result(self, reply: Waiting, response: pb.SDKResponse, payload: bytes) -> None:
        watch = self._watch
        if reply.payload:
            if reply.payload != payload:
                text = f"the reply to {response.request_id} has changed"
                raise watch.broken("keeps_result", text)
            return
        reply.payload = payload
        result = self._results.pop(response.request_id, None)
        if result is None:
            return  # it was refused
        replaced = response.body != result.body
        if replaced or response.request_id in self._too_large:
            watch.tally["reports_too_large"] += 1
            if not (replaced and response.request_id in self._too_large):
                text = f"{response.request_id} is replaced: {replaced}"
                raise watch.broken("reports_too_large", text)
            return
        watch.tally["keeps_result"] += 1
        sent = (response.status, response.body, response.no_retry, response.retry_after or None)
        if sent != (result.status, result.body, result.no_retry, result.retry_after):
            raise watch.broken("keeps_result", f"{sent} is sent for {result}")

    def _fits(self, command: do.Send) -> None:
        watch, size = self._watch, len(command.data)
        watch.tally["fits"] += 1
        limit = watch.settings.max_reply_bytes if command.reply_to else GATEWAY_READ_LIMIT
        if size > limit:
            raise watch.broken("fits", f"a message of {size} bytes, the limit is {limit}")

    # --- flushes -------------------------------------------------------------------------------

    def _flush_began(self, command: do.Flush) -> None:
        watch, request_id = self._watch, command.request_id
        watch.tally["flushes_once"] += 1
        if request_id in self._flushing:
            raise watch.broken("flushes_once", f"{request_id} is flushed twice at the same time")
        self._flushing[request_id] = None
        if len(self._flushing) > watch.settings.flushes_at_once:
            raise watch.broken("flushes_once", f"{len(self._flushing)} flushes at the same time")
        reply = self.waiting.get(request_id)
        if reply is None:
            raise watch.broken("flushes_once", f"{request_id} is flushed and does not wait")
        hurries = watch.core.shutdown.stage not in (
            Stage.RUNNING, Stage.SETTLING, Stage.FINISHING
        )  # fmt: skip
        if not hurries and watch.now < reply.not_before - ROUNDING:
            early = reply.not_before - watch.now
            raise watch.broken("flushes_again", f"{request_id} is flushed {early:.3f} s early")
        if reply.failures:
            watch.tally["flushes_again"] += 1
        elif reply.written_on is not None:
            watch.tally["flushes_unacknowledged"] += 1
        self._keeps_result(reply, pb.SDKResponse.FromString(command.payload), command.payload)
        if reply.uncommitted and not hurries:
            raise watch.broken("waits_for_commit", f"{request_id} is flushed before its commit")
        reply.flushing, reply.uncommitted = True, False
        self._patience.clear(request_id)
        self._due.clear(request_id)

    def _flush_ended(self, request_id: str) -> Waiting | None:
        self._flushing.pop(request_id, None)
        reply = self.waiting.get(request_id)
        if reply is None or not reply.flushing:
            return None  # that reply was evicted, and another one may have been made
        reply.flushing = False
        return reply

    def _flush_succeeded(self, succeeded: inputs.FlushSucceeded) -> None:
        if self._flush_ended(succeeded.request_id) is not None:
            self._keys.flush_accepted(succeeded.request_id)
            self._to_acknowledge = succeeded.request_id

    def _flush_failed(self, failed: inputs.FlushFailed) -> None:
        watch, request_id = self._watch, failed.request_id
        reply = self._flush_ended(request_id)
        if reply is None and self._due.get(request_id) == NEVER:
            self._due_at(request_id, watch.now)
        if reply is None or failed.status in PERMANENT:
            return
        reply.failures += 1
        least = longest = 0.0
        if not (failed.status in (401, 403) and self._keys.flush_refused(request_id)):
            seconds = SCHEDULE[min(reply.failures, len(SCHEDULE)) - 1]
            least, longest = seconds * (1 - JITTER), seconds * (1 + JITTER)
        interval = watch.core.leases.interval
        wished = min(failed.retry_after or 0.0, SCHEDULE[-1], interval)
        reply.not_before = watch.now + max(least, wished)
        at = watch.now + max(longest, wished * (1 + JITTER))
        current = watch.core.connections.current
        if current is not None and reply.written_on != current.number:
            watch.tally["writes_unflushed"] += 1
            self._to_write.add(request_id)
            written = watch.now + watch.settings.reply_ack_timeout
            at, reply.not_before = max(at, written), max(reply.not_before, written)
        self._due_at(request_id, at)

    # --- the end of the waiting ----------------------------------------------------------------

    def _acknowledged(self, generation: int, data: bytes) -> None:
        if self._watch.core.connections.get(generation) is None:
            return
        try:
            ack = pb.WorkerReplyAckData.FromString(payload_of(data) or b"")
        except DECODE_ERRORS:
            return
        if ack.request_id in self.waiting:
            self._to_acknowledge = ack.request_id

    def _delivered(self, event: seen.ReplyAcknowledged) -> None:
        if event.request_id not in self.waiting:
            raise self._watch.broken("reports", f"{event} for a reply that does not wait")
        if event.request_id == self._to_acknowledge:
            self._to_acknowledge = ""
        self._forget(event.request_id)

    def _error(self, event: seen.ErrorOccurred) -> None:
        if event.kind == "reply_too_large" and event.request_id is not None:
            self._too_large.add(event.request_id)
        elif event.kind == "reply_evicted":
            self._watch.tally["evicts_oldest"] += 1
            if event.request_id != next(iter(self.waiting)):
                text = f"{event.request_id} is given up before an older reply"
                raise self._watch.broken("evicts_oldest", text)
        elif event.kind == "journal_slow" and event.request_id is not None:
            at, reply = self._patience.get(event.request_id), self.waiting[event.request_id]
            if at is None or self._watch.now < at - ROUNDING:
                raise self._watch.broken("waits_for_commit", f"{event} comes too early")
            self._offered(event.request_id, reply)
        if event.kind in GIVEN_UP and event.request_id is not None:
            self._forget(event.request_id)

    def _forget(self, request_id: str) -> None:
        self._patience.clear(request_id)
        self.waiting.pop(request_id, None)
        self._results.pop(request_id, None)
        self._due.clear(request_id)

    # --- connections ---------------------------------------------------------------------------

    def _connected(self, event: seen.Connected) -> None:
        # A connection that is drained may still bring acknowledgements.
        self._rewrites = not self._connections.replaces

    def _disconnected(self, event: seen.Disconnected) -> None:
        # One that gave way to an attempt leaves its replies to their flush.
        gave_way = event.reason == GAVE_WAY
        if event.expected and not gave_way and self._watch.core.connections.current is not None:
            self._rewrites = True

    def _turn_ends(self) -> None:
        watch, core = self._watch, self._watch.core
        self._completed_offline = ""
        if self._to_acknowledge:
            raise watch.broken("reports", f"{self._to_acknowledge} is stored and not reported")
        if self._to_write:
            raise watch.broken("writes_unflushed", f"{self._to_write} could be written")
        if self._rewrites:
            self._rewrites = False
            self._check_rewritten()
        if self._connections.replaced and not core.finished:
            self._check_replaced()
        if core.finished or not self.waiting:
            return
        stage = core.shutdown.stage
        if stage is Stage.FLUSHING and (core.shutdown.forced or core.connections.current is None):
            self._hurry()
        next_turn = NEVER if watch.due is None else watch.due
        if (waits := self._patience.missed(next_turn)) is not None:
            raise watch.broken("waits_for_commit", f"{waits} is over, next turn: {watch.due}")
        if len(self._flushing) >= watch.settings.flushes_at_once:
            return
        while (missed := self._due.missed(next_turn)) is not None:
            if missed[0] in self._flushing:  # a reply that was evicted is still on its way
                self._due.set(missed[0], NEVER)
                continue
            text = f"{missed[0]} is due at {missed[1]:.3f}, next turn: {watch.due}"
            raise watch.broken("flushes_unacknowledged", text)

    def _check_rewritten(self) -> None:
        current = self._watch.core.connections.current
        if current is None or not self.waiting:
            return
        self._watch.tally["rewrites_replies"] += 1
        if self._watch.core.buffer.size_bytes > FIRST_BATCH:
            return
        for request_id, reply in self.waiting.items():
            if reply.written_on != current.number and not reply.uncommitted:
                text = f"{request_id} is not written on connection {current.number}"
                raise self._watch.broken("rewrites_replies", text)

    def _check_replaced(self) -> None:
        carriers = {reply.written_on for reply in self.waiting.values()}
        self._watch.tally["closes_replaced"] += 1
        if needless := self._connections.replaced - carriers:
            text = f"connections {sorted(needless)} wait for nothing"
            raise self._watch.broken("closes_replaced", text)

    def _hurry(self) -> None:
        if not self._hurried:
            self._hurried = True
            for request_id, reply in self.waiting.items():
                reply.uncommitted = False
                self._patience.clear(request_id)
                if not reply.flushing and not reply.failures:
                    self._due_at(request_id, self._watch.now)
