"""What a worker promises about leases: to extend them in time, at the pace of the gateway."""

from typing import Final

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core import inputs
from inngest_connect.protocol import DECODE_ERRORS, MAX_EXTEND_LEASE_INTERVAL
from inngest_connect.protocol import connect_pb2 as pb

from .connections import ConnectionPromises
from .limits import NEVER, ROUNDING, Limits
from .requests import GIVEN_UP, RequestPromises
from .watch import Watch, payload_of

_NO_LONGER_OURS: Final = (*GIVEN_UP, "acknowledgement_failed")
UNANSWERED: Final = 5.0
"""Seconds after which an extension without an answer is repeated."""
PAUSE: Final = 0.1
"""Seconds from an answer to the next extension, at least: ids of one millisecond have no order."""
LONGEST_RUN: Final = 7200.0
"""Seconds after which Inngest does not wait for a request any more."""


class LeasePromises:
    """Has its own limits, because leases are extended only while there is a connection."""

    def __init__(
        self, watch: Watch, connections: ConnectionPromises, requests: RequestPromises
    ) -> None:
        self._watch = watch
        self._connections = connections
        self._requests = requests
        self._interval = watch.settings.extend_lease_interval
        self._due = Limits()
        self._outstanding: dict[str, None] = {}
        self._newest: dict[str, str] = {}
        """The greatest lease id of each request."""
        self._asked_at: dict[str, float] = {}
        """When each was extended with that id first."""
        self._sent: dict[str, int] = {}
        """How often."""
        self._answerable: dict[str, int] = {}
        """How many of those went over a connection that is still there."""
        self._stale: dict[str, int] = {}
        """How many answers may still come to extensions with an older id."""
        self._extended_once: set[str] = set()
        self._to_report = self._to_cancel = ""
        self._abandoned = False
        requests.on_repeated = self._repeated
        watch.on_input(inputs.AcknowledgementsWritten, self._granted)
        watch.on_sent(pb.WORKER_REQUEST_EXTEND_LEASE, self._extended)
        watch.on_message(pb.WORKER_REQUEST_EXTEND_LEASE_ACK, self._answered)
        watch.on_command(seen.Connected, self._connected)
        watch.on_command(seen.ReplyAcknowledged, self._reply_stored)
        watch.on_command(seen.LeaseLost, self._lost)
        watch.on_command(seen.ErrorOccurred, self._error)
        watch.on_command(do.CancelExecution, self._cancelled)
        watch.on_turn_end(self._turn_ends)

    def _granted(self, written: inputs.AcknowledgementsWritten) -> None:
        for request_id in written.request_ids:
            self._owned(request_id)

    def _owned(self, request_id: str) -> None:
        known = self._requests.known.get(request_id)
        first = request_id not in self._newest
        # What is acknowledged when it runs was delivered again: that grants nothing by itself.
        is_new = known is not None and first and known.started_at is None and not known.ended
        if known is not None and is_new and not self._watch.core.shutdown.forced:
            self._grant(request_id, known.request.lease_id)

    def _repeated(self, request: pb.GatewayExecutorRequestData) -> None:
        self._grant(request.request_id, request.lease_id)

    def _grant(self, request_id: str, lease_id: str) -> None:
        stale = self._stale.get(request_id, 0) + self._answerable.get(request_id, 0)
        self._adopt(request_id, lease_id, stale)
        if self._due.get(request_id) is None:
            self._due.set(request_id, self._watch.now + self._interval)

    def _adopt(self, request_id: str, lease_id: str, stale: int) -> bool:
        """Take an id if it is newer, and how many are ``stale`` then. Returns whether it is."""
        if lease_id <= self._newest.get(request_id, ""):
            return False
        self._newest[request_id] = lease_id
        self._asked_at.pop(request_id, None)
        self._sent.pop(request_id, None)
        self._answerable.pop(request_id, None)
        self._stale[request_id] = stale
        return True

    def _takes_stale(self, request_id: str) -> bool:
        stale = self._stale.get(request_id, 0)
        self._stale[request_id] = max(stale - 1, 0)
        return stale > 0

    def _extended(self, generation: int, data: bytes) -> None:
        watch, now = self._watch, self._watch.now
        sent = pb.WorkerRequestExtendLeaseData.FromString(payload_of(data) or b"")
        request_id, due = sent.request_id, self._due.get(sent.request_id)
        watch.tally["extends_at_pace"] += 1
        if due is None or now < due - ROUNDING:
            raise watch.broken("extends_at_pace", f"{request_id} at {now:.3f}, due at {due}")
        watch.tally["extends"] += 1
        if now - self._requests.known[request_id].arrived_at >= LONGEST_RUN:
            raise watch.broken("extends", f"nobody waits for {request_id} any more")
        if request_id in self._extended_once:
            watch.tally["newest_lease"] += 1
        if sent.lease_id != self._newest[request_id]:
            raise watch.broken("newest_lease", f"{request_id} has a newer lease id")
        self._extended_once.add(request_id)
        self._asked_at.setdefault(request_id, now)
        self._sent[request_id] = self._sent.get(request_id, 0) + 1
        self._answerable[request_id] = self._answerable.get(request_id, 0) + 1
        self._outstanding[request_id] = None
        self._due.set(request_id, now + min(UNANSWERED, self._interval))

    def _answered(self, generation: int, data: bytes) -> None:
        watch = self._watch
        if watch.core.connections.get(generation) is None:
            return  # it has ended for the worker
        try:
            answer = pb.WorkerRequestExtendLeaseAckData.FromString(payload_of(data) or b"")
        except DECODE_ERRORS:
            return
        request_id, known = answer.request_id, self._requests.known.get(answer.request_id)
        if known is None or self._due.get(request_id) is None:
            return
        if answer.new_lease_id:
            # A repetition is answered with what was granted first, and an answer that comes again
            # has granted nothing.
            sent = self._sent.get(request_id, 0)
            since = self._asked_at[request_id] if sent > 1 else watch.now
            stale = max(self._answerable.get(request_id, 0) - 1, 0)
            if self._adopt(request_id, answer.new_lease_id, stale):
                self._outstanding.pop(request_id, None)
                self._due.set(request_id, max(since + self._interval, watch.now + PAUSE))
            else:
                self._takes_stale(request_id)
            return
        if self._takes_stale(request_id):
            return  # an older server refuses to repeat an answer
        self._released(request_id)
        self._newest[request_id] = ""  # a lease that is granted later has an id of its own
        if known.ended:
            return  # its reply is on its way, and ends the lease
        watch.tally["reports_lost_lease"] += 1
        self._to_report = request_id
        if known.started_at is not None and watch.settings.on_lease_lost == "cancel":
            watch.tally["cancels_lost"] += 1
            self._to_cancel = request_id

    def _connected(self, event: seen.Connected) -> None:
        watch, asked = self._watch, self._connections.extend_lease_interval
        shortest = watch.settings.shortest_interval
        self._interval = max(min(asked, MAX_EXTEND_LEASE_INTERVAL), shortest)
        for key in self._due:
            if (self._due.get(key) or NEVER) > watch.now + self._interval:
                self._due.set(key, watch.now + self._interval)
        for request_id in self._outstanding:
            if self._due.get(request_id) is not None:
                self._due.set(request_id, watch.now)
        self._outstanding.clear()
        if not self._connections.replaces:  # a drained connection can still bring answers
            self._stale.clear()
            self._answerable.clear()

    # --- ends ----------------------------------------------------------------------------------

    def _reply_stored(self, event: seen.ReplyAcknowledged) -> None:
        self._released(event.request_id)
        # Delivered again after it was forgotten, it is a new one with a lease of its own.
        self._newest.pop(event.request_id, None)
        self._extended_once.discard(event.request_id)

    def _released(self, request_id: str) -> None:
        for table in (self._asked_at, self._sent, self._answerable, self._stale):
            table.pop(request_id, None)
        self._due.clear(request_id)
        self._outstanding.pop(request_id, None)

    def _lost(self, event: seen.LeaseLost) -> None:
        self._released(event.request_id)
        # Delivered again, it comes with a lease of its own.
        self._newest.pop(event.request_id, None)
        self._extended_once.discard(event.request_id)
        known = self._requests.known.get(event.request_id)
        outlived = known is not None and self._watch.now - known.arrived_at >= LONGEST_RUN
        if event.request_id != self._to_report and not outlived:
            raise self._watch.broken("reports_lost_lease", f"{event}, and it was not refused")
        if known is not None and known.ended:
            raise self._watch.broken("reports_lost_lease", f"{event} after the function ended")
        if known is None or known.started_at is None:
            self._newest.pop(event.request_id, None)  # if it comes again, it is a new one
        if event.request_id == self._to_report:
            self._to_report = ""

    def _cancelled(self, command: do.CancelExecution) -> None:
        if command.request_id == self._to_cancel:
            self._to_cancel = ""

    def _error(self, event: seen.ErrorOccurred) -> None:
        if event.kind in _NO_LONGER_OURS and event.request_id is not None:
            self._released(event.request_id)
            self._newest.pop(event.request_id, None)

    def _turn_ends(self) -> None:
        watch = self._watch
        if self._to_report:
            raise watch.broken("reports_lost_lease", f"{self._to_report} is not reported")
        if self._to_cancel:
            raise watch.broken("cancels_lost", f"{self._to_cancel} is not cancelled")
        shutdown = watch.core.shutdown
        if shutdown.forced and not self._abandoned:
            self._abandoned = True
            for request_id in shutdown.abandoned:
                self._released(request_id)
        if self._connections.serving is None or watch.core.finished:
            return
        next_turn = NEVER if watch.due is None else watch.due
        while (missed := self._due.missed(next_turn)) is not None:
            request_id, at = str(missed[0]), missed[1]
            known = self._requests.known.get(request_id)
            if known is not None and at - known.arrived_at < LONGEST_RUN:
                text = f"the lease of {request_id} is due at {at:.3f}, next turn: {watch.due}"
                raise watch.broken("extends", text)
            self._released(request_id)
