"""SecondWorker: another process of the worker's app, which takes a part of its requests.

It introduces itself with what the worker has told the gateways, under its instance id or another
one, and follows the protocol. At its end it vanishes with all that it had taken.
"""

from typing import TYPE_CHECKING, Final

from inngest_connect.core.wire.durations import parse_duration
from inngest_connect.core.wire.messages import (
    envelope,
    extend_lease,
    reply,
    reply_payload,
    request_ack,
)
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing.model.actions import Action, CloseConnection, DropConnection, SendTo
from inngest_connect.testing.model.ledger import RequestRecord

from .invariants import SECRET
from .results import result_of

if TYPE_CHECKING:
    from .simulation import Simulation

_RETRY: Final = 1.0
"""Seconds until it looks for a gateway again."""
_DURATIONS: Final = (0.01, 1.0, 10.0, 60.0)
"""Seconds that its functions take."""
LIMITS: Final = (0, 1, 3)
"""Its concurrency limit; 0 for none. That of the newest connection counts for an instance."""


def is_anothers(record: RequestRecord) -> bool:
    """Return whether a request was acknowledged, and never by the worker that is simulated."""
    return bool(record.acknowledged_by) and max(record.acknowledged_by) < 0


class SecondWorker:
    """At most one connection at a time. Its numbers at the gateway model are negative."""

    def __init__(self, sim: "Simulation") -> None:
        self._sim = sim
        self._number = 0
        self._last_number = 0
        self._ready = False
        self._gateway = ""
        self._until = 0.0
        self._same_instance = False
        self._limit = 0
        self._connect_as = pb.WorkerConnectRequestData()
        self._leases: dict[str, str] = {}
        """Lease ids of the requests that it executes."""

    def start(self, until: float, same_instance: bool, limit: int) -> None:
        """Run until then, with the worker's instance id or another one."""
        self._until, self._same_instance, self._limit = until, same_instance, limit
        self._sim.later(until, self._vanish)
        self._connect()

    def takes(self, action: Action) -> None:
        """Receive what the gateways do to connections that are not the worker's."""
        match action:
            case SendTo(number, data) if number == self._number:
                self._sim.later(
                    self._sim.now + self._sim.network.delay(), self._receive, number, data
                )
            case CloseConnection(number) | DropConnection(number) if number == self._number:
                self._lost()

    def gateway_died(self, gateway: str) -> None:
        """The gateway has vanished, with the connection to it if there is one."""
        if self._number and gateway == self._gateway:
            number = self._number
            self._lost()
            self._sim.gateway_does(self._sim.model.closed(number, self._sim.now))

    def _connect(self) -> None:
        sim = self._sim
        if self._number or sim.now >= self._until:
            return
        # A gateway knows nothing of the worker's before one of its connections was introduced.
        introduced = [c.connect for c in sim.model.connections.values() if c.connect is not None]
        if not introduced or not sim.api.gateways:
            sim.later(sim.now + _RETRY, self._connect)
            return
        self._connect_as = pb.WorkerConnectRequestData()
        self._connect_as.CopyFrom(introduced[-1])
        self._last_number -= 1
        self._number, self._gateway = self._last_number, sim.draw.choice(sim.api.gateways)
        sim.gateway_does(sim.model.opened(self._number, self._gateway, sim.now))

    def _introduce(self) -> None:
        connect = self._connect_as
        auth = connect.auth_data
        connect.connection_id, auth.session_token, auth.sync_token = self._sim.api.issue(SECRET)
        if not self._same_instance:
            connect.instance_id = "another"
        connect.max_worker_concurrency = self._limit
        self._say(envelope(pb.WORKER_CONNECT, connect.SerializeToString()))

    def _say(self, data: bytes) -> None:
        sim = self._sim
        sim.note("second worker", pb.ConnectMessage.FromString(data))
        sim.gateway_does(sim.model.received(self._number, data, sim.now))

    def _receive(self, number: int, data: bytes) -> None:
        if number != self._number:
            return
        message = pb.ConnectMessage.FromString(data)
        match message.kind:
            case pb.GATEWAY_HELLO:
                self._introduce()
            case pb.GATEWAY_CONNECTION_READY:
                ready = pb.GatewayConnectionReadyData.FromString(message.payload)
                self._ready = True  # before the answer, which may be the end of the connection
                self._say(envelope(pb.WORKER_READY))
                self._beat(number, parse_duration(ready.heartbeat_interval))
            case pb.GATEWAY_EXECUTOR_REQUEST:
                self._execute(pb.GatewayExecutorRequestData.FromString(message.payload))
            case pb.WORKER_REQUEST_EXTEND_LEASE_ACK:
                ack = pb.WorkerRequestExtendLeaseAckData.FromString(message.payload)
                if not ack.new_lease_id:
                    self._leases.pop(ack.request_id, None)
                elif ack.request_id in self._leases:
                    self._leases[ack.request_id] = ack.new_lease_id

    def _beat(self, number: int, interval: float) -> None:
        if number == self._number:
            self._say(envelope(pb.WORKER_HEARTBEAT))
            self._sim.later(self._sim.now + interval, self._beat, number, interval)

    def _execute(self, request: pb.GatewayExecutorRequestData) -> None:
        sim, request_id = self._sim, request.request_id
        if request_id in self._leases:
            return
        sim.counts.situation("another worker executes a request")
        if request_id in sim.invariants.running:
            sim.counts.situation("another worker executes what runs here")
        self._leases[request_id] = request.lease_id
        self._say(request_ack(request))
        interval = parse_duration(sim.schedule.gateway.extend_lease_interval)
        sim.later(sim.now + interval, self._extend, request, interval)
        sim.later(sim.now + sim.draw.choice(_DURATIONS), self._answer, request)

    def _extend(self, request: pb.GatewayExecutorRequestData, interval: float) -> None:
        lease_id = self._leases.get(request.request_id)
        if lease_id is None:
            return
        if self._ready:
            self._say(extend_lease(request, lease_id))
        self._sim.later(self._sim.now + interval, self._extend, request, interval)

    def _answer(self, request: pb.GatewayExecutorRequestData) -> None:
        if self._leases.pop(request.request_id, None) is not None and self._ready:
            self._say(reply(reply_payload(request, result_of(0))))

    def _lost(self) -> None:
        self._number, self._ready = 0, False
        self._sim.later(self._sim.now + _RETRY, self._connect)

    def _vanish(self) -> None:
        self._leases.clear()
        number, self._number, self._ready = self._number, 0, False
        if number:
            self._sim.gateway_does(self._sim.model.closed(number, self._sim.now))
