"""Functions: what the executor dispatches to the worker, and how long each execution takes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.core.wire.messages import ExecutionResult
from inngest_connect.protocol import connect_pb2 as pb

from .conduct import SYSTEM_TRACE, USER_TRACE
from .invariants import SECRET
from .results import result_of

if TYPE_CHECKING:
    from .simulation import Simulation

AFTER: Final = 30.0
"""Seconds of quiet after which functions that still run return."""
LATE: Final = 20.0
"""Seconds that a function goes on after its cancellation, before it returns a result."""
_BODY: Final = f'"{SECRET}"'.encode()


@dataclass(slots=True)
class Plan:
    """What the function of one request does. ``size`` is that of its output in bytes, 0 for any."""

    message: pb.GatewayExecutorRequestData
    duration: float
    can_cancel: bool
    behavior: str
    size: int
    position: int
    """How many requests were dispatched before."""

    def result(self) -> ExecutionResult:
        """What it returns."""
        if self.behavior == "error":
            return ExecutionResult(pb.SDKResponseStatus.ERROR, _BODY)
        if not self.size:
            return result_of(self.position)
        body = _BODY * (self.size // len(_BODY) + 1)
        return ExecutionResult(pb.SDKResponseStatus.DONE, body[: self.size])


_PLAIN: Final = ("return", 0)


class Functions:
    """Executions of all incarnations of the worker. Times are virtual seconds."""

    def __init__(self, sim: "Simulation") -> None:
        self._sim = sim
        self._planned: dict[str, Plan] = {}
        self._behavior: tuple[str, int] = _PLAIN
        self._paused_until = 0.0
        self.end_by = sim.schedule.quiet_from + AFTER

    def request(self, duration: float, detail: Any) -> None:
        """Dispatch what an entry describes: "sync", "async", or a behavior and a size."""
        plain = isinstance(detail, str)
        self._behavior = _PLAIN if plain else detail
        self.dispatch(duration, detail != "sync")

    def dispatch(self, duration: float, can_cancel: bool) -> None:
        """Have the executor send a request whose function runs for ``duration``."""
        sim = self._sim
        message = pb.GatewayExecutorRequestData(
            app_name="app",
            account_id="account",
            env_id="environment",
            app_id="id of the app",
            function_slug="app-fn",
            step_id="step",
            run_id="run",
            request_payload=_BODY,
            system_trace_ctx=SYSTEM_TRACE,
            user_trace_ctx=USER_TRACE,
        )
        request_id, actions = sim.model.dispatch(message, sim.now)
        position = len(self._planned)
        self._planned[request_id] = Plan(message, duration, can_cancel, *self._behavior, position)
        sim.note("executor", f"dispatches {request_id}")
        sim.gateway_does(actions)

    def message(self, request_id: str) -> pb.GatewayExecutorRequestData:
        """The request as it was dispatched."""
        return self._planned[request_id].message

    def pause(self, until: float) -> None:
        """Stop the application's event loop: functions neither go on nor end before."""
        self._paused_until = max(self._paused_until, until)

    def execute(self, command: do.Execute) -> None:
        """Start a function; it returns when its time is over, in the quiet part at the latest."""
        sim = self._sim
        request_id = command.request.request_id
        sim.invariants.started(request_id)
        plan = self._planned[request_id]
        if plan.behavior == "misbehave":
            sim.counts.situation("a function ends more than its own run")
            sim.worker_later(0.0, inputs.FunctionMisbehaved(request_id, "app-fn left its loop"))
        begin = max(sim.now, self._paused_until)
        end = max(sim.now, min(begin + plan.duration, self.end_by))
        sim.later(end, self._end, sim.incarnation, request_id, False)

    def cancel(self, request_id: str) -> None:
        """Cancel a function; a sync one runs on."""
        sim = self._sim
        plan = self._planned[request_id]
        if plan.behavior == "late":
            sim.counts.situation("a function resists its cancellation")
            sim.later(sim.now + LATE, self._end, sim.incarnation, request_id, False)
        elif plan.can_cancel:
            sim.later(sim.now, self._end, sim.incarnation, request_id, True)

    def _end(self, incarnation: int, request_id: str, cancelled: bool) -> None:
        sim = self._sim
        if incarnation != sim.incarnation or request_id not in sim.invariants.running:
            return
        until = max(sim.worker_frozen_until, self._paused_until)
        if sim.now < until:
            if until > sim.worker_frozen_until:
                sim.counts.situation("a function ends while the application's loop is stopped")
            sim.later(until, self._end, incarnation, request_id, cancelled)
            return
        sim.invariants.ended(request_id)
        result = None if cancelled else self._planned[request_id].result()
        sim.deliver(inputs.ExecutionFinished(request_id, result))
        if sim.core.requests.queue and sim.core.buffer.above_high_water():
            sim.counts.situation("functions wait for the buffer")
