"""ExecutorModel: the requests of one environment, from dispatch to stored reply, without I/O.

A request is forwarded to one connection, which has to acknowledge it on that same socket. Until
then a pause, a drain or the end of the socket fails the forward immediately, and the executor
forwards the request again, at most three times. The lease begins with the dispatch; an extension
rotates the lease id, of which only the last predecessor is remembered. The first reply wins,
whether it comes over a socket or by flush. A lease that runs out fails the request
(docs/protocol.md#requests, #leases and #replies).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from ...core.wire.messages import envelope
from ...protocol import connect_pb2 as pb
from .actions import Action, RequestEnded, SendTo
from .connection import GatewayConnection, GatewayPhase
from .ledger import Ledger, Outcome, RequestRecord
from .settings import GatewaySettings
from .ulid import make_ulid

MAX_FORWARDS: Final = 3


@dataclass(slots=True)
class Request:
    """A request that has not ended."""

    message: pb.GatewayExecutorRequestData
    record: RequestRecord
    lease_id: str
    lease_until: float
    previous_lease_id: str = ""
    owner: str = ""
    """The instance that it was forwarded to, against whose limit it counts."""
    attempts: int = 0
    acknowledgement_arrived: bool = False
    revoked: bool = False


class ExecutorModel:
    """Appends the actions that follow to ``out``. Times are monotonic seconds."""

    def __init__(
        self,
        settings: GatewaySettings,
        connections: dict[int, GatewayConnection],
        out: list[Action],
        random_bits: Callable[[int], int],
    ) -> None:
        self.ledger = Ledger()
        self.requests: dict[str, Request] = {}
        self._settings = settings
        self._connections = connections
        self._out = out
        self._random_bits = random_bits
        self._queue: list[str] = []
        self._turn = 0

    # --- forwarding --------------------------------------------------------------------------

    def dispatch(self, message: pb.GatewayExecutorRequestData, now: float) -> str:
        """Lease a request and queue it for ``route``. Returns its id."""
        message.request_id = message.request_id or self._ulid(now)
        request_id = message.request_id
        until = now + self._settings.lease
        message.lease_id = self._ulid(until)
        record = RequestRecord(request_id, message.run_id, message.function_slug, now)
        self.ledger.records[request_id] = record
        self.requests[request_id] = Request(message, record, message.lease_id, until)
        self._queue.append(request_id)
        return request_id

    def route(self, now: float) -> None:
        """Forward the queued requests that a connection can take; the others stay queued."""
        if not self._queue:
            return
        waiting, self._queue = self._queue, []
        for request_id in waiting:
            request = self.requests.get(request_id)
            if request is None:
                continue
            able = [c for c in self._connections.values() if self._can_take(c, request, now)]
            if not able:
                self._queue.append(request_id)
                continue
            self._turn += 1
            connection = able[self._turn % len(able)]
            request.owner = connection.instance
            if connection.holds_work:
                connection.held.append(request_id)
            else:
                self.forward(request, connection)

    def _can_take(self, connection: GatewayConnection, request: Request, now: float) -> bool:
        if connection.phase is not GatewayPhase.READY and not connection.holds_work:
            return False
        if request.message.function_slug not in connection.functions:
            return False
        if now - connection.last_heartbeat_at > self._settings.router_patience:
            return False
        if not connection.limit:
            return True
        instance = connection.instance
        return sum(1 for r in self.requests.values() if r.owner == instance) < connection.limit

    def forward(self, request: Request, connection: GatewayConnection) -> None:
        """Write a request to a worker, for the first time or again."""
        request.attempts += 1
        request.record.forwards.append(connection.number)
        connection.unacknowledged[request.message.request_id] = None
        data = envelope(pb.GATEWAY_EXECUTOR_REQUEST, request.message.SerializeToString())
        self._out.append(SendTo(connection.number, data))

    def fail_unacknowledged(self, connection: GatewayConnection) -> None:
        """Forward what this connection did not acknowledge elsewhere, or give it up."""
        self._forward_elsewhere(connection.unacknowledged)
        connection.unacknowledged.clear()

    def release_held(self, connection: GatewayConnection) -> None:
        """Forward what waited for this connection elsewhere: it takes nothing more."""
        connection.holds_work = False
        self._forward_elsewhere(connection.held)
        connection.held.clear()

    def _forward_elsewhere(self, request_ids: Iterable[str]) -> None:
        for request_id in request_ids:
            request = self.requests.get(request_id)
            if request is None or request.record.acknowledged_by:
                continue
            request.owner = ""
            if request.attempts >= MAX_FORWARDS:
                self._end(request, None, "unroutable", "connect_no_healthy_connection")
            else:
                self._queue.append(request_id)

    def acknowledgement_arrived(self, request_id: str) -> None:
        """Note that an acknowledgement was read from a socket, whether or not it is accepted."""
        if request_id in self.requests:
            self.requests[request_id].acknowledgement_arrived = True

    def refuses_reply(self, request_id: str, connection: GatewayConnection) -> bool:
        """Return whether a reply arrived without an acknowledgement, and count it.

        Its function ran although another worker may have been given the request. That is certain
        only on the one socket that the request was forwarded to, where an acknowledgement would
        have arrived first; with another socket or a flush it may be lost or still on the way.
        """
        request = self.requests.get(request_id)
        if request is None or request.acknowledgement_arrived:
            return False
        if set(request.record.forwards) != {connection.number}:
            return False
        request.record.unacknowledged_replies += 1
        return True

    def acknowledged(self, request_id: str, connection: GatewayConnection, now: float) -> bool:
        """Return False if the request is not, or no longer, forwarded to this socket."""
        if request_id not in connection.unacknowledged:
            return False
        del connection.unacknowledged[request_id]
        record = self.ledger.records[request_id]
        record.acknowledged_by.append(connection.number)
        record.acknowledged_at = record.acknowledged_at or now
        return True

    # --- leases ------------------------------------------------------------------------------

    def extend(self, request_id: str, lease_id: str, now: float) -> str | None:
        """Extend a lease; return its new id, or None to refuse."""
        request = self.requests.get(request_id)
        if request is None or request.revoked:
            record = self.ledger.records.get(request_id)
            if record is not None:
                record.refused_extensions += 1
            return None
        if lease_id != request.lease_id and now < request.lease_until:
            if self._settings.replay_predecessor and lease_id == request.previous_lease_id:
                return request.lease_id
            request.record.refused_extensions += 1
            return None
        request.previous_lease_id = request.lease_id
        request.lease_until = now + self._settings.lease
        request.lease_id = self._ulid(request.lease_until)
        request.record.extensions += 1
        return request.lease_id

    def revoke(self, request_id: str) -> None:
        """Refuse every further extension, as if another worker had claimed the request."""
        self.requests[request_id].revoked = True

    # --- the end of a request ----------------------------------------------------------------

    def store(self, response: pb.SDKResponse, now: float, *, flushed: bool) -> None:
        """Take a reply, over HTTP if ``flushed``; the first one of a request wins."""
        record = self.ledger.records.get(response.request_id)
        if record is not None:
            if flushed:
                record.flushes += 1
            else:
                record.replies += 1
        request = self.requests.get(response.request_id)
        if request is not None:
            request.record.answered_at = now
            self._end(request, response, "answered")

    def _end(
        self,
        request: Request,
        response: pb.SDKResponse | None,
        outcome: Outcome,
        failure: str = "",
    ) -> None:
        request.record.outcome = outcome
        del self.requests[request.record.request_id]
        self._out.append(RequestEnded(request.record.request_id, response, failure))

    def next_deadline(self) -> float | None:
        """When the next lease runs out, its grace included."""
        until = min((r.lease_until for r in self.requests.values()), default=None)
        return None if until is None else until + self._settings.lease_grace

    def tick(self, now: float) -> None:
        """Fail the requests whose lease has run out."""
        grace = self._settings.lease_grace
        for request in [r for r in self.requests.values() if now >= r.lease_until + grace]:
            # A request that no worker acknowledged is not a worker's loss.
            outcome: Outcome = "expired" if request.record.acknowledged_by else "unroutable"
            self._end(request, None, outcome, "connect_worker_stopped_responding")

    def _ulid(self, at: float) -> str:
        return make_ulid(at, self._random_bits)
