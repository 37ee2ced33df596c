"""ExecutorModel: the requests of one environment, from dispatch to stored reply, without I/O.

A request is forwarded to one connection, which has to acknowledge it on that same socket. Until
then a pause, a drain or the end of the socket fails the forward immediately, and the passing of
time later; the executor forwards the request again, at most three times. The lease begins with the
dispatch and is enforced once a worker has acknowledged; an extension rotates the lease id, of which
only the last predecessor is remembered. The first reply wins, whether it comes over a socket or by
flush. A lease that runs out fails the request (docs/protocol.md#requests, #leases and #replies).
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from ...core.wire.messages import envelope
from ...protocol import connect_pb2 as pb
from .actions import Action, RequestEnded, SendTo
from .capacity import Capacity
from .connection import GatewayConnection
from .leases import Lease, Presented
from .ledger import Ledger, Outcome, RequestRecord
from .request import Request
from .routing import Router
from .settings import GatewaySettings
from .ulid import make_ulid

MAX_FORWARDS: Final = 3


class ExecutorModel:
    """Appends the actions that follow to ``out``, and counts what is rare in ``seen``."""

    def __init__(
        self,
        settings: GatewaySettings,
        connections: dict[int, GatewayConnection],
        out: list[Action],
        random_bits: Callable[[int], int],
        seen: Counter[str],
    ) -> None:
        self.ledger = Ledger()
        self.requests: dict[str, Request] = {}
        self.capacity = Capacity(settings)
        self.router = Router(settings, connections, self.capacity)
        self._settings = settings
        self._connections = connections
        self._out = out
        self._random_bits = random_bits
        self._seen = seen
        self._queue: list[str] = []
        self._given_up: dict[str, Lease] = {}
        """Leases that outlive their requests."""

    # --- forwarding --------------------------------------------------------------------------

    def dispatch(self, message: pb.GatewayExecutorRequestData, now: float) -> str:
        """Lease a request and queue it for ``route``. Returns its id."""
        message.request_id = message.request_id or self._ulid(now)
        request_id = message.request_id
        until = now + self._settings.lease
        message.lease_id = self._ulid(until)
        record = RequestRecord(request_id, message.run_id, message.function_slug, now)
        self.ledger.records[request_id] = record
        request = Request(message, record, Lease(message.lease_id, until))
        self.requests[request_id] = request
        request.plan(self._settings)
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
            connection = self.router.choose(request.message.function_slug, now)
            if connection is None:
                self._wait(request, now)
                continue
            request.queued_at = None
            self.capacity.assign(request_id, connection.instance, now)
            if connection.holds_work:
                connection.held.append(request_id)
                request.plan(self._settings)
            else:
                self.forward(request, connection, now)

    def _wait(self, request: Request, now: float) -> None:
        # A worker that is only full is asked again and again, which costs no attempt.
        patience = self._settings.unroutable_after
        request.plan(self._settings)
        if patience is not None and not self.router.is_full(request.message.function_slug, now):
            request.queued_at = now if request.queued_at is None else request.queued_at
            if self.router.is_draining():
                patience = max(patience, self._settings.wait_for_replacement)
            if now >= request.queued_at + patience:
                self._seen["attempt failed without a worker"] += 1
                self._end(request, None, "unroutable", "connect_no_healthy_connection")
                return
            request.due = min(request.due, request.queued_at + patience)
        self._queue.append(request.record.request_id)

    def forward(self, request: Request, connection: GatewayConnection, now: float) -> None:
        """Write a request to a worker, for the first time or again."""
        request.attempts += 1
        if not request.record.acknowledged_by:
            request.forwarded_at, request.fails_at = now, None
            request.record.expired_at = None
        request.record.forwards.append(connection.number)
        connection.unacknowledged[request.message.request_id] = None
        data = envelope(pb.GATEWAY_EXECUTOR_REQUEST, request.message.SerializeToString())
        self._out.append(SendTo(connection.number, data))
        request.plan(self._settings)

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
            request.forwarded_at = None
            self.capacity.release(request_id)
            if request.attempts >= MAX_FORWARDS:
                self._end(request, None, "unroutable", "connect_no_healthy_connection")
            else:
                request.plan(self._settings)
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
            if connection.paused:
                self._seen["pause overtook an acknowledgement"] += 1
            return False
        del connection.unacknowledged[request_id]
        record = self.ledger.records[request_id]
        record.acknowledged_by.append(connection.number)
        record.acknowledged_at = record.acknowledged_at or now
        request = self.requests.get(request_id)
        if request is not None:
            request.forwarded_at = None
            self._collect(request, now)
        return True

    # --- leases ------------------------------------------------------------------------------

    def extend(self, request_id: str, lease_id: str, instance: str, now: float) -> str | None:
        """Extend a lease; return its new id, or None to refuse."""
        request, record = self.requests.get(request_id), self.ledger.records.get(request_id)
        lease = request.lease if request is not None else self._given_up.get(request_id)
        answer: Presented = "refused"
        revoked = request is not None and request.revoked
        if lease is not None and not revoked and self.capacity.extend(request_id, instance, now):
            answer = lease.presented(lease_id, instance, now, self._settings)
        if answer == "refused" or lease is None:
            if record is not None:
                record.refused_extensions += 1
            return None
        if answer == "replayed":
            self._seen["previous lease id presented"] += 1
            return lease.lease_id
        if answer == "revived":
            self._seen["expired lease revived"] += 1
            if record is not None:
                record.late_extensions += 1
        until = now + self._settings.lease
        lease.rotate(self._ulid(until), until, instance)
        if record is not None:
            record.extensions += 1
        if request is None:
            self._seen["lease extended that nobody waits for"] += 1
        else:
            if request.forwarded_at is not None:
                self._seen["extension overtook an acknowledgement"] += 1
            request.plan(self._settings)
        return lease.lease_id

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
        if request is None:
            if record is not None and record.outcome != "answered":
                self._seen["reply after the executor gave up"] += 1
        elif request.response is None or now >= request.response_until:
            request.response = response
            request.response_until = now + self._settings.reply_lifetime
            request.collected_at = None
            request.record.answered_at = now
            self._collect(request, now)

    def _collect(self, request: Request, now: float) -> None:
        # Called when a reply is stored, and when the executor begins to wait for one.
        settings = self._settings
        waits = request.record.acknowledged_by or not settings.collect_after_acknowledgement
        if request.response is not None and waits and request.collected_at is None:
            if now >= request.response_until:
                self._seen["stored reply expired"] += 1
                request.response = request.record.answered_at = None
            elif not settings.reply_poll:
                self._end(request, request.response, "answered")
                return
            else:
                request.collected_at = now + settings.reply_poll * self._random_bits(16) / 65536
        request.plan(self._settings)

    def _end(
        self,
        request: Request,
        response: pb.SDKResponse | None,
        outcome: Outcome,
        failure: str = "",
    ) -> None:
        record = request.record
        record.outcome = outcome
        del self.requests[record.request_id]
        if outcome == "answered":
            self._given_up.pop(record.request_id, None)
        elif self._settings.leases_outlive_requests:
            self._given_up[record.request_id] = request.lease
        self.capacity.release(record.request_id)
        self._out.append(RequestEnded(record.request_id, response, failure))

    def next_deadline(self) -> float | None:
        """When ``tick`` has to be called next."""
        return min((request.due for request in self.requests.values()), default=None)

    def tick(self, now: float) -> None:
        """Fail what has waited too long, and collect stored replies."""
        for request in [r for r in self.requests.values() if now >= r.due]:
            self._due(request, now)

    def _due(self, request: Request, now: float) -> None:
        record, lost = request.record, request.record.acknowledged_by
        # A request that no worker acknowledged is not a worker's loss.
        outcome: Outcome = "expired" if lost else "unroutable"
        if now >= record.dispatched_at + self._settings.longest_wait:
            self._end(request, None, outcome, "request_duration_too_long")
        elif request.collected_at is not None:
            self._end(request, request.response, "answered")
        elif request.fails_at is not None:
            self._end(request, None, outcome, "connect_worker_stopped_responding")
        elif request.forwarded_at is not None:
            self._seen["forwarded again after silence"] += 1
            for connection in self._connections.values():
                connection.unacknowledged.pop(record.request_id, None)
            self._forward_elsewhere((record.request_id,))
        elif now >= request.lease.until:
            record.expired_at = request.lease.until
            request.fails_at = request.due + self._settings.lease_grace
            request.plan(self._settings)

    def _ulid(self, at: float) -> str:
        return make_ulid(at, self._random_bits)
