"""What a worker promises about requests: to take them, to run them, to name them as they are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core import inputs
from inngest_connect.protocol import DECODE_ERRORS
from inngest_connect.protocol import connect_pb2 as pb

from .connections import ConnectionPromises
from .watch import Watch, payload_of

LONGEST_NAME: Final = 1024
REMEMBERED: Final = 150.0
"""Seconds for which a request that was answered is known."""
GIVEN_UP: Final = frozenset({"execution_cancelled", "reply_evicted", "reply_refused"})
"""Kinds of errors after which a request is not known any more."""
_ECHOED: Final = (
    "request_id", "account_id", "env_id", "app_id",
    "system_trace_ctx", "user_trace_ctx", "run_id",
)  # fmt: skip


@dataclass(slots=True)
class Known:
    """One request. Times are virtual seconds."""

    request: pb.GatewayExecutorRequestData
    arrived_at: float
    acknowledged: bool = False
    acknowledging: int = 0
    """How many acknowledgements are on their way."""
    started_at: float | None = None
    ended: bool = False
    lost: bool = False
    """Its lease was refused, and its function was asked to stop."""
    answered_at: float | None = None
    """When the server had stored its reply."""
    has_reply: bool = False


class RequestPromises:
    """``known`` has every request that was acknowledged, by its id, as long as it is known."""

    def __init__(self, watch: Watch, connections: ConnectionPromises) -> None:
        self._watch = watch
        self._connections = connections
        self.known: dict[str, Known] = {}
        self.on_repeated: Callable[[pb.GatewayExecutorRequestData], None] = lambda request: None
        """Called with a request that has arrived again and was not answered before."""
        self._to_acknowledge: tuple[int, str] | None = None
        self._to_repeat: tuple[int, str] | None = None
        watch.on_message(pb.GATEWAY_EXECUTOR_REQUEST, self._arrived)
        watch.on_command(do.Acknowledge, self._acknowledged)
        watch.on_input(inputs.AcknowledgementsWritten, self._written)
        watch.on_input(inputs.JournalRecovered, self._recovered)
        watch.on_command(do.Execute, self._started)
        watch.on_command(seen.RequestCompleted, self._completed)
        watch.on_command(seen.ReplyAcknowledged, self._answered)
        watch.on_command(seen.LeaseLost, self._lease_lost)
        watch.on_input(inputs.ExecutionFinished, self._function_ended)
        watch.on_command(seen.ErrorOccurred, self._error)
        for kind in (pb.WORKER_REQUEST_ACK, pb.WORKER_REQUEST_EXTEND_LEASE):
            watch.on_sent(kind, self._names_request)
        watch.on_sent(pb.WORKER_REPLY, self._replied)
        watch.on_command(do.Flush, lambda flush: self._echoes_reply(flush.payload))
        watch.on_turn_end(self._turn_ends)

    # --- arrival -------------------------------------------------------------------------------

    def _arrived(self, generation: int, data: bytes) -> None:
        request = self._request_of(data)
        connections, watch = self._connections, self._watch
        if request is None or generation != connections.serving or watch.closing_at is not None:
            return
        if connections.lines[generation].draining:
            return
        request_id, known = request.request_id, self.known.get(request.request_id)
        if known is not None and self._is_forgotten(known):
            known = None
        if known is None:
            watch.tally["accepts"] += 1
            self.known[request_id] = Known(request, watch.now)
        elif known.lost:
            return
        else:
            watch.tally["acknowledges_again"] += 1
            if known.has_reply and not self._waits_for_commit(request_id):
                watch.tally["repeats_reply"] += 1
                self._to_repeat = generation, request_id
            if known.answered_at is None:
                self.on_repeated(request)
        self._to_acknowledge = generation, request_id

    def _waits_for_commit(self, request_id: str) -> bool:
        reply = self._watch.core.buffer.get(request_id)
        return reply is not None and reply.uncommitted

    def _recovered(self, recovered: inputs.JournalRecovered) -> None:
        for entry in recovered.entries:
            request_id = entry.request.request_id
            if request_id not in self.known:
                known = Known(entry.request, self._watch.now, acknowledged=True)
                known.ended = known.has_reply = True
                self.known[request_id] = known

    def _is_forgotten(self, known: Known) -> bool:
        # After its window a request is forgotten when there is an occasion, which is not promised.
        if known.answered_at is None or self._watch.now - known.answered_at <= REMEMBERED:
            return False
        return known.request.request_id not in self._watch.core.delivery.answered

    def _request_of(self, data: bytes) -> pb.GatewayExecutorRequestData | None:
        payload = payload_of(data)
        if payload is None:
            return None
        try:
            request = pb.GatewayExecutorRequestData.FromString(payload)
        except DECODE_ERRORS:
            return None
        names = (request.request_id, request.function_slug, request.app_name, request.run_id)
        short = len(payload) <= LONGEST_NAME or all(len(n) <= LONGEST_NAME for n in names)
        return request if request.request_id and short else None

    def _acknowledged(self, command: do.Acknowledge) -> None:
        if (known := self.known.get(command.request_id)) is not None:
            known.acknowledging += 1
        if self._to_acknowledge == (command.generation, command.request_id):
            self._to_acknowledge = None

    def _written(self, written: inputs.AcknowledgementsWritten) -> None:
        for request_id in written.request_ids:
            known = self.known.get(request_id)
            if known is not None:
                known.acknowledging -= 1
                known.acknowledged = True

    # --- execution -----------------------------------------------------------------------------

    def _started(self, command: do.Execute) -> None:
        watch, known = self._watch, self.known.get(command.request.request_id)
        buffer = watch.core.buffer
        if buffer.size_bytes >= 0.75 * buffer.max_bytes:
            raise watch.broken("waits_for_room", f"{buffer.size_bytes} bytes are buffered")
        watch.tally["starts"] += 1
        if known is not None:
            known.started_at = watch.now

    def _completed(self, event: seen.RequestCompleted) -> None:
        watch, known = self._watch, self.known.get(event.request_id)
        if known is None:
            return
        known.ended = known.has_reply = True
        if known.started_at is None:
            return
        watch.tally["measures"] += 1
        seconds = watch.now - known.started_at
        queued = known.started_at - known.arrived_at
        if abs(event.seconds - seconds) > 1e-6 or abs(event.queued_seconds - queued) > 1e-6:
            text = f"{event} ran for {seconds:.3f} s after {queued:.3f} s"
            raise watch.broken("measures", text)

    # --- what is not known any more ------------------------------------------------------------

    def _answered(self, event: seen.ReplyAcknowledged) -> None:
        if (known := self.known.get(event.request_id)) is not None:
            known.answered_at = self._watch.now

    def _lease_lost(self, event: seen.LeaseLost) -> None:
        known = self.known.get(event.request_id)
        if known is None:
            return
        if known.started_at is None:
            del self.known[event.request_id]
        elif self._watch.settings.on_lease_lost == "cancel":
            known.lost = True

    def _function_ended(self, finished: inputs.ExecutionFinished) -> None:
        known = self.known.get(finished.request_id)
        if known is not None and known.lost and finished.result is None:
            del self.known[finished.request_id]  # delivered again, it is a new one

    def _error(self, event: seen.ErrorOccurred) -> None:
        request_id = event.request_id
        if event.kind == "acknowledgement_failed" and request_id is not None:
            known = self.known.get(request_id)
            if known is not None and not known.acknowledged:
                del self.known[request_id]
        elif event.kind in GIVEN_UP and request_id is not None:
            self.known.pop(request_id, None)
        elif event.kind == "repeated_request_refused":
            # Allowed when its reply is not kept, of which the memory for replies decides.
            known = self.known.get(request_id or "")
            if known is not None and self._watch.core.delivery.answered.reply(request_id or ""):
                raise self._watch.broken("repeats_reply", f"{request_id} is refused")
            self._to_acknowledge = self._to_repeat = None

    # --- what is said about a request ----------------------------------------------------------

    def _names_request(self, generation: int, data: bytes) -> None:
        payload = payload_of(data) or b""
        # The messages share the numbers of these fields only by name, so each is decoded as it is.
        sent = (
            pb.WorkerRequestAckData.FromString(payload)
            if data[1] == pb.WORKER_REQUEST_ACK
            else pb.WorkerRequestExtendLeaseData.FromString(payload)
        )
        self._echoes(sent, (*_ECHOED, "function_slug", "step_id"))

    def _replied(self, generation: int, data: bytes) -> None:
        payload = payload_of(data) or b""
        self._echoes_reply(payload)
        if self._to_repeat is not None:
            request_id = pb.SDKResponse.FromString(payload).request_id
            if self._to_repeat == (generation, request_id):
                self._to_repeat = None

    def _echoes_reply(self, payload: bytes) -> None:
        self._echoes(pb.SDKResponse.FromString(payload), _ECHOED)

    def _echoes(
        self,
        sent: pb.WorkerRequestAckData | pb.WorkerRequestExtendLeaseData | pb.SDKResponse,
        names: tuple[str, ...],
    ) -> None:
        known = self.known.get(sent.request_id)
        if known is None:
            return
        self._watch.tally["echoes"] += 1
        for name in names:
            if getattr(sent, name) != getattr(known.request, name):
                text = f"{name} of {sent.request_id} is not that of its request"
                raise self._watch.broken("echoes", text)

    # --- at the end of a turn ------------------------------------------------------------------

    def _turn_ends(self) -> None:
        if self._to_acknowledge is not None:
            generation, request_id = self._to_acknowledge
            text = f"{request_id} is not acknowledged on connection {generation}"
            raise self._watch.broken("accepts", text)
        if self._to_repeat is not None:
            raise self._watch.broken("repeats_reply", f"{self._to_repeat[1]} is not sent again")
        core = self._watch.core
        if core.requests.queue and not core.shutdown.forced:
            self._queue_waits()

    def _queue_waits(self) -> None:
        watch, core = self._watch, self._watch.core
        limit = watch.settings.max_worker_concurrency
        if limit is not None and core.requests.running >= limit:
            watch.tally["waits_for_slot"] += 1
        elif core.buffer.size_bytes >= 0.75 * core.buffer.max_bytes:
            watch.tally["waits_for_room"] += 1
        else:
            raise watch.broken("starts", f"{next(iter(core.requests.queue))} is not started")
