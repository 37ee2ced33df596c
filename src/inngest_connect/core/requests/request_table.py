"""RequestTable: every request from its arrival until its reply is stored by the server.

    arrived -> ACKNOWLEDGING -> QUEUED -> RUNNING -> ANSWERED -> (delivered, forgotten)

A request belongs to this worker only when its acknowledgement was written on the socket that
brought it. Before that it is abandoned without a trace, because the server gives it to another
worker. From then on it is leased, and the lease is extended until the *reply is stored by the
server*, not until the function returns: a reply whose lease has expired is of no use.

A refused extension ends the extensions, not the function. A refusal can be false, and the first
reply wins in any case, so what the function returns is delivered. With ``on_lease_lost="cancel"``
the request is LOST: its function is cancelled where that is possible, and a shutdown does not wait
for it; it counts against the concurrency limit until it has really ended.

See docs/protocol.md#requests.
"""

import enum
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ...protocol import connect_pb2 as pb
from ..commands import CancelExecution, Execute, JournalErase, JournalRecord
from ..events import (
    ErrorOccurred,
    FunctionFailed,
    LeaseLost,
    Recovered,
    RequestCompleted,
    RequestStarted,
)
from ..inputs import JournalEntry
from ..outbox import Outbox
from ..settings import CoreSettings, WorkerIdentity
from ..wire import messages
from ..wire.messages import ExecutionResult
from ..wire.remote_text import clean
from ..wire.ulid import is_ulid
from .carrier import Carrier
from .delivery import ReplyDelivery
from .failures import failure_of
from .leases import LeaseTable
from .long_running import LONGEST_RUN, LongRunning
from .message_buffer import BufferedReply


class Progress(enum.Enum):
    """How far a request has come."""

    ACKNOWLEDGING = "ACKNOWLEDGING"
    """The acknowledgement was handed to the socket, and is not reported as written yet."""
    QUEUED = "QUEUED"
    """Waits for a slot, or for the end of this turn."""
    RUNNING = "RUNNING"
    ANSWERED = "ANSWERED"
    """Its reply is buffered or on its way."""
    LOST = "LOST"
    """Its lease was refused and its function was asked to stop."""


@dataclass(slots=True)
class InFlight:
    """One request. Times are monotonic seconds."""

    request: pb.GatewayExecutorRequestData
    received_at: float
    progress: Progress = Progress.ACKNOWLEDGING
    refusal: str | None = None
    """Why this worker cannot run it; it is then answered with a retryable error."""
    started_at: float | None = None
    acknowledgements: int = 1
    """How many are on their way: the request can come again on another socket meanwhile."""


# Looked up once: reading a member of a protobuf enum costs as much as parsing a small message.
_WORKER_REQUEST_EXTEND_LEASE: Final = pb.GatewayMessageType.WORKER_REQUEST_EXTEND_LEASE
_STATUS_NAMES: Final = {number: name for name, number in pb.SDKResponseStatus.items()}

# A tuple is searched by identity; hashing a member of an enum costs several times as much.
_UNFINISHED: Final = (Progress.ACKNOWLEDGING, Progress.QUEUED, Progress.RUNNING)

# Seconds, as a text: the least that the server accepts (docs/protocol.md#replies).
RETRY_AFTER: Final = "1"

# Bytes of a payload that is kept when its function has ended; a copy without it costs more.
SMALL_PAYLOAD: Final = 1024


class RequestTable:
    """Owns the requests; shares the lease table and the delivery with the worker core."""

    def __init__(
        self,
        identity: WorkerIdentity,
        settings: CoreSettings,
        leases: LeaseTable,
        delivery: ReplyDelivery,
        outbox: Outbox,
    ) -> None:
        self.long_running = LongRunning(settings, self.error)
        self.queue: OrderedDict[str, InFlight] = OrderedDict()
        """Acknowledged and leased, but not started."""
        self.running = 0
        self.unfinished = 0
        self.acknowledgements_due = 0
        """Acknowledgements that are not reported yet, repeated ones included."""
        self.last_acknowledged_at = float("-inf")
        self._functions = {app.name: app.function_slugs for app in identity.apps}
        self._sdk_version = f"inngest-{identity.sdk_language}:v{identity.sdk_version}"
        self._settings = settings
        self._leases = leases
        self._delivery = delivery
        self._outbox = outbox
        # In order of arrival, so that the first unfinished entry is the oldest.
        self._requests: dict[str, InFlight] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[InFlight]:
        return iter(self._requests.values())

    def oldest_unfinished(self) -> InFlight | None:
        """The unfinished request that arrived first."""
        return next((e for e in self._requests.values() if e.progress in _UNFINISHED), None)

    def unfinished_ids(self) -> list[str]:
        """Requests whose function has not ended, without those whose lease is lost."""
        return [key for key, entry in self._requests.items() if entry.progress in _UNFINISHED]

    def error(self, kind: str, text: str, request_id: str) -> None:
        """Put an ``error`` event about a request that is in the table."""
        self._error(kind, text, self._requests[request_id].request)

    def _error(self, kind: str, text: str, request: pb.GatewayExecutorRequestData) -> None:
        run_id, slug = request.run_id, request.function_slug
        self._outbox.put(
            ErrorOccurred(kind, text, request.request_id, run_id=run_id, function_slug=slug)
        )

    # --- arrival ---------------------------------------------------------------------------

    def arrived(self, request: pb.GatewayExecutorRequestData, carrier: Carrier, now: float) -> bool:
        """Acknowledge a request. Returns False when it was known already.

        The gateway sends a request again when it has not seen the acknowledgement, on any
        connection of this worker. It must be acknowledged again there, and never executed twice.
        """
        request_id = request.request_id
        known = self._requests.get(request_id)
        if known is None and request_id not in self._delivery.answered:
            entry = InFlight(request, now)
            functions = self._functions.get(request.app_name)
            slug = request.function_slug
            if functions is None:
                ours = ", ".join(sorted(self._functions))
                app = clean(request.app_name)
                entry.refusal = f"this worker has no app {app!r}; it has: {ours}"
            elif slug not in functions and f"{request.app_name}-{slug}" not in functions:
                app = request.app_name
                entry.refusal = f"this worker's app {app!r} has no function {clean(slug)!r}"
            # A refused request is acknowledged too, or the error that names the cause would have no
            # request to answer.
            self._requests[request_id] = entry
            self.unfinished += 1
            self.acknowledgements_due += 1
            carrier.acknowledge(request)
            return True
        if known is None and self._delivery.answered.reply(request_id) is None:
            # An acknowledgement promises a reply. Without one the gateway asks another worker.
            text = (
                "a request that was answered came again, and its reply is not kept any more: it "
                "is neither acknowledged nor executed here"
            )
            self._error("repeated_request_refused", text, request)
            return False
        if known is not None and known.progress is Progress.LOST:
            return False
        # On the connection that brought it, which need not be the one of the first time: the
        # gateway waits for the acknowledgement there. What is done for it depends on how far it has
        # come.
        self.acknowledgements_due += 1
        carrier.acknowledge(request)
        if known is not None:
            if known.progress is Progress.ACKNOWLEDGING:
                known.acknowledgements += 1
            if is_ulid(request.lease_id):
                self._leases.grant(request_id, request.lease_id, now)
        if known is None or known.progress is Progress.ANSWERED:
            self._delivery.repeat(request_id, carrier, now)
        return False

    def acknowledgement_written(self, request_id: str, carrier: Carrier | None, now: float) -> None:
        """The request belongs to this worker: lease it, and run it when there is a slot."""
        self.acknowledgements_due -= 1
        # Of a repeated request, too: the gateway fails each forward that WORKER_PAUSE overtakes.
        self.last_acknowledged_at = now
        entry = self._requests.get(request_id)
        if entry is None or entry.progress is not Progress.ACKNOWLEDGING:
            return  # abandoned by a shutdown, or the second of two acknowledgements
        # Presenting a lease id that is not a ULID makes the gateway close the whole connection.
        if is_ulid(entry.request.lease_id):
            self._leases.grant(request_id, entry.request.lease_id, now)
        if self._settings.journal:
            self._outbox.put(JournalRecord(entry.request))
        if entry.refusal is None:
            # Started by ``start_ready`` at the end of this turn, behind what waits already.
            entry.progress = Progress.QUEUED
            self.queue[request_id] = entry
        else:
            self._error("request_refused", entry.refusal, entry.request)
            refusal = messages.error_result(
                "function_not_found", entry.refusal, sdk_version=self._sdk_version
            )
            self._answer(entry, refusal, carrier, now)

    def acknowledgement_failed(self, request_id: str) -> None:
        """Abandon the request: an answer would use up one of its retries."""
        self.acknowledgements_due -= 1
        entry = self._requests.get(request_id)
        if entry is None or entry.progress is not Progress.ACKNOWLEDGING:
            return
        entry.acknowledgements -= 1
        if entry.acknowledgements:
            return  # it came on two sockets, and the other one can still succeed
        text = (
            "the connection ended before a request could be acknowledged; "
            "the server gives it to another worker"
        )
        self._error("acknowledgement_failed", text, entry.request)
        self.forget(request_id)

    # --- execution -------------------------------------------------------------------------

    def start_ready(self, now: float) -> None:
        """Start queued requests, first in first out, as far as both limits allow."""
        limit = self._settings.max_worker_concurrency
        while self.queue and (limit is None or self.running < limit):
            # Functions that cannot deliver would fill the buffer until replies are evicted.
            if self._delivery.buffer.above_high_water():
                return
            _, entry = self.queue.popitem(last=False)
            entry.progress = Progress.RUNNING
            entry.started_at = now
            self.running += 1
            request = entry.request
            self.long_running.started(request.request_id, self.running, now)
            self._outbox.put(
                RequestStarted(
                    request.request_id,
                    request.run_id,
                    request.function_slug,
                    now - entry.received_at,
                )
            )
            self._outbox.put(Execute(request))

    def finished(
        self,
        request_id: str,
        result: ExecutionResult | None,
        carrier: Carrier | None,
        now: float,
    ) -> None:
        """A function ended; ``result`` is None when it was cancelled."""
        entry = self._requests.get(request_id)
        if entry is None or entry.progress not in (Progress.RUNNING, Progress.LOST):
            return
        # A slot is free from here on, also by the end of a function whose lease was lost.
        self.running -= 1
        self.long_running.ended(request_id)
        if result is not None:
            self._answer(entry, result, carrier, now)
            return
        if entry.progress is Progress.RUNNING:
            text = "the function was cancelled by the shutdown; Inngest will run it again"
            self._error("execution_cancelled", text, entry.request)
        self.forget(request_id, unanswered=entry.progress is Progress.RUNNING)

    def _answer(
        self, entry: InFlight, result: ExecutionResult, carrier: Carrier | None, now: float
    ) -> None:
        request = entry.request
        payload = messages.reply_payload(request, result)
        limit = self._settings.max_reply_bytes - messages.ENVELOPE_BYTES
        if len(payload) > limit:
            # Sent as it is, the gateway would close the connection and every reply on it.
            text = (
                f"the function's output makes a reply of {len(payload)} bytes, and the gateway "
                f"accepts at most {limit} bytes: return less, or a reference to stored data"
            )
            self._error("reply_too_large", text, request)
            # An output stays too large however often it is computed; an error that Inngest may
            # retry stays one that it may retry.
            final = result.no_retry or result.status != pb.SDKResponseStatus.ERROR
            result = messages.error_result(
                "output_too_large", text, no_retry=final, sdk_version=self._sdk_version
            )
            payload = messages.reply_payload(request, result)
        started = entry.started_at if entry.started_at is not None else now
        if entry.progress in _UNFINISHED:  # one that is LOST was subtracted before
            self.unfinished -= 1
        entry.progress = Progress.ANSWERED
        failure = failure_of(result, request.request_payload, self._settings.failure_details)
        if failure is not None and entry.refusal is None:
            self._outbox.put(
                FunctionFailed(
                    request.request_id,
                    request.run_id,
                    request.function_slug,
                    failure.error_type,
                    failure.text,
                    failure.attempt,
                    failure.will_retry,
                    failure.step,
                    failure.stack,
                )
            )
        # Only the names are needed until the reply is delivered, which can take hours.
        if len(request.request_payload) > SMALL_PAYLOAD:
            entry.request = messages.without_payload(request)
        self._outbox.put(
            RequestCompleted(
                request.request_id,
                request.run_id,
                request.function_slug,
                _STATUS_NAMES[result.status],
                now - started,
                started - entry.received_at,
                (failure.text or None) if failure is not None else None,
            )
        )
        reply = BufferedReply(request.request_id, payload, request.run_id, request.function_slug)
        if self._settings.journal:
            self._outbox.put(JournalRecord(entry.request, payload))
            reply.uncommitted = self._settings.journal_commit == "required"
        for evicted in self._delivery.add(reply, carrier, now):
            self.forget(evicted.request_id)

    def recovered(
        self,
        entries: Sequence[JournalEntry],
        predecessor: str,
        carrier: Carrier | None,
        now: float,
    ) -> None:
        """Answer what another process has left behind: by its reply, or by a retryable error.

        To answer twice is safe, as in ``ReplyDelivery``: a reply is for one dispatch of a request,
        and the first one wins, whichever worker it comes from.
        """
        replies = requests = outdated = 0
        for entry in entries:
            request, payload = entry.request, entry.reply
            if request.request_id in self._requests:
                continue  # it was forwarded again, and runs here by now
            if entry.age >= LONGEST_RUN:
                outdated += 1
                self._outbox.put(JournalErase(request.request_id))
                continue
            if payload is None:
                requests += 1
                text = (
                    "the worker process ended while this ran: it will be retried if retries are "
                    f"left ({predecessor}; acknowledged {entry.age:.0f} s ago)"
                )
                result = messages.error_result(
                    "worker_ended", text, retry_after=RETRY_AFTER, sdk_version=self._sdk_version
                )
                payload = messages.reply_payload(request, result)
                self._outbox.put(JournalRecord(request, payload))
            else:
                replies += 1
            # In the table, so that a repetition is answered and not executed.
            self._requests[request.request_id] = InFlight(request, now, Progress.ANSWERED)
            self._delivery.recover(
                BufferedReply(request.request_id, payload, request.run_id, request.function_slug),
                carrier,
                now,
            )
        self._outbox.counters["recovered_replies"] += replies
        self._outbox.counters["recovered_requests"] += requests
        self._outbox.put(Recovered(predecessor, replies, requests, outdated))

    def forget(self, request_id: str, *, unanswered: bool = False) -> None:
        """Nothing is owed to the server for this request any more; its lease ends.

        ``unanswered``: this process leaves it to the next one, which finds it in the journal.
        """
        entry = self._requests.pop(request_id, None)
        if self._settings.journal and not unanswered:
            self._outbox.put(JournalErase(request_id))
        # ``unfinished`` is a count and not a search, because every turn of a shutdown asks for it.
        if entry is not None and entry.progress in _UNFINISHED:
            self.unfinished -= 1
        self._leases.release(request_id)

    # --- leases ----------------------------------------------------------------------------

    def extend_due(self, carrier: Carrier, now: float) -> None:
        """Extend what is due, at most ``extensions_per_turn`` at a time.

        What is left over stays due: the next turn begins immediately, after other inputs.
        """
        for lease in self._leases.take_due(now, self._settings.extensions_per_turn):
            entry = self._requests[lease.request_id]
            if now - entry.received_at < LONGEST_RUN:
                data = messages.extend_lease(entry.request, lease.lease_id)
                carrier.send(_WORKER_REQUEST_EXTEND_LEASE, data)
                continue
            # The server would extend this lease without end: it forgets a lease two hours after
            # its last extension, and does not ask how long anybody has waited. The executor does
            # not wait any more, but does not refuse either.
            self._leases.release(lease.request_id)
            if entry.progress is not Progress.ANSWERED:
                text = (
                    f"a request is {LONGEST_RUN / 3600:g} h old, which is as long as Inngest "
                    "waits: its lease is not extended any more, and Inngest runs it again if "
                    "retries are left. Divide the function into steps"
                )
                self._error("request_outlived", text, entry.request)
            self._lease_lost(entry)

    def lease_answered(self, request_id: str, new_lease_id: str | None, now: float) -> None:
        """The server extended a lease, or refused to (``new_lease_id`` is None)."""
        if new_lease_id is not None:
            if is_ulid(new_lease_id):
                self._leases.extended(request_id, new_lease_id, now)
        elif self._leases.refused(request_id):
            self._lease_lost(self._requests[request_id])

    def _lease_lost(self, entry: InFlight) -> None:
        if entry.progress is Progress.ANSWERED:
            return  # the reply was first, and the server deletes the lease with it
        request = entry.request
        request_id = request.request_id
        self._outbox.put(LeaseLost(request_id, request.run_id, request.function_slug))
        if entry.progress is Progress.QUEUED:
            # Nothing runs yet, and another worker has it: to start now would only be a duplicate.
            del self.queue[request_id]
            self.forget(request_id)
        elif self._settings.on_lease_lost == "cancel":
            self.unfinished -= 1
            entry.progress = Progress.LOST
            if self._settings.journal:
                self._outbox.put(JournalErase(request_id))  # another worker answers it
            self._outbox.put(CancelExecution(request_id))

    def abandon(self) -> list[str]:
        """Cancel what runs and drop what does not; returns the ids of both."""
        abandoned = self.unfinished_ids()
        self.queue.clear()
        for request_id in abandoned:
            if self._requests[request_id].progress is Progress.RUNNING:
                # It stays in the table: what a function returns in its last moment is delivered.
                self._leases.release(request_id)
                self._outbox.put(CancelExecution(request_id))
            else:
                self.forget(request_id, unanswered=True)
        return abandoned
