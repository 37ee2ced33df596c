"""FleetWorker: the real core of one worker, and the sockets that it has, in virtual time."""

from random import Random
from typing import TYPE_CHECKING, Final

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core import inputs
from inngest_connect.core.drive import drive
from inngest_connect.core.retry import RetryStrategy
from inngest_connect.core.settings import AppIdentity, CoreSettings, WorkerIdentity
from inngest_connect.core.wire.messages import envelope
from inngest_connect.core.worker_core import WorkerCore
from inngest_connect.protocol import REASON_GATEWAY_CLOSING
from inngest_connect.protocol import connect_pb2 as pb

if TYPE_CHECKING:
    from .fleet import Fleet
    from .gateway import Gateway

_K = pb.GatewayMessageType
_HELLO: Final = envelope(_K.GATEWAY_HELLO)
_READY: Final = envelope(
    _K.GATEWAY_CONNECTION_READY,
    pb.GatewayConnectionReadyData(
        heartbeat_interval="10s", extend_lease_interval="5s"
    ).SerializeToString(),
)
_HEARTBEAT: Final = envelope(_K.GATEWAY_HEARTBEAT)
_CLOSING: Final = envelope(_K.GATEWAY_CLOSING)

IDENTITY: Final = WorkerIdentity(
    instance_id="worker",
    apps=(AppIdentity("app", b'[{"id":"app-fn"}]', frozenset({"app-fn"})),),
    capabilities=b"{}",
    sdk_language="py",
    sdk_version="0",
    framework="connect",
)
SETTINGS: Final = CoreSettings()

# Round trips from the first packet to the open WebSocket: TCP, TLS, upgrade.
DIAL_ROUND_TRIPS: Final = 3

# Seconds in which a gateway synchronizes the apps of a connection that it knows.
SYNC: Final = 0.02


class FleetWorker:
    """``latency`` is seconds in one direction, to the API and to every gateway."""

    def __init__(self, fleet: "Fleet", retry: RetryStrategy, random: Random) -> None:
        self.core = WorkerCore(IDENTITY, SETTINGS, retry, random.random)
        self.latency = random.uniform(0.005, 0.05)
        self.sockets: dict[int, Gateway] = {}
        """By generation, those that are open at both ends."""
        self.recovers_since: float | None = None
        """From when its recovery counts, None while there is nothing to recover from."""
        self._fleet = fleet
        self._retry = retry
        self._random = random
        self._planned: float | None = None

    # --- what happens --------------------------------------------------------------------------

    def deliver(self, input: inputs.Input) -> None:
        """Give the core an input, and carry out its commands."""
        fleet = self._fleet
        drive(self.core, input, fleet.now, self._carry_out)
        due = self.core.next_deadline()
        # A time that moved further away is found out when the earlier one comes.
        if due is not None and (self._planned is None or due < self._planned):
            self._planned = due
            fleet.at(due, self._turn, due)

    def _turn(self, planned: float) -> None:
        if planned != self._planned:
            return
        self._planned = None
        due = self.core.next_deadline()
        if due is None:
            return
        if due > self._fleet.now:
            self._planned = due
            self._fleet.at(due, self._turn, due)
        else:
            self.deliver(inputs.Tick())

    def loses(self, gateway: "Gateway", code: int, reason: str) -> None:
        """The sockets to a gateway end."""
        for generation in [g for g, other in self.sockets.items() if other is gateway]:
            del self.sockets[generation]
            self._receives(inputs.SocketClosed(generation, code, reason))

    def drains(self, gateway: "Gateway") -> None:
        """A gateway announces on the sockets to it that it closes."""
        for generation, other in self.sockets.items():
            if other is gateway:
                self._message(generation, _CLOSING)

    def _message(self, generation: int, data: bytes, after: float = 0.0) -> None:
        self._receives(inputs.MessageReceived(generation, data), after)

    def _receives(self, input: inputs.Input, after: float = 0.0) -> None:
        fleet = self._fleet
        fleet.at(fleet.now + after + self.latency, self.deliver, input)

    # --- what it does --------------------------------------------------------------------------

    def _carry_out(self, command: do.Command) -> inputs.Input | None:
        fleet = self._fleet
        match command:
            case do.Send(generation, data):
                fleet.at(fleet.now + self.latency, self._arrives, generation, data)
            case seen.Connected():
                fleet.connected(self)
            case seen.Disconnected(expected=False):
                fleet.lost_connections += 1
            case do.RequestStart(generation, excluded):
                fleet.at(fleet.now + self.latency, self._start, generation, excluded)
            case do.OpenSocket(generation, url):
                dialed = 2 * DIAL_ROUND_TRIPS * self.latency
                fleet.at(fleet.now + dialed, self._opened, generation, url)
            case do.CloseSocket(generation, code, reason):
                if self.sockets.pop(generation, None) is not None:
                    self._receives(inputs.SocketClosed(generation, code, reason), self.latency)
            case do.AbortSocket(generation):
                self.sockets.pop(generation, None)
            case do.AskRetryDelay(question, failures):
                delay = self._retry.delay(failures, self._random.random)
                return inputs.RetryDelayAnswered(question, delay)
        return None

    def _start(self, generation: int, excluded: tuple[str, ...]) -> None:
        fleet = self._fleet
        at, refusal = fleet.api.call(fleet.now)
        if refusal is None:
            gateway = fleet.choose(excluded)
            answer: inputs.Input = inputs.StartSucceeded(
                generation, f"01{fleet.api.calls:024d}", gateway.name, gateway.name, "", ""
            )
        else:
            answer = inputs.StartFailed(
                generation, refusal.status, refusal.text, refusal.retry_after
            )
        fleet.at(at + self.latency, self.deliver, answer)

    def _opened(self, generation: int, name: str) -> None:
        # Called when the answer of the gateway to the upgrade is back.
        attempt = self.core.connections.attempt
        if attempt is None or attempt.number != generation:
            return
        gateway = self._fleet.gateways[name]
        if not gateway.alive:
            error = "connection refused"
            self.deliver(inputs.SocketClosed(generation, 1006, "", error))
            return
        self.deliver(inputs.SocketOpened(generation))
        if gateway.draining:
            self.deliver(inputs.SocketClosed(generation, 1001, REASON_GATEWAY_CLOSING))
            return
        self.sockets[generation] = gateway
        self.deliver(inputs.MessageReceived(generation, _HELLO))

    def _arrives(self, generation: int, data: bytes) -> None:
        gateway = self.sockets.get(generation)
        if gateway is None:
            return
        kind = pb.ConnectMessage.FromString(data).kind
        if kind == _K.WORKER_HEARTBEAT:
            self._message(generation, _HEARTBEAT)
        elif kind == _K.WORKER_CONNECT:
            # A gateway that began to drain during the handshake says so in place of READY.
            self._message(generation, _CLOSING if gateway.draining else _READY, SYNC)
