"""Conduct: what a worker may say to a gateway, and when, written down without looking at the core.

One ``Conduct`` watches one incarnation of a worker over all its connections. It is given each
command and each message that arrives, and raises InvariantViolated.
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core.wire.durations import parse_duration
from inngest_connect.core.worker_core import WorkerCore
from inngest_connect.protocol import connect_pb2 as pb

from .violation import InvariantViolated

_K = pb.GatewayMessageType
USER_TRACE = b'{"traceparent":"the users"}'
SYSTEM_TRACE = b'{"traceparent":"the systems"}'
PAUSE_DELAY = 0.25
"""Seconds that an acknowledgement has to land before WORKER_PAUSE, which may overtake it."""
LONGEST_OFFLINE = 12.0
"""Seconds between attempts that reach nothing, the jitter of a fifth included."""
LONGEST_LOOK = 5.0
"""Seconds between looks at the clock while the worker waits for its next attempt."""


@dataclass(slots=True)
class _Line:
    """One connection, by what was said on it."""

    introduced: bool = False
    ready: bool = False
    announced: bool = False
    draining: bool = False
    paused: bool = False
    closed: bool = False
    heartbeat_interval: float = 0.0
    heartbeat_at: float | None = None


class Conduct:
    """Times are seconds of the simulation."""

    def __init__(self) -> None:
        self.closing = False
        """Somebody has asked the worker to end."""
        self.offline = False
        """The attempt that ended last reached nothing outside the worker's machine."""
        self._lines: dict[int, _Line] = {}
        self._acknowledged_at = float("-inf")
        self._ever_connected = False
        self._blamed: set[str] = set()
        """Gateways that may be excluded: tried, drained or lost since the last success."""
        self._waiting: dict[str, None] = {}
        """Acknowledged requests in their order that do not run yet."""
        self._executed: set[str] = set()

    # --- what the worker does ------------------------------------------------------------------

    def command(self, command: do.Command, core: WorkerCore, now: float, frozen: float) -> None:
        """``frozen`` is until when the worker's process was stopped last."""
        match command:
            case do.Send(generation, data):
                self._sends(generation, pb.ConnectMessage.FromString(data), core, now, frozen)
            case do.Acknowledge(generation, _, data):
                self._sends(generation, pb.ConnectMessage.FromString(data), core, now, frozen)
            case do.RequestStart(_, excluded):
                strange = set(excluded) - self._blamed
                self._require(not strange, f"{strange} are excluded without a reason")
            case do.CloseSocket(generation) | do.AbortSocket(generation):
                self._line(generation).closed = True
            case do.Flush(_, payload):
                self._traces(pb.SDKResponse.FromString(payload), "a flush")
            case do.Execute(request):
                self._executes(request.request_id)
            case do.Finished():
                expected = self.closing or not self._ever_connected
                self._require(expected, "the worker ends although nobody asked it to")
            case seen.Event():
                self._observed(command)

    def acknowledged(self, request_id: str, now: float) -> None:
        """The acknowledgement was written."""
        self._acknowledged_at = now
        if request_id not in self._executed:
            self._waiting.setdefault(request_id)

    def forgets(self, request_id: str) -> None:
        """The request is not to be executed any more."""
        self._waiting.pop(request_id, None)

    def _sends(
        self,
        generation: int,
        message: pb.ConnectMessage,
        core: WorkerCore,
        now: float,
        frozen: float,
    ) -> None:
        line, kind = self._line(generation), message.kind
        name = f"{_K.Name(kind)} on connection {generation}"
        self._require(not line.closed, f"{name} after its close")
        if kind == _K.WORKER_CONNECT:
            self._require(not line.introduced, f"{name} for the second time")
            line.introduced = True
            return
        self._require(line.ready, f"{name} before the handshake is over")
        if kind == _K.WORKER_READY:
            fitting = not self.closing and not line.announced and not line.draining
            self._require(fitting, f"{name} at a wrong time")
            line.announced = True
        elif kind == _K.WORKER_PAUSE:
            self._require(self.closing and not line.paused, f"{name} at a wrong time")
            landed = now - self._acknowledged_at >= PAUSE_DELAY - 1e-6
            self._require(landed or not line.announced, f"{name} overtakes an acknowledgement")
            line.paused = True
        elif kind == _K.WORKER_HEARTBEAT:
            self._heartbeat(line, name, now, frozen)
        elif kind == _K.WORKER_REQUEST_ACK:
            fitting = not (self.closing or line.draining or line.paused)
            self._require(fitting, f"{name} takes work at a wrong time")
            ack = pb.WorkerRequestAckData.FromString(message.payload)
            self._traces(ack, name)
        elif kind == _K.WORKER_REQUEST_EXTEND_LEASE:
            extension = pb.WorkerRequestExtendLeaseData.FromString(message.payload)
            self._traces(extension, name)
        elif kind == _K.WORKER_REPLY:
            self._traces(pb.SDKResponse.FromString(message.payload), name)
        elif kind == _K.WORKER_STATUS:
            status = pb.WorkerStatusData.FromString(message.payload)
            same = set(status.in_flight_request_ids) == set(core.requests.unfinished_ids())
            self._require(same, f"{name} names other requests than those in flight")

    def _heartbeat(self, line: _Line, name: str, now: float, frozen: float) -> None:
        self._require(not line.draining, f"{name} although it is draining")
        last, line.heartbeat_at = line.heartbeat_at, now
        if last is not None and frozen <= last:
            late = now - last > 1.01 * line.heartbeat_interval
            self._require(not late, f"{name} {now - last:.1f} s after the last one")

    def _traces(
        self,
        data: pb.WorkerRequestAckData | pb.WorkerRequestExtendLeaseData | pb.SDKResponse,
        name: str,
    ) -> None:
        echoed = data.user_trace_ctx == USER_TRACE and data.system_trace_ctx == SYSTEM_TRACE
        self._require(echoed, f"{name} with other trace contexts than its request")

    def _executes(self, request_id: str) -> None:
        first = next(iter(self._waiting), request_id)
        self._require(first == request_id, f"{request_id} is executed before {first}")
        self.forgets(request_id)
        self._executed.add(request_id)

    def _observed(self, observation: seen.Event) -> None:
        if isinstance(observation, seen.Connected):
            self._ever_connected = True
            self._blamed.clear()
        elif isinstance(observation, seen.Draining | seen.Disconnected):
            self._blamed.add(observation.gateway_group)
        elif isinstance(observation, seen.Reconnecting) and self.offline:
            self._require(
                observation.delay <= LONGEST_OFFLINE,
                f"{observation.delay:.1f} s until the worker looks for its network again",
            )
        elif isinstance(observation, seen.LeaseLost):
            self.forgets(observation.request_id)

    # --- what it hears -------------------------------------------------------------------------

    def tries(self, gateway: str) -> None:
        """The API has named this gateway for an attempt."""
        self.offline = False
        self._blamed.add(gateway)

    def hears(self, generation: int, data: bytes) -> None:
        """A message of the gateway, before the core is given it."""
        try:
            message = pb.ConnectMessage.FromString(data)
            if message.kind == _K.GATEWAY_CLOSING:
                self._line(generation).draining = True
            elif message.kind == _K.GATEWAY_CONNECTION_READY:
                ready = pb.GatewayConnectionReadyData.FromString(message.payload)
                line = self._line(generation)
                line.ready = line.introduced
                line.heartbeat_interval = parse_duration(ready.heartbeat_interval)
        except (DecodeError, ValueError):
            return

    # --- after every step ----------------------------------------------------------------------

    def step(self, core: WorkerCore, running: int, due: float | None, now: float) -> None:
        """Check the core after it has handled an input; ``due`` is when it is called next."""
        requests, leases = core.requests, core.leases
        if core.connections.current is None and not core.finished:
            looks = due is not None and due <= now + LONGEST_LOOK
            self._require(looks, f"a machine that sleeps now is noticed only at {due}")
        if requests.running != running:
            raise InvariantViolated(f"{requests.running} functions are counted, {running} run")
        for request_id in requests.queue:
            if request_id not in leases:
                raise InvariantViolated(f"{request_id} is queued without a lease")
        if core.connections.current is None or core.finished:
            return
        times = [at for lease in leases if (at := leases.next_extension(lease.request_id))]
        first = min(times, default=None)
        if first is not None and (due is None or due > first):
            raise InvariantViolated(f"an extension is due at {first:.3f}, the next turn is {due}")

    def _line(self, generation: int) -> _Line:
        return self._lines.setdefault(generation, _Line())

    def _require(self, fine: bool, text: str) -> None:
        if not fine:
            raise InvariantViolated(text)
