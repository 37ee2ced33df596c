"""Simulation: the core of one worker against model gateways, a model API and a model network.

The core is the real one. This file replaces the orchestrator, in virtual time: it delivers inputs
and carries out commands. Whatever happens later waits in one heap. After every step the invariants
are checked.
"""

import heapq
import random
from collections.abc import Callable
from typing import Any, assert_never

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core import inputs
from inngest_connect.core.drive import drive
from inngest_connect.core.requests.answered_requests import AnsweredRequests
from inngest_connect.core.retry import ScheduleRetry
from inngest_connect.core.settings import AppIdentity, WorkerIdentity
from inngest_connect.core.worker_core import WorkerCore
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing.model.actions import (
    Action,
    CloseConnection,
    DropConnection,
    RequestEnded,
    SendTo,
)
from inngest_connect.testing.model.gateway import GatewayModel

from .conduct import Conduct
from .counts import Counts
from .faults import Faults
from .functions import Functions
from .health import Health
from .invariants import SECRET, Invariants, InvariantViolated
from .journal import ModelJournal
from .model_api import ModelApi
from .network import Network
from .outcomes import count_outcomes
from .promises import Promises
from .promises.watch import kind_of, payload_of
from .schedule import Schedule
from .second_worker import SecondWorker, is_anothers

IDENTITY = WorkerIdentity(
    instance_id="worker",
    apps=(AppIdentity("app", b'[{"id":"app-fn"}]', frozenset({"app-fn"})),),
    capabilities=b"{}",
    sdk_language="py",
    sdk_version="0",
    framework="connect",
)
_MOST_STEPS = 200_000
_RESTART = 2.0
"""Seconds from a crash to the start of the next process."""


class Simulation:
    """``run()`` raises InvariantViolated.

    ``note`` is called with every step, for a timeline. ``counts`` is filled with what happens.
    """

    def __init__(
        self,
        schedule: Schedule,
        make_core: Callable[..., WorkerCore] = WorkerCore,
        note: Callable[[float, str, Any], None] | None = None,
        counts: Counts | None = None,
    ) -> None:
        self.schedule = schedule
        self.counts = counts if counts is not None else Counts()
        self.draw = random.Random(~schedule.seed)
        self.now = 0.0
        self.model = GatewayModel(schedule.gateway, self.draw.getrandbits)
        self.api = ModelApi(self.draw, self._issued, self.model.can_store, self.counts)
        self.invariants = Invariants()
        self.conduct = Conduct()
        self.journal = ModelJournal(self)
        self.network = Network(self)
        self.functions = Functions(self)
        self.second_worker = SecondWorker(self)
        self.health = Health(self)
        self.worker_frozen_until = 0.0
        """The worker's process is stopped before."""
        self.slept = 0.0
        """Seconds that the worker's clock has not counted, because its machine slept."""
        self.faults = Faults(self)
        self._make_core = make_core
        self._note = note
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._last = 0
        self.incarnation = 0
        """Which process of the worker runs now; counted up by a crash."""
        self._core_due: float | None = None
        self._model_due: float | None = None
        self._over = False
        self.core = self._new_core()
        self.promises = Promises(self.core, schedule.core, self.counts.tally)

    def _new_core(self) -> WorkerCore:
        schedule = self.schedule
        core = self._make_core(IDENTITY, schedule.core, ScheduleRetry(), self.draw.random)
        if schedule.remembered_bytes is not None:
            core.delivery.answered = AnsweredRequests(replies_bytes=schedule.remembered_bytes)
        return core

    # --- running -------------------------------------------------------------------------------

    def run(self) -> "Simulation":
        """Run from the start of the worker to its end. Raises InvariantViolated."""
        for _ in range(self.schedule.gateways):
            self.faults.add_gateway()
        for entry in self.schedule.entries:
            self.later(entry.at, self.faults.happen, entry)
        self.later(self.schedule.quiet_from, self.health.recover, 0)
        self.deliver(inputs.Started())
        for _ in range(_MOST_STEPS):
            if self._over or not self._step():
                break
        else:
            raise InvariantViolated("there is no end: something is due again and again")
        self.worker_ended()
        return self

    def worker_ended(self) -> None:
        """Check what the worker has left, and count what became of its requests."""
        self.invariants.finally_holds(self.core, self.model)
        self.journal.finally_holds()
        for record in self.model.ledger.records.values():
            here = record.acknowledged_by and not is_anothers(record)
            if here and record.outcome == "waiting":
                self.invariants.unanswered(record, self.core)
        count_outcomes(self)
        for name in self.model.seen:
            self.counts.situation(name)

    def _step(self) -> bool:
        at = self._heap[0][0] if self._heap else None
        source = 0
        due = self._core_due
        if due is not None:
            # A process that thaws reads what has come before its timers fire, as event loops do.
            if due < self.worker_frozen_until:
                due = self.worker_frozen_until
            if at is None or due < at:
                at, source = due, 1
        if self._model_due is not None and (at is None or self._model_due < at):
            at, source = self._model_due, 2
        if at is None:
            return False
        if at > self.now:
            self.now = at
        if source == 0:
            _, _, action, arguments = heapq.heappop(self._heap)
            action(*arguments)
        elif source == 1:
            if self.network.slow_until:
                self.network.observe_lines()
            self.deliver(inputs.Tick())
        else:
            self.gateway_does(self.model.tick(self.now))
        return True

    def end(self) -> None:
        """End the simulation, whatever is still planned."""
        self._over = True

    def later(self, at: float, action: Callable[..., None], *arguments: Any) -> None:
        """Call ``action`` at a virtual time; calls for the same time keep their order."""
        self._last += 1
        heapq.heappush(self._heap, (at, self._last, action, arguments))

    def note(self, who: str, what: Any) -> None:
        """Add a line to the timeline, if there is one."""
        if self._note is not None:
            self._note(self.now, who, what)

    # --- the worker ----------------------------------------------------------------------------

    def worker_later(self, delay: float, input: inputs.Input) -> None:
        """Deliver an input to this incarnation of the worker, if it has not crashed by then."""
        self.later(self.now + delay, self._deliver_to, self.incarnation, input)

    def _deliver_to(self, incarnation: int, input: inputs.Input) -> None:
        if incarnation == self.incarnation:
            self.deliver(input)

    def deliver(self, input: inputs.Input) -> None:
        """Give the core an input, now or when its process continues, and carry out its commands."""
        if self.core.finished:
            return
        if self.now < self.worker_frozen_until:
            if isinstance(input, inputs.Tick):
                self._core_due = self.worker_frozen_until
            else:
                self.worker_later(self.worker_frozen_until - self.now, input)
            return
        self.note("worker", input)
        self.conduct.received(input, self.core)
        now = self.now - self.slept
        self.promises.received(self.core, input, now)
        drive(self.core, input, now, self._carry_out)
        due = self.core.next_deadline()
        if due is None or not self.slept:
            self._core_due = due
        else:
            # The sum is rounded, and must not be a moment too early after the subtraction above.
            self._core_due = due + self.slept + 1e-9
        self.health.check()
        self.invariants.step(self.core, self.network.open_sockets(), self.journal.recovered)
        self.conduct.step(self.core, len(self.invariants.running), due, now)
        self.promises.turn_ends(due)

    def _carry_out(self, command: do.Command) -> inputs.Input | None:
        self.note("worker does", command)
        now, frozen = self.now - self.slept, self.worker_frozen_until - self.slept
        self.conduct.command(command, self.core, now, frozen)
        self.promises.command(command)
        match command:
            case do.Send(generation, data, reply_to=reply_to):
                if kind_of(data) == pb.WORKER_REPLY:
                    reply = pb.SDKResponse.FromString(payload_of(data) or b"")
                    self.invariants.answered(reply.request_id)
                self.network.write(generation, data, reply_to)
            case do.Acknowledge(generation, request_id, data):
                taken = self.network.write(generation, data, request_id=request_id)
                if taken is None:
                    return None
                follow_up = self.taken(generation, request_id, taken)
                self.promises.followed(follow_up)
                return follow_up
            case do.Execute():
                self.functions.execute(command)
            case seen.Event():
                self.invariants.observed(command)
                if isinstance(command, seen.ErrorOccurred):
                    fatal = ", fatal" if command.fatal else ""
                    self.counts.situation(f"error: {command.kind}{fatal}")
            case do.CancelExecution(request_id):
                self.functions.cancel(request_id)
            case do.Flush(request_id):
                self.invariants.answered(request_id)
                at = self.now + self.network.delay()
                self.later(at, self._flushed, self.incarnation, command)
            case do.RequestStart():
                self.health.attempt_begins(True)
                at = self.now + self.network.delay()
                self.later(at, self._started, self.incarnation, command)
            case do.OpenSocket(generation, url):
                self.network.dial(generation, url.removeprefix("ws://"))
            case do.CloseSocket(generation, code, _):
                self.network.close(generation, code)
            case do.AbortSocket(generation):
                self.health.aborted(self.network.abort(generation))
            case do.Finished():
                self.network.abort_all()
                self._over = True
            case do.Withdraw(generation, request_id):
                self.network.withdraw(generation, request_id)
            case do.JournalRecord():
                self.journal.record(command)
            case do.JournalErase():
                self.journal.erase(command)
            case do.AskRetryDelay():
                raise InvariantViolated("the core asks for a delay that ScheduleRetry knows")
            case _:
                assert_never(command)
        return None

    def taken(self, generation: int, request_id: str, written: bool) -> inputs.Input:
        """What the worker learns of an acknowledgement."""
        if not written:
            return inputs.AcknowledgementFailed(generation, request_id)
        self.invariants.written(request_id)
        self.conduct.acknowledged(request_id, self.now - self.slept)
        return inputs.AcknowledgementsWritten(generation, (request_id,))

    def sleep(self, until: float) -> None:
        """Stop the worker's machine, whose clock does not count the time."""
        slept = max(until - max(self.now, self.worker_frozen_until), 0.0)
        self.freeze_worker(until)
        self.slept += slept
        if self._core_due is not None:
            self._core_due += slept

    def freeze_worker(self, until: float) -> None:
        """Stop the worker's process; everything for it is delivered when it continues."""
        self.worker_frozen_until = max(self.worker_frozen_until, until)

    def crash(self) -> None:
        """Kill the process; another one starts two seconds later."""
        self.network.abort_all()
        self.incarnation += 1
        self.invariants.crashed(self.journal.rows.keys())
        self.core = self._new_core()
        self.conduct = Conduct()
        self.promises = Promises(self.core, self.schedule.core, self.counts.tally)
        self._core_due = None
        self.worker_later(_RESTART, inputs.Started())
        self.journal.crashed(_RESTART)

    # --- the API -------------------------------------------------------------------------------

    def _issued(self, connection_id: str, session: str, sync: str) -> None:
        self.model.issued(connection_id, session, sync, self.now)

    def _started(self, incarnation: int, command: do.RequestStart) -> None:
        excluded = command.exclude_gateways
        delay, answer = self.api.start(command.generation, excluded, SECRET, self.now, command.key)
        self.later(self.now + delay + self.network.delay(), self._deliver_to, incarnation, answer)

    def _flushed(self, incarnation: int, command: do.Flush) -> None:
        stored, delay, answer = self.api.flush(command.request_id, self.now, command.key)
        if stored:
            response = pb.SDKResponse.FromString(command.payload)
            self.gateway_does(self.model.flush(response, self.now))
        at = self.now + delay + self.network.delay()
        self.later(at, self._flush_answered, incarnation, answer)

    def _flush_answered(self, incarnation: int, answer: inputs.Input) -> None:
        if incarnation != self.incarnation:
            return
        if isinstance(answer, inputs.FlushSucceeded) and answer.request_id not in self.core.buffer:
            self.counts.situation("a flush succeeds after the socket's acknowledgement")
        self.deliver(answer)

    # --- the gateways --------------------------------------------------------------------------

    def gateway_does(self, actions: list[Action]) -> None:
        """Carry out the actions of the gateway model."""
        links = self.network.numbers
        for action in actions:
            match action:
                case SendTo(number, data) if number in links:
                    self.network.send_down(links[number], data)
                case CloseConnection(number, code, reason) if number in links:
                    self.network.gateway_closes(links[number], code, reason)
                case DropConnection(number) if number in links:
                    self.network.gateway_closes(links[number], 1006, "")
                case RequestEnded():
                    self.health.request_ended(action)
                case _:
                    self.second_worker.takes(action)
        self._model_due = self.model.next_deadline()
