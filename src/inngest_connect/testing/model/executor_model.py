"""ExecutorModel: the requests of one environment, from dispatch to stored reply, without I/O.

A request is forwarded to one connection, which has to acknowledge it on that same socket; until
then a pause, a drain or the end of the socket fails the forward at once, and the executor forwards
it again, at most three times. From its dispatch it is leased; an extension rotates the lease id,
of which only the last predecessor is remembered. The first reply wins, over a socket or by flush.
A lease that runs out fails the request (PROTOCOL.md sections 4 to 6).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from ...protocol import connect_pb2 as pb
from .actions import Action, RequestEnded, SendTo, encode
from .connection import GatewayConnection, GatewayPhase
from .ledger import Ledger, Outcome, RequestRecord
from .settings import GatewaySettings
from .ulid import make_ulid

K = pb.GatewayMessageType
MAX_FORWARDS: Final = 3


@dataclass(slots=True)
class Request:
    message: pb.GatewayExecutorRequestData
    record: RequestRecord
    lease_id: str
    lease_until: float
    previous_lease_id: str = ""
    owner: str = ""
    """The instance that it was given to; counts against that one's limit."""
    attempts: int = 0


class ExecutorModel:
    """Appends what is to be done to ``out``. Times are monotonic seconds."""

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
        self._revoked: set[str] = set()
        self._acknowledgement_arrived: set[str] = set()
        """Requests under way; the acknowledgement itself may be handled later than it arrived."""
        self._turn = 0

    def ulid(self, now: float) -> str:
        return make_ulid(now, self._random_bits)

    # --- forwarding --------------------------------------------------------------------------

    def dispatch(self, message: pb.GatewayExecutorRequestData, now: float) -> str:
        """Lease a request and queue it for ``route``. Returns its id."""
        message.request_id = message.request_id or self.ulid(now)
        request_id = message.request_id
        until = now + self._settings.lease
        message.lease_id = self.ulid(until)
        record = RequestRecord(request_id, message.run_id, message.function_slug, now)
        self.ledger.records[request_id] = record
        self.requests[request_id] = Request(message, record, message.lease_id, until)
        self._queue.append(request_id)
        return request_id

    def route(self, now: float) -> None:
        """Forward what waits to connections that take it."""
        if not self._queue:
            return
        waiting, self._queue = self._queue, []
        for request_id in waiting:
            request = self.requests.get(request_id)
            if request is None:
                continue
            connection = self._pick(request.message, now)
            if connection is None:
                self._queue.append(request_id)
                continue
            request.owner = connection.instance
            if connection.holds_work:
                connection.held.append(request_id)
            else:
                self.forward(request, connection)

    def _pick(self, message: pb.GatewayExecutorRequestData, now: float) -> GatewayConnection | None:
        able = [c for c in self._connections.values() if self._takes(c, message, now)]
        if not able:
            return None
        self._turn += 1
        return able[self._turn % len(able)]

    def _takes(
        self, connection: GatewayConnection, message: pb.GatewayExecutorRequestData, now: float
    ) -> bool:
        if connection.phase is not GatewayPhase.READY and not connection.holds_work:
            return False
        if message.function_slug not in connection.functions:
            return False
        if now - connection.last_heartbeat_at > self._settings.router_patience:
            return False
        if not connection.limit:
            return True
        instance = connection.instance
        return sum(1 for r in self.requests.values() if r.owner == instance) < connection.limit

    def forward(self, request: Request, connection: GatewayConnection) -> None:
        """Write a request to a worker; also a second time, as a re-forwarding does."""
        request.attempts += 1
        request.record.forwards.append(connection.number)
        connection.unacknowledged[request.message.request_id] = None
        data = encode(K.GATEWAY_EXECUTOR_REQUEST, request.message.SerializeToString())
        self._out.append(SendTo(connection.number, data))

    def fail_unacknowledged(self, connection: GatewayConnection) -> None:
        """The executor forwards them elsewhere at once, or gives up after three times."""
        self._again(connection.unacknowledged)
        connection.unacknowledged.clear()

    def release_held(self, connection: GatewayConnection) -> None:
        """The connection takes nothing more: what waited for it goes elsewhere."""
        connection.holds_work = False
        self._again(connection.held)
        connection.held.clear()

    def _again(self, request_ids: Iterable[str]) -> None:
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
        """An acknowledgement was read from some socket, whatever comes of it."""
        if request_id in self.requests:
            self._acknowledgement_arrived.add(request_id)

    def refuses_reply(self, request_id: str, connection: GatewayConnection) -> bool:
        """Whether a reply comes without an acknowledgement: its function ran although another
        worker may have been given it.

        Certain only on the one socket that the request was forwarded to, where an acknowledgement
        would have arrived first. With another socket or a flush it may be lost or under way.
        """
        request = self.requests.get(request_id)
        if request is None or request_id in self._acknowledgement_arrived:
            return False
        if set(request.record.forwards) != {connection.number}:
            return False
        request.record.unacknowledged_replies += 1
        return True

    def acknowledged(self, request_id: str, connection: GatewayConnection, now: float) -> bool:
        """Returns False when this socket was not given that request, or not any more."""
        if request_id not in connection.unacknowledged:
            return False
        del connection.unacknowledged[request_id]
        record = self.ledger.records[request_id]
        record.acknowledged_by.append(connection.number)
        record.acknowledged_at = record.acknowledged_at or now
        return True

    # --- leases ------------------------------------------------------------------------------

    def extend(self, request_id: str, lease_id: str, now: float) -> str | None:
        """The new lease id, None for a refusal."""
        request = self.requests.get(request_id)
        if request is None or request_id in self._revoked:
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
        request.lease_id = self.ulid(request.lease_until)
        request.record.extensions += 1
        return request.lease_id

    def revoke(self, request_id: str) -> None:
        """Refuse every further extension, as if another worker had claimed the request."""
        self._revoked.add(request_id)

    # --- the end of a request ----------------------------------------------------------------

    def store(self, response: pb.SDKResponse, now: float, *, flushed: bool) -> None:
        """A reply has come; the first one wins."""
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
        request_id = request.message.request_id
        request.record.outcome = outcome
        del self.requests[request_id]
        self._revoked.discard(request_id)
        self._acknowledgement_arrived.discard(request_id)
        self._out.append(RequestEnded(request_id, response, failure))

    def next_deadline(self) -> float | None:
        until = min((r.lease_until for r in self.requests.values()), default=None)
        return None if until is None else until + self._settings.lease_grace

    def tick(self, now: float) -> None:
        """Fail what has lost its lease."""
        grace = self._settings.lease_grace
        for request in [r for r in self.requests.values() if now >= r.lease_until + grace]:
            # A request that no worker could take is not the worker's loss.
            taken = bool(request.record.acknowledged_by)
            outcome: Outcome = "expired" if taken else "unroutable"
            self._end(request, None, outcome, "connect_worker_stopped_responding")
