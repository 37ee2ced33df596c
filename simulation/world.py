"""World: one worker's core against model gateways, a model API and a model network.

The core is the real one; this file does for it what the orchestrator does, in virtual time: it
carries out commands and brings events. Everything waits in one heap. After every step the
invariants are checked.
"""

import heapq
import random
from collections.abc import Callable
from typing import Any

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core import inputs
from inngest_connect.core.requests.leases import UNANSWERED_RETRY
from inngest_connect.core.retry import ScheduleRetry
from inngest_connect.core.settings import AppIdentity, WorkerIdentity
from inngest_connect.core.wire.durations import parse_duration
from inngest_connect.core.wire.messages import ExecutionResult
from inngest_connect.core.worker_core import WorkerCore
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.state_machine import ConnectionState
from inngest_connect.testing.model.actions import (
    Action,
    CloseConnection,
    DropConnection,
    RequestEnded,
    SendTo,
)
from inngest_connect.testing.model.gateway_model import GatewayModel

from .conduct import SYSTEM_TRACE, USER_TRACE, Conduct
from .faults import Faults
from .invariants import SECRET, Invariants, InvariantViolated
from .model_api import ModelApi
from .network import Link
from .schedule import Schedule

IDENTITY = WorkerIdentity(
    instance_id="worker",
    apps=(AppIdentity("app", b'[{"id":"app-fn"}]', frozenset({"app-fn"})),),
    capabilities=b"{}",
    sdk_language="py",
    sdk_version="0",
    framework="connect",
)
_K = pb.GatewayMessageType
_BODY = f'"{SECRET}"'.encode()
_AFTER = 30.0
"""Seconds of quiet after which functions that still run return."""
_RECOVERY = 90.0
"""Seconds within which a worker is ACTIVE again once nothing is wrong and its retry is due."""
_MOST_STEPS = 200_000


class World:
    """``run()`` raises InvariantViolated. ``note`` is told every step, for a timeline."""

    def __init__(
        self,
        schedule: Schedule,
        make_core: Callable[..., WorkerCore] = WorkerCore,
        note: Callable[[float, str, Any], None] | None = None,
    ) -> None:
        self.schedule = schedule
        self.draw = random.Random(~schedule.seed)
        self.now = 0.0
        self.model = GatewayModel(schedule.gateway, self.draw.getrandbits)
        self.api = ModelApi(self.draw, schedule.core.signing_keys, self.model.issued)
        self.invariants = Invariants()
        self.conduct = Conduct()
        self.links: dict[int, Link] = {}
        """By generation: those that the worker has not heard the end of."""
        self.numbers: dict[int, Link] = {}
        self.worker_frozen_until = 0.0
        self.gateway_frozen_until = 0.0
        self.losing_until = 0.0
        self.faults = Faults(self)
        self._make_core = make_core
        self._note = note
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._last = 0
        self._incarnation = 0
        self._durations: dict[str, tuple[float, bool]] = {}
        self._healthy_since: float | None = None
        self._served: Link | None = None
        self._functions_end_by = schedule.quiet_from + _AFTER
        self._interval = parse_duration(schedule.gateway.extend_lease_interval)
        self._core_due: float | None = None
        self._model_due: float | None = None
        self._over = False
        self.core = self._new_core()

    def _new_core(self) -> WorkerCore:
        return self._make_core(IDENTITY, self.schedule.core, ScheduleRetry(), self.draw.random)

    # --- running -------------------------------------------------------------------------------

    def run(self) -> "World":
        """From the start of the worker to its end, or InvariantViolated."""
        for _ in range(self.schedule.gateways):
            self.faults.add_gateway()
        for entry in self.schedule.entries:
            self.later(entry.at, self.faults.happen, entry)
        self.later(self.schedule.quiet_from, self._recovered, 0)
        self.deliver(inputs.Started())
        for _ in range(_MOST_STEPS):
            if self._over or not self._step():
                break
        else:
            raise InvariantViolated("there is no end of it: something is due again and again")
        self._final()
        return self

    def _step(self) -> bool:
        at = self._heap[0][0] if self._heap else None
        source = 0
        due = self._core_due
        if due is not None:
            # A process that thaws reads what has come before its timers fire, as event loops do.
            due = max(due, self.worker_frozen_until)
            if at is None or due < at:
                at, source = due, 1
        if self._model_due is not None and (at is None or self._model_due < at):
            at, source = self._model_due, 2
        if at is None:
            return False
        self.now = max(self.now, at)
        if source == 0:
            _, _, action, arguments = heapq.heappop(self._heap)
            action(*arguments)
        elif source == 1:
            self.deliver(inputs.Tick())
        else:
            self.gateway_does(self.model.tick(self.now))
        return True

    def later(self, at: float, action: Callable[..., None], *arguments: Any) -> None:
        self._last += 1
        heapq.heappush(self._heap, (at, self._last, action, arguments))

    def note(self, who: str, what: Any) -> None:
        if self._note is not None:
            self._note(self.now, who, what)

    def _way(self) -> float:
        return self.schedule.delay * self.draw.random()

    # --- the worker ----------------------------------------------------------------------------

    def worker_later(self, delay: float, event: inputs.Input) -> None:
        """Bring an event to the worker that lives now, if it still lives then."""
        self.later(self.now + delay, self._worker_hears, self._incarnation, event)

    def _worker_hears(self, incarnation: int, event: inputs.Input) -> None:
        if incarnation == self._incarnation:
            self.deliver(event)

    def deliver(self, event: inputs.Input) -> None:
        """Give the core an event and carry out what it answers."""
        if self.core.finished:
            return
        if self.now < self.worker_frozen_until:
            if isinstance(event, inputs.Tick):
                self._core_due = self.worker_frozen_until
            else:
                delay = self.worker_frozen_until - self.now
                self.worker_later(delay, event)
            return
        self.note("worker", event)
        self._heard(event)
        pending = [event]
        while pending:
            for command in self.core.handle(pending.pop(0), self.now):
                self.note("worker does", command)
                self.conduct.command(command, self.core, self.now, self.worker_frozen_until)
                follow_up = self._carry_out(command)
                if follow_up is not None:
                    pending.append(follow_up)
        self._core_due = self.core.next_deadline()
        self.check_health()
        self.invariants.step(self.core, sum(1 for link in self.links.values() if link.accepted))
        self.conduct.step(self.core, len(self.invariants.running), self._core_due, self.now)

    def _heard(self, event: inputs.Input) -> None:
        match event:
            case inputs.MessageReceived(generation, data):
                self.conduct.hears(generation, data)
            case inputs.StartSucceeded():
                self.conduct.tries(event.gateway_group)
            case inputs.StartFailed():
                self.conduct.offline = event.offline
            case inputs.CloseRequested():
                self.conduct.closing = True
            case inputs.AbortRequested():
                self.conduct.closing = True

    def _carry_out(self, command: do.Command) -> inputs.Input | None:
        match command:
            case do.Send(generation, data):
                self._check_sent(data)
                self._write(generation, data)
            case do.Acknowledge(generation, request_id, data):
                if self._write(generation, data):
                    self.invariants.acknowledged.add(request_id)
                    self.conduct.acknowledged(request_id, self.now)
                    return inputs.AcknowledgementWritten(generation, request_id)
                return inputs.AcknowledgementFailed(generation, request_id)
            case do.Execute():
                self._execute(command)
            case seen.Event():
                self.invariants.observed(command)
            case do.CancelExecution(request_id):
                self._cancel(request_id)
            case do.Flush(request_id):
                self.invariants.answers(request_id)
                self.later(self.now + self._way(), self._flushed, self._incarnation, command)
            case do.RequestStart():
                self.later(self.now + self._way(), self._started, self._incarnation, command)
            case do.OpenSocket(generation, url):
                self._dial(generation, url.removeprefix("ws://"))
            case do.CloseSocket(generation, code, _):
                self._worker_closes(generation, code)
            case do.AbortSocket(generation):
                self._worker_aborts(generation)
            case do.Finished():
                self._worker_ended()
        return None

    def _check_sent(self, data: bytes) -> None:
        message = pb.ConnectMessage.FromString(data)
        if message.kind == _K.WORKER_REPLY:
            self.invariants.answers(pb.SDKResponse.FromString(message.payload).request_id)

    def _worker_aborts(self, generation: int) -> None:
        link = self.links.pop(generation, None)
        if link is None:
            return
        self._gateway_loses(link)
        served = link is self._served and link.number in self.numbers
        # A process that was stopped for long cannot know; to connect anew is the safe side.
        thawed = self.worker_frozen_until > 0.0 and self.now <= self.worker_frozen_until
        if (
            served
            and not thawed
            and self._healthy_since is not None
            and not self.core.shutdown.requested
        ):
            raise InvariantViolated(f"connection {generation} is given up although it is sound")

    def _worker_ended(self) -> None:
        for link in list(self.links.values()):
            self._gateway_loses(link)
        self.links.clear()
        self._over = True

    def crash(self) -> None:
        """The process dies; another one takes its place two seconds later."""
        self._incarnation += 1
        self.invariants.crashed()
        for link in list(self.links.values()):
            self._gateway_loses(link)
        self.links.clear()
        self.core = self._new_core()
        self.conduct = Conduct()
        self._core_due = None
        self.worker_later(2.0, inputs.Started())

    # --- functions -----------------------------------------------------------------------------

    def dispatch(self, duration: float, can_cancel: bool) -> None:
        message = pb.GatewayExecutorRequestData(
            app_name="app",
            function_slug="app-fn",
            run_id="run",
            request_payload=_BODY,
            system_trace_ctx=SYSTEM_TRACE,
            user_trace_ctx=USER_TRACE,
        )
        request_id, actions = self.model.dispatch(message, self.now)
        self._durations[request_id] = (duration, can_cancel)
        self.note("executor", f"dispatches {request_id}")
        self.gateway_does(actions)

    def _execute(self, command: do.Execute) -> None:
        self.invariants.execute(command)
        request_id = command.request.request_id
        duration, _ = self._durations[request_id]
        end = max(self.now, min(self.now + duration, self._functions_end_by))
        self.later(end, self._function_ends, self._incarnation, request_id, False)

    def _function_ends(self, incarnation: int, request_id: str, cancelled: bool) -> None:
        if incarnation != self._incarnation or request_id not in self.invariants.running:
            return
        if self.now < self.worker_frozen_until:
            until = self.worker_frozen_until
            self.later(until, self._function_ends, incarnation, request_id, cancelled)
            return
        self.invariants.running.discard(request_id)
        result = None if cancelled else ExecutionResult(pb.SDKResponseStatus.DONE, _BODY * 20)
        self.deliver(inputs.ExecutionFinished(request_id, result))

    def _cancel(self, request_id: str) -> None:
        if self._durations[request_id][1]:
            self.later(self.now, self._function_ends, self._incarnation, request_id, True)

    # --- the API -------------------------------------------------------------------------------

    def _started(self, incarnation: int, command: do.RequestStart) -> None:
        delay, event = self.api.start(
            command.generation, command.exclude_gateways, SECRET, self.now
        )
        self.later(self.now + delay + self._way(), self._worker_hears, incarnation, event)

    def _flushed(self, incarnation: int, command: do.Flush) -> None:
        stored, delay, event = self.api.flush(command.request_id, self.now)
        if stored:
            response = pb.SDKResponse.FromString(command.payload)
            self.gateway_does(self.model.flush(response, self.now))
        self.later(self.now + delay + self._way(), self._worker_hears, incarnation, event)

    # --- the network ---------------------------------------------------------------------------

    def _dial(self, generation: int, gateway: str) -> None:
        self._last += 1
        link = Link(generation, self._last, gateway)
        self.links[generation] = link
        self.later(self.now + self._way(), self._accept, self._incarnation, link)

    def _accept(self, incarnation: int, link: Link) -> None:
        if incarnation != self._incarnation or self.links.get(link.generation) is not link:
            return
        if self.now < self.gateway_frozen_until:
            self.later(self.gateway_frozen_until, self._accept, incarnation, link)
            return
        if link.gateway in self.faults.dead:
            del self.links[link.generation]
            self.deliver(inputs.SocketClosed(link.generation, 1006, "", "connection refused"))
            return
        link.accepted = True
        self.numbers[link.number] = link
        self.deliver(inputs.SocketOpened(link.generation))
        if link.number in self.numbers:
            self.gateway_does(self.model.opened(link.number, link.gateway, self.now))

    def _write(self, generation: int, data: bytes) -> bool:
        """Whether the worker's own end of the socket takes it, which is all that it learns."""
        link = self.links.get(generation)
        if link is None or not link.accepted or link.closed_by_worker or link.refuses_writes:
            return False
        link.up_at = max(link.up_at, self.now + self._way(), link.held_until)
        self.later(link.up_at, self._gateway_hears, link, data)
        return True

    def _gateway_hears(self, link: Link, data: bytes) -> None:
        if link.broken or link.number not in self.numbers:
            return
        if self.now < max(self.gateway_frozen_until, link.held_until):
            until = max(self.gateway_frozen_until, link.held_until)
            self.later(until, self._gateway_hears, link, data)
            return
        self.gateway_does(self.model.received(link.number, data, self.now))

    def gateway_does(self, actions: list[Action]) -> None:
        """Carry out what the model gateway has decided."""
        for action in actions:
            match action:
                case SendTo(number, data):
                    if number in self.numbers:
                        self.send_down(self.numbers[number], data)
                case CloseConnection(number, code, reason):
                    if number in self.numbers:
                        self.gateway_closes(self.numbers[number], code, reason)
                case DropConnection(number):
                    if number in self.numbers:
                        self.gateway_closes(self.numbers[number], 1006, "")
                case RequestEnded():
                    self._request_ended(action)
        self._model_due = self.model.next_deadline()

    def send_down(self, link: Link, data: bytes) -> None:
        if link.broken:
            return
        if self.now < self.losing_until and self.faults.is_acknowledgement(data):
            chance = self.draw.random()
            if chance < 0.6:
                return
            if chance < 0.8:
                self.later(self.now + self._way(), self._worker_receives, link, data)
        link.down_at = max(link.down_at, self.now + self._way(), link.held_until)
        self.later(link.down_at, self._worker_receives, link, data)

    def _worker_receives(self, link: Link, data: bytes) -> None:
        lost = link.broken and not link.delivers_rest
        if lost or self.links.get(link.generation) is not link:
            return
        if self.now < link.held_until:
            self.later(link.held_until, self._worker_receives, link, data)
            return
        self.deliver(inputs.MessageReceived(link.generation, data))

    def _worker_closes(self, generation: int, code: int) -> None:
        """A close frame: the gateway answers it, and the worker hears of the end."""
        link = self.links.get(generation)
        if link is None or link.closed_by_worker:
            return
        link.closed_by_worker = True
        if not link.broken:
            link.up_at = max(link.up_at, self.now + self._way(), link.held_until)
            self.later(link.up_at, self._gateway_answers_close, link, code)

    def _gateway_answers_close(self, link: Link, code: int) -> None:
        if link.broken or link.number not in self.numbers:
            return
        self.gateway_forgets(link)
        self.later(self.now + self._way(), self._socket_ends, link, code, "")

    def gateway_closes(self, link: Link, code: int, reason: str) -> None:
        """The gateway's side is closed; what it has sent before still arrives."""
        self.gateway_forgets(link)
        if not link.broken:
            link.down_at = max(link.down_at, self.now + self._way(), link.held_until)
            self.later(link.down_at, self._socket_ends, link, code, reason)

    def gateway_forgets(self, link: Link) -> None:
        if self.numbers.pop(link.number, None) is not None:
            self.gateway_does(self.model.closed(link.number, self.now))

    def _socket_ends(self, link: Link, code: int, reason: str) -> None:
        if self.links.get(link.generation) is not link:
            return
        if self.now < self.worker_frozen_until:
            self.later(self.worker_frozen_until, self._socket_ends, link, code, reason)
            return
        del self.links[link.generation]
        error = "connection reset" if code == 1006 else None
        self.deliver(inputs.SocketClosed(link.generation, code, reason, error))

    def break_link(self, link: Link) -> None:
        """Both sides notice, each in its time; what is under way is lost."""
        link.broken = True
        link.delivers_rest = self.draw.random() < 0.5
        link.refuses_writes = self.draw.random() < 0.5
        self.later(self.now + self._way(), self._socket_ends, link, 1006, "")
        self._gateway_loses(link)

    def _gateway_loses(self, link: Link) -> None:
        """The worker's side is gone; the gateway notices unless nothing passes any more."""
        if not link.broken or link.number in self.numbers:
            self.later(self.now + self._way(), self.gateway_forgets, link)

    # --- what must hold ------------------------------------------------------------------------

    def check_health(self) -> None:
        """Keep ``_healthy_since``: since when the worker could have extended a lease."""
        current = self.core.connections.current
        link = self.links.get(current.number) if current is not None else None
        held = max(self.worker_frozen_until, self.gateway_frozen_until, self.losing_until)
        self._served = link
        if link is None or link.broken or self.now < max(held, link.held_until):
            self._healthy_since = None
        elif self._healthy_since is None:
            self._healthy_since = self.now

    def _request_ended(self, action: RequestEnded) -> None:
        record = self.model.ledger.records[action.request_id]
        if record.outcome != "expired" or not record.acknowledged_by:
            return
        self.note("executor", f"gives {action.request_id} up: its lease has expired")
        lease_until = self.now - self.schedule.gateway.lease_grace
        slack = 4 * self.schedule.delay + 2 * self.schedule.gateway.handling_delay + 0.5
        needed = self._interval + UNANSWERED_RETRY + slack
        self.check_health()
        since = self._healthy_since
        in_time = since is not None and since <= lease_until - needed
        if action.request_id not in self.core.shutdown.abandoned:
            self.invariants.expired(record, lease_until, since if in_time else None)
        self.invariants.excused.add(action.request_id)

    def _recovered(self, looks: int) -> None:
        """Nothing is wrong any more: the worker has to come back, and then to end when asked."""
        core = self.core
        if core.finished:
            return
        if core.shutdown.requested or self.now >= self._functions_end_by + 10.0:
            self._ask_to_close(core.machine.state)
            return
        retry_at = core.connections.attempts.retry_at
        due = max(self.now, retry_at or 0.0) + _RECOVERY
        if looks and core.machine.external_state is not ConnectionState.ACTIVE and looks > 3:
            raise InvariantViolated(f"not ACTIVE although nothing is wrong: {core.machine.state}")
        active = core.machine.external_state is ConnectionState.ACTIVE
        if active and looks and (self._served is None or self._served.number not in self.numbers):
            raise InvariantViolated("the worker believes in a connection that is gone")
        at = self._functions_end_by + 10.0 if active else due
        self.later(max(at, self.now + 1.0), self._recovered, looks + 1)

    def _ask_to_close(self, state: ConnectionState) -> None:
        if not self.core.shutdown.requested and state is not ConnectionState.ACTIVE:
            raise InvariantViolated(f"not ACTIVE although nothing is wrong: {state.value}")
        self.deliver(inputs.CloseRequested())
        self.later(max(self.now, self._functions_end_by) + _RECOVERY, self._end)

    def _end(self) -> None:
        self._over = True

    def _final(self) -> None:
        self.invariants.finally_holds(self.core, self.model)
        for record in self.model.ledger.records.values():
            if record.acknowledged_by and record.outcome == "waiting":
                self.invariants.unanswered(record, self.core)
