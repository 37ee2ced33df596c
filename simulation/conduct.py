"""Conduct: what a worker may send to a gateway, and when, stated without looking at the core.

One ``Conduct`` watches one incarnation of a worker over all its connections. It takes each input
before the core does and each command of the core, and raises InvariantViolated.
"""

from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core import inputs
from inngest_connect.core.wire.durations import parse_duration
from inngest_connect.core.worker_core import WorkerCore
from inngest_connect.protocol import connect_pb2 as pb

from .invariants import InvariantViolated
from .promises.watch import kind_of

USER_TRACE = b'{"traceparent":"the users"}'
SYSTEM_TRACE = b'{"traceparent":"the systems"}'
PAUSE_DELAY = 0.25
"""Seconds between an acknowledgement and WORKER_PAUSE, which could overtake it."""
LONGEST_OFFLINE = 15.0
"""Seconds between attempts that reach nothing, the jitter of a half included."""
LONGEST_LOOK = 5.0
"""Seconds between looks at the clock while the worker waits for its next attempt."""

_TOLD: Final = frozenset({pb.GATEWAY_CLOSING, pb.GATEWAY_CONNECTION_READY})
"""Kinds of messages that change what a worker may send."""


@dataclass(slots=True)
class _Line:
    """One connection, by the messages that were sent on it."""

    introduced: bool = False
    ready: bool = False
    announced: bool = False
    draining: bool = False
    paused: bool = False
    closed: bool = False
    heartbeat_interval: float = 0.0
    heartbeat_at: float | None = None


class Conduct:
    """Times are virtual seconds."""

    def __init__(self) -> None:
        self._closing = False
        """The worker was asked to end."""
        self._offline = False
        """The attempt that ended last reached nothing outside the worker's machine."""
        self._lines: dict[int, _Line] = {}
        self._acknowledged_at = float("-inf")
        self._ever_connected = False
        self._may_be_excluded: set[str] = set()
        """Gateways that were tried, drained or lost since the last success."""
        self._waiting: dict[str, None] = {}
        """Acknowledged requests that do not run yet, in their order."""
        self._executed: set[str] = set()
        self._in_flight: list[str] = []
        """Requests whose function had not ended when the last Tick came."""

    # --- what reaches the worker ---------------------------------------------------------------

    def received(self, input: inputs.Input, core: WorkerCore) -> None:
        """Take an input before the core does."""
        match input:
            case inputs.Tick():
                self._in_flight = core.requests.unfinished_ids()
            case inputs.MessageReceived(generation, data):
                if kind_of(data) in _TOLD:
                    self._message(self._line(generation), data)
            case inputs.StartSucceeded():
                self._offline = False
                self._may_be_excluded.add(input.gateway_group)
            case inputs.StartFailed():
                self._offline = input.offline
            case inputs.CloseRequested() | inputs.AbortRequested():
                self._closing = True

    def _message(self, line: _Line, data: bytes) -> None:
        try:
            message = pb.ConnectMessage.FromString(data)
            if message.kind == pb.GATEWAY_CLOSING:
                line.draining = True
            elif message.kind == pb.GATEWAY_CONNECTION_READY:
                ready = pb.GatewayConnectionReadyData.FromString(message.payload)
                line.ready = line.introduced
                line.heartbeat_interval = parse_duration(ready.heartbeat_interval)
        except (DecodeError, ValueError):
            pass  # malformed on purpose

    def acknowledged(self, request_id: str, now: float) -> None:
        """An acknowledgement was written."""
        self._acknowledged_at = now
        if request_id not in self._executed:
            self._waiting.setdefault(request_id)

    # --- what the worker does ------------------------------------------------------------------

    def command(self, command: do.Command, core: WorkerCore, now: float, frozen: float) -> None:
        """Check a command. ``frozen`` is when the worker's process was continued last."""
        problem = ""
        if isinstance(command, do.Acknowledge) and command.request_id not in core.requests.queue:
            # One that was forgotten since, or never queued, queues behind all others.
            self._waiting.pop(command.request_id, None)
        match command:
            case do.Send(generation, data) | do.Acknowledge(generation, _, data):
                line, message = self._line(generation), pb.ConnectMessage.FromString(data)
                problem = self._problem(line, message, now, frozen)
                if problem:
                    kind = pb.GatewayMessageType.Name(message.kind)
                    problem = f"{kind} on connection {generation} {problem}"
            case do.RequestStart(_, excluded):
                self._offline = False  # until this attempt shows whether it still is
                if strange := set(excluded) - self._may_be_excluded:
                    problem = f"{strange} are excluded without a reason"
            case do.CloseSocket(generation) | do.AbortSocket(generation):
                self._line(generation).closed = True
            case do.Flush(_, payload):
                if text := _foreign_traces(pb.SDKResponse.FromString(payload)):
                    problem = f"a flush {text}"
            case do.Execute(request):
                request_id, queue = request.request_id, core.requests.queue
                first = next(
                    (i for i in self._waiting if i in queue or i == request_id), request_id
                )
                if first != request_id:
                    problem = f"{request_id} is executed before {first}"
                self._waiting.pop(request_id, None)
                self._executed.add(request_id)
            case do.Finished():
                if self._ever_connected and not self._closing:
                    problem = "the worker ends although it was not asked to"
            case seen.Connected():
                self._ever_connected = True
                self._may_be_excluded.clear()
            case seen.Draining() | seen.Disconnected():
                self._may_be_excluded.add(command.gateway_group)
            case seen.Reconnecting():
                if self._offline and command.delay > LONGEST_OFFLINE:
                    problem = f"{command.delay:.1f} s until the worker looks for its network again"
            case seen.LeaseLost():
                self._waiting.pop(command.request_id, None)
                self._executed.discard(command.request_id)  # it can be given to this worker again
            case seen.ErrorOccurred(kind="reply_evicted" | "reply_refused"):
                self._executed.discard(command.request_id or "")  # nothing of it is kept
        if problem:
            raise InvariantViolated(problem)

    def _problem(self, line: _Line, message: pb.ConnectMessage, now: float, frozen: float) -> str:
        # Returns what is wrong with sending this message now, or an empty text.
        if line.closed:
            return "after its close"
        if message.kind == pb.WORKER_CONNECT:
            if line.introduced:
                return "for the second time"
            line.introduced = True
            return ""
        if not line.ready:
            return "before the handshake is over"
        match message.kind:
            case pb.WORKER_READY:
                if self._closing or line.announced or line.draining:
                    return "at a wrong time"
                line.announced = True
            case pb.WORKER_PAUSE:
                if not self._closing or line.paused:
                    return "at a wrong time"
                if line.announced and now - self._acknowledged_at < PAUSE_DELAY - 1e-6:
                    return "overtakes an acknowledgement"
                line.paused = True
            case pb.WORKER_HEARTBEAT:
                last, line.heartbeat_at = line.heartbeat_at, now
                if line.draining:
                    return "although it is draining"
                since = now - last if last is not None and frozen <= last else 0.0
                if since > 1.01 * line.heartbeat_interval:
                    return f"{since:.1f} s after the last one"
            case pb.WORKER_REQUEST_ACK:
                if self._closing or line.draining or line.paused:
                    return "takes work at a wrong time"
                return _foreign_traces(pb.WorkerRequestAckData.FromString(message.payload))
            case pb.WORKER_REQUEST_EXTEND_LEASE:
                return _foreign_traces(pb.WorkerRequestExtendLeaseData.FromString(message.payload))
            case pb.WORKER_REPLY:
                return _foreign_traces(pb.SDKResponse.FromString(message.payload))
            case pb.WORKER_STATUS:
                named = pb.WorkerStatusData.FromString(message.payload).in_flight_request_ids
                # Not those that are left after this turn, in which a shutdown may give up its work.
                if set(named) != set(self._in_flight):
                    return "names other requests than those in flight"
        return ""

    # --- after every step ----------------------------------------------------------------------

    def step(self, core: WorkerCore, running: int, due: float | None, now: float) -> None:
        """Check the core after it has handled an input; ``due`` is when it is called next."""
        requests, leases = core.requests, core.leases
        over, alone = core.finished, core.connections.current is None
        if alone and not over and (due is None or due > now + LONGEST_LOOK):
            raise InvariantViolated(f"a machine that sleeps now is noticed only at {due}")
        if requests.running != running:
            raise InvariantViolated(f"{requests.running} functions are counted, {running} run")
        for request_id in requests.queue:
            if request_id not in leases:
                raise InvariantViolated(f"{request_id} is queued without a lease")
        if alone or over or not len(leases):
            return
        extension = leases.deadlines.get  # a twentieth of the time would be spent on a call more
        times = [at for lease in leases if (at := extension(lease.request_id))]
        first = min(times, default=None)
        if first is not None and (due is None or due > first):
            raise InvariantViolated(f"an extension is due at {first:.3f}, the next turn is {due}")

    def _line(self, generation: int) -> _Line:
        line = self._lines.get(generation)
        if line is None:
            line = self._lines[generation] = _Line()
        return line


def _foreign_traces(
    data: pb.WorkerRequestAckData | pb.WorkerRequestExtendLeaseData | pb.SDKResponse,
) -> str:
    echoed = data.user_trace_ctx == USER_TRACE and data.system_trace_ctx == SYSTEM_TRACE
    return "" if echoed else "with other trace contexts than its request"
