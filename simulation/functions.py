"""Functions: what the executor dispatches to the worker, and how long each execution takes."""

from typing import TYPE_CHECKING, Final

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.protocol import connect_pb2 as pb

from .conduct import SYSTEM_TRACE, USER_TRACE
from .invariants import SECRET
from .results import result_of

if TYPE_CHECKING:
    from .simulation import Simulation

AFTER: Final = 30.0
"""Seconds of quiet after which functions that still run return."""
_BODY: Final = f'"{SECRET}"'.encode()


class Functions:
    """Executions of all incarnations of the worker. Times are virtual seconds."""

    def __init__(self, sim: "Simulation") -> None:
        self._sim = sim
        self._planned: dict[str, tuple[float, bool]] = {}
        """By request id: the duration, and whether a cancellation ends it."""
        self._positions: dict[str, int] = {}
        self.end_by = sim.schedule.quiet_from + AFTER

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
        self._planned[request_id] = (duration, can_cancel)
        self._positions[request_id] = len(self._positions)
        sim.note("executor", f"dispatches {request_id}")
        sim.gateway_does(actions)

    def execute(self, command: do.Execute) -> None:
        """Start a function; it returns when its time is over, in the quiet part at the latest."""
        sim = self._sim
        request_id = command.request.request_id
        sim.invariants.started(request_id)
        duration, _ = self._planned[request_id]
        end = max(sim.now, min(sim.now + duration, self.end_by))
        sim.later(end, self._end, sim.incarnation, request_id, False)

    def cancel(self, request_id: str) -> None:
        """Cancel a function; a sync one runs on."""
        sim = self._sim
        if self._planned[request_id][1]:
            sim.later(sim.now, self._end, sim.incarnation, request_id, True)

    def _end(self, incarnation: int, request_id: str, cancelled: bool) -> None:
        sim = self._sim
        if incarnation != sim.incarnation or request_id not in sim.invariants.running:
            return
        if sim.now < sim.worker_frozen_until:
            until = sim.worker_frozen_until
            sim.later(until, self._end, incarnation, request_id, cancelled)
            return
        sim.invariants.ended(request_id)
        result = None if cancelled else result_of(self._positions[request_id])
        sim.deliver(inputs.ExecutionFinished(request_id, result))
