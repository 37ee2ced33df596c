"""RequestTable: what the gateway asked us to run, from its arrival until its reply is delivered.

    arrived -> ACKNOWLEDGING -> QUEUED -> RUNNING -> ANSWERED -> (delivered, forgotten)

A request is ours only when its acknowledgement was written on the socket that brought it; before
that it is abandoned without a trace, because the server gives it to another worker. From then on it
is leased, and the lease is kept until the *reply is stored by the server*, not until the function
returns: nobody waits for a reply whose lease has expired.

A refused extension ends the extending, not the function: a refusal can be false, and the first
reply wins in any case, so what the function returns is delivered. With ``on_lease_lost="cancel"``
the request is LOST: its function is cancelled where that is possible, and the shutdown does not
wait for it; it counts against the concurrency limit until it has really ended.
"""

import enum
import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ...protocol import connect_pb2 as pb
from ..commands import CancelExecution, Execute
from ..events import ErrorOccurred, LeaseLost, RequestCompleted, RequestStarted
from ..outbox import Outbox
from ..settings import CoreSettings, WorkerIdentity
from ..wire import messages
from ..wire.messages import ExecutionResult
from ..wire.remote_text import clean
from ..wire.ulid import is_ulid
from .carrier import Carrier
from .delivery import ReplyDelivery
from .leases import LeaseTable
from .long_running import LONGEST_RUN, LongRunning
from .message_buffer import BufferedReply


class Progress(enum.Enum):
    """How far a request has come."""

    ACKNOWLEDGING = "ACKNOWLEDGING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    ANSWERED = "ANSWERED"
    LOST = "LOST"


@dataclass(slots=True)
class InFlight:
    """One request. Times are monotonic seconds."""

    request: pb.GatewayExecutorRequestData
    received_at: float
    progress: Progress = Progress.ACKNOWLEDGING
    refusal: str | None = None
    """Why we cannot run it; it is then answered with a retryable error."""
    started_at: float | None = None
    acknowledgements: int = 1
    """How many are on their way: it can be delivered again on another socket meanwhile."""


# Looked up once: reading a member of a protobuf enum costs as much as parsing a small message.
_WORKER_REQUEST_EXTEND_LEASE: Final = pb.GatewayMessageType.WORKER_REQUEST_EXTEND_LEASE

SMALL_PAYLOAD: Final = 1024
"""Bytes of a payload that is left where it is when its function has ended; a copy costs more."""

_STATUS_NAMES: Final = {number: name for name, number in pb.SDKResponseStatus.items()}
# A tuple is searched by identity; hashing a member of an enum costs several times as much.
_UNFINISHED: Final = (Progress.ACKNOWLEDGING, Progress.QUEUED, Progress.RUNNING)


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
        self._functions = {app.name: app.function_slugs for app in identity.apps}
        self._settings = settings
        self._leases = leases
        self._delivery = delivery
        self._outbox = outbox
        self.long_running = LongRunning(settings, self.error)
        self._sdk_version = f"inngest-{identity.sdk_language}:v{identity.sdk_version}"
        self._requests: dict[str, InFlight] = {}
        self.queue: OrderedDict[str, InFlight] = OrderedDict()
        """Acknowledged and leased, but not started yet, or not for want of room."""
        self.running = 0
        self.unfinished = 0
        self.last_acknowledged_at = float("-inf")

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[InFlight]:
        return iter(self._requests.values())

    @property
    def queued(self) -> int:
        """Acknowledged and leased, but not started for want of room."""
        return len(self.queue)

    def error(self, kind: str, text: str, request_id: str) -> None:
        """Put an ``error`` event about a request that is in the table."""
        self._error(kind, text, self._requests[request_id].request)

    def _error(self, kind: str, text: str, request: pb.GatewayExecutorRequestData) -> None:
        run_id, slug = request.run_id, request.function_slug
        self._outbox.put(
            ErrorOccurred(kind, text, request.request_id, run_id=run_id, function_slug=slug)
        )

    def oldest_unfinished(self) -> InFlight | None:
        """The request whose function has been awaited for longest."""
        return next((e for e in self._requests.values() if e.progress in _UNFINISHED), None)

    def unfinished_ids(self) -> list[str]:
        """Requests whose function has not ended; those with a lost lease are not ours any more."""
        return [key for key, entry in self._requests.items() if entry.progress in _UNFINISHED]

    # --- arrival ---------------------------------------------------------------------------

    def arrived(self, request: pb.GatewayExecutorRequestData, carrier: Carrier, now: float) -> bool:
        """Acknowledge a request. Returns False when it was known already."""
        request_id = request.request_id
        known = self._requests.get(request_id)
        if known is not None and known.progress is Progress.LOST:
            return False
        answered = known is None and request_id in self._delivery.answered
        if answered and self._delivery.answered.reply(request_id) is None:
            # An acknowledgement promises a reply. Without one the gateway asks another worker.
            text = (
                "a request that was answered came again, and its reply is not kept any more: it "
                "is neither acknowledged nor executed here"
            )
            self._error("repeated_request_refused", text, request)
            return False
        if known is None and not answered:
            refusal = self._why_not(request)
            self._requests[request_id] = InFlight(request, now, refusal=refusal)
            self.unfinished += 1
            carrier.acknowledge(request)
            return True
        carrier.acknowledge(request)
        if known is not None and known.progress is Progress.ACKNOWLEDGING:
            known.acknowledgements += 1
        if known is not None and is_ulid(request.lease_id):
            self._leases.grant(request_id, request.lease_id, now)
        if known is None or known.progress is Progress.ANSWERED:
            self._delivery.repeat(request_id, carrier, now)
        return False

    def _why_not(self, request: pb.GatewayExecutorRequestData) -> str | None:
        functions = self._functions.get(request.app_name)
        if functions is None:
            ours = ", ".join(sorted(self._functions))
            return f"this worker has no app {clean(request.app_name)!r}; it has: {ours}"
        slug = request.function_slug
        if slug in functions or f"{request.app_name}-{slug}" in functions:
            return None
        return f"this worker's app {request.app_name!r} has no function {clean(slug)!r}"

    def acknowledgement_written(self, request_id: str, carrier: Carrier | None, now: float) -> None:
        """The request is ours: lease it, and run it when there is room."""
        entry = self._requests.get(request_id)
        if entry is None or entry.progress is not Progress.ACKNOWLEDGING:
            return
        self.last_acknowledged_at = now
        if is_ulid(entry.request.lease_id):
            self._leases.grant(request_id, entry.request.lease_id, now)
        if entry.refusal is not None:
            self._error("request_refused", entry.refusal, entry.request)
            refusal = self.error_result("function_not_found", entry.refusal)
            self._answer(entry, refusal, carrier, now)
            return
        entry.progress = Progress.QUEUED
        self.queue[request_id] = entry

    def acknowledgement_failed(self, request_id: str) -> None:
        """Abandon it: the server gives it to another worker; an answer would burn a retry."""
        entry = self._requests.get(request_id)
        if entry is None or entry.progress is not Progress.ACKNOWLEDGING:
            return
        entry.acknowledgements -= 1
        if not entry.acknowledgements:
            text = (
                "the connection ended before a request could be acknowledged; "
                "the server gives it to another worker"
            )
            self._error("acknowledgement_failed", text, entry.request)
            self._forget(request_id)

    # --- execution -------------------------------------------------------------------------

    def start_ready(self, now: float) -> None:
        """Start queued requests, first in first out, as far as both limits allow."""
        limit = self._settings.max_worker_concurrency
        while self.queue and (limit is None or self.running < limit):
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
        self.running -= 1
        self.long_running.ended(request_id)
        if entry.progress is Progress.LOST and result is None:
            self._forget(request_id)
        elif result is None:
            text = "the function was cancelled by the shutdown; Inngest will run it again"
            self._error("execution_cancelled", text, entry.request)
            self._forget(request_id)
        else:
            self._answer(entry, result, carrier, now)

    def error_result(self, code: str, message: str, no_retry: bool = False) -> ExecutionResult:
        """An ERROR reply in the shape of the SDK's own errors."""
        body = json.dumps({"code": code, "message": message, "name": "ConnectError"}).encode()
        return ExecutionResult(
            pb.SDKResponseStatus.ERROR, body, no_retry, sdk_version=self._sdk_version
        )

    def _answer(
        self, entry: InFlight, result: ExecutionResult, carrier: Carrier | None, now: float
    ) -> None:
        request = entry.request
        payload = messages.reply_payload(request, result)
        limit = self._settings.max_reply_bytes - messages.ENVELOPE_BYTES
        if len(payload) > limit:
            text = (
                f"the function's output makes a reply of {len(payload)} bytes, and the gateway "
                f"accepts at most {limit} bytes: return less, or a reference to stored data"
            )
            self._error("reply_too_large", text, request)
            # An output stays too large however often it is computed; an error that Inngest may
            # retry stays one that it may retry.
            final = result.no_retry or result.status != pb.SDKResponseStatus.ERROR
            result = self.error_result("output_too_large", text, no_retry=final)
            payload = messages.reply_payload(request, result)
        started = entry.started_at if entry.started_at is not None else now
        if entry.progress in _UNFINISHED:  # one that was LOST has been taken off already
            self.unfinished -= 1
        entry.progress = Progress.ANSWERED
        # Only its names are needed until the reply is delivered, which can take a long time.
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
            )
        )
        reply = BufferedReply(request.request_id, payload, request.run_id, request.function_slug)
        for evicted in self._delivery.add(reply, carrier, now):
            self.delivered(evicted)

    def delivered(self, request_id: str) -> None:
        """The server has the reply, or never will: nothing is owed any more."""
        self._forget(request_id)

    # --- leases ----------------------------------------------------------------------------

    def extend_due(self, carrier: Carrier, now: float) -> None:
        """Extend what is due, at most ``extensions_per_turn`` at a time."""
        for lease in self._leases.take_due(now, self._settings.extensions_per_turn):
            entry = self._requests[lease.request_id]
            if now - entry.received_at >= LONGEST_RUN:
                self._outlived(entry)
                continue
            data = messages.extend_lease(entry.request, lease.lease_id)
            carrier.send(_WORKER_REQUEST_EXTEND_LEASE, data)

    def lease_answered(self, request_id: str, new_lease_id: str | None, now: float) -> None:
        """A refusal for a request that is answered already means only that the reply was first."""
        if new_lease_id is not None:
            if is_ulid(new_lease_id):
                self._leases.extended(request_id, new_lease_id, now)
            return
        if not self._leases.release(request_id):
            return
        self._lease_lost(self._requests[request_id])

    def _outlived(self, entry: InFlight) -> None:
        """Nobody waits for this request any more, and no refusal says so: extending it ends here.

        The server would extend it without end: it forgets a lease two hours after its last
        extension, and does not ask for how long somebody has waited.
        """
        request_id = entry.request.request_id
        self._leases.release(request_id)
        if entry.progress is not Progress.ANSWERED:
            text = (
                f"a request is {LONGEST_RUN / 3600:g} h old, which is as long as Inngest waits: "
                "its lease is not extended any more, and Inngest runs it again if retries are "
                "left. Divide the function into steps"
            )
            self._error("request_outlived", text, entry.request)
        self._lease_lost(entry)

    def _lease_lost(self, entry: InFlight) -> None:
        if entry.progress is Progress.ANSWERED:
            return
        request = entry.request
        request_id = request.request_id
        self._outbox.put(LeaseLost(request_id, request.run_id, request.function_slug))
        if entry.progress is Progress.QUEUED:
            del self.queue[request_id]
            self._forget(request_id)
        elif self._settings.on_lease_lost == "cancel":
            self.unfinished -= 1
            entry.progress = Progress.LOST
            self._outbox.put(CancelExecution(request_id))

    def _forget(self, request_id: str) -> None:
        entry = self._requests.pop(request_id, None)
        if entry is not None and entry.progress in _UNFINISHED:
            self.unfinished -= 1
        self._leases.release(request_id)

    def abandon(self) -> list[str]:
        """Cancel what runs and drop what does not; returns the ids of both."""
        abandoned = self.unfinished_ids()
        self.queue.clear()
        for request_id in abandoned:
            if self._requests[request_id].progress is Progress.RUNNING:
                self._leases.release(request_id)
                self._outbox.put(CancelExecution(request_id))
            else:
                self._forget(request_id)
        return abandoned
