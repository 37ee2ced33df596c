"""StackSimulation: the whole worker in virtual time, against the world of the core's simulation.

``connect()``, the connection, the orchestrator, its sockets and HTTP calls, the executor, the
hand-overs, listeners, the log and the metrics are the real ones, on simulated threads
(``threads.py``); ``replacements.py`` lists what is not. Schedules, faults, the model gateways and
the invariants are those of the core's simulation, which are applied to what the real orchestrator
passes to the core and carries out.
"""

import heapq
from collections.abc import Callable
from typing import Any, Final, Literal

from greenlet import GreenletExit

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core import inputs
from inngest_connect.core.drive import drive
from inngest_connect.core.worker_core import WorkerCore
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.state_machine import ConnectionState

from ..conduct import Conduct
from ..counts import Counts
from ..invariants import InvariantViolated
from ..promises import Promises
from ..schedule import Schedule
from ..simulation import Simulation
from .event_loop import VirtualLoop
from .functions import StackFunctions
from .http import ODD_ANSWERS, HttpTransport
from .program import Program
from .replacements import replacements
from .stack_faults import StackFaults
from .stack_network import StackNetwork
from .threads import FOREVER, Machine, PreemptedDeque

_MOST_STEPS: Final = 400_000
_LAST_SECONDS: Final = 5.0
_LONGEST_END: Final = 15.0
"""Seconds from when the I/O thread goes on until it can have ended the worker."""
_LATEST: Final = 0.5
"""Seconds after a deadline of the core."""
_UNLIMITED: Final = 1_000_000_000


class StackSimulation(Simulation):
    """As ``Simulation``, with every part of the worker."""

    def __init__(
        self,
        schedule: Schedule,
        make_core: Callable[..., WorkerCore] = WorkerCore,
        note: Callable[[float, str, Any], None] | None = None,
        counts: Counts | None = None,
    ) -> None:
        self.violation: InvariantViolated | None = None
        self.exited = False
        """The process was ended by force."""
        self.threads_refused = False
        """The process could have no further thread for a while."""
        self.finished_at = 0.0
        """When the core was CLOSED."""
        self.executing: set[str] = set()
        """Requests whose ExecutionFinished is awaited."""
        self.driving = False
        """An input is being handled, and commands carried out."""
        self.core_due = FOREVER
        """When the core has to be called next, as it said when it was called last."""
        self.emitted_events = 0
        self.emitted: list[ConnectionState] = []
        """States of the core's events."""
        self.http: HttpTransport | None = None
        self.io_loop: VirtualLoop | None = None
        self.machine: Machine
        self.program: Program
        super().__init__(schedule, make_core, note, counts)
        self._handles = 0
        self.handle_seconds = self.draw.choice((0.0, 0.000_01, 0.001))
        """Virtual time that one handle of an event loop takes."""
        self.isolation: Literal["thread", "none"] = (
            "thread" if self.draw.random() < 0.75 else "none"
        )
        """The same for each process, because functions that block belong to the schedule."""
        self.kernel_buffer = self.draw.choice((_UNLIMITED, _UNLIMITED, 4_000, 200))
        """Bytes that a kernel takes before a peer has them."""
        self.network = self.stack_network = StackNetwork(self)
        self.functions: StackFunctions = StackFunctions(self)
        self.faults = self.stack_faults = StackFaults(self)

    def run(self) -> "StackSimulation":
        """Run from the start of the program to its end. Raises InvariantViolated."""
        with replacements(self):
            try:
                self._new_process()
                self._run()
            finally:
                self.machine.kill()
        return self

    def _new_process(self) -> None:
        self.machine = Machine(self.draw, lambda: self.now, self._goes_on, self.violated)
        self.program = Program(self, self.machine)
        self.core = self.program.connection._core
        self.promises = Promises(self.core, self.core.settings, self.counts.tally)

    def _run(self) -> None:
        for _ in range(self.schedule.gateways):
            self.faults.add_gateway()
        for entry in self.schedule.entries:
            self.later(entry.at, self.faults.happen, entry)
        self.later(self.schedule.quiet_from, self.health.recover, 0)
        self.deliver(inputs.Started())
        while self._handles < _MOST_STEPS:
            self._handles += 1
            if self._over or not self._step():
                break
            if self.violation is not None:
                raise self.violation
        else:
            raise InvariantViolated("there is no end: something is due again and again")
        self.checked(self._finally)
        if self.violation is not None:
            raise self.violation

    def _goes_on(self) -> bool:
        self._handles += 1
        if self._handles > _MOST_STEPS:
            return False
        now = self.now + self.handle_seconds
        if self._over or self.violation is not None or (self._heap and self._heap[0][0] <= now):
            return False
        if self._model_due is not None and self._model_due <= now:
            return False
        self.now = now
        return True

    def _io_thread_is_idle(self) -> bool:
        name = self.program.io_thread
        return any(
            each.name == name and isinstance(each.wait, VirtualLoop)
            for each in self.machine.threads
        )

    def _step(self) -> bool:
        at = self._heap[0][0] if self._heap else FOREVER
        world = at if self._model_due is None else min(at, self._model_due)
        if world > self.now:
            ready, first = self.machine.poll(self.now)
            if ready:
                self.machine.run_one(ready)
                self.now += self.handle_seconds
                return True
            if self.now >= self.worker_frozen_until and self._io_thread_is_idle():
                self.checked(self.stack_network.nothing_waits)
            first = min(world, first)
            if first == FOREVER:
                return False
            self.now = max(self.now, first)
            if world > self.now:
                return True
        if at <= world:
            _, _, action, arguments = heapq.heappop(self._heap)
            action(*arguments)
        else:
            self.gateway_does(self.model.tick(self.now))
        return True

    # --- what the world does to the worker -----------------------------------------------------

    def deliver(self, input: inputs.Input) -> None:
        """Pass on to the shells what the core's simulation gives to the core."""
        network = self.stack_network
        match input:
            case inputs.SocketOpened(generation):
                network.opened(generation)
            case inputs.MessageReceived(generation, data):
                network.arrived(generation, data)
            case inputs.SocketClosed():
                network.ended(input)
            case inputs.Started():
                self.program.start()
            case inputs.CloseRequested():
                self.program.close()
            case inputs.AbortRequested():
                self.program.abort()
            case _:
                raise ValueError(f"no part of the world delivers {input}")

    def freeze_worker(self, until: float) -> None:
        """Stop all threads of the worker's process."""
        super().freeze_worker(until)
        self.program.delayed += until - self.now
        for thread in self.machine.threads:
            thread.paused_until = max(thread.paused_until, until)

    def pause(self, thread_name: str, until: float) -> None:
        """Stop one thread. A worker without a thread of its own stops with the main thread."""
        if self.program.isolation == "none":
            thread_name = "main"
        if self.program.isolation == "none" or thread_name != "main":
            super().freeze_worker(until)
        if thread_name == "main":
            self.program.delayed += until - self.now
        else:
            program = self.program
            program.io_paused_until = max(program.io_paused_until, until)
        for thread in self.machine.threads:
            if thread.name == thread_name:
                thread.paused_until = max(thread.paused_until, until)

    def refuse_threads(self, until: float) -> None:
        """The process may have no further thread for a while."""
        machine = self.machine
        machine.most_threads = 0
        self.threads_refused = True
        self.later(until, setattr, machine, "most_threads", 1_000)

    def crash(self) -> None:
        """Kill the process; another one starts two seconds later."""
        self.incarnation += 1
        self.invariants.crashed()
        self.stack_network.abort_all()
        self.machine.kill()
        self.conduct = Conduct()
        self.emitted.clear()
        self.executing.clear()
        self.driving = False
        self.core_due = FOREVER
        self.functions.running_async.clear()
        self.functions.ended.clear()
        self.emitted_events = 0
        self.http = self.io_loop = None
        self._new_process()
        self.worker_later(2.0, inputs.Started())

    def new_io_loop(self) -> VirtualLoop:
        """In place of ``asyncio.new_event_loop`` on the I/O thread."""
        self.io_loop = VirtualLoop(self.machine)
        return self.io_loop

    def preempted_deque(self) -> PreemptedDeque:
        """In place of ``collections.deque`` in the hand-overs."""
        made = PreemptedDeque()
        made.machine = self.machine
        return made

    def exit_now(self, reason: str) -> None:
        """In place of ``os._exit``."""
        self.note("program", f"exits by force: {reason}")
        self.exited = True
        program = self.program
        stood_still = self.now < program.io_paused_until + _LONGEST_END
        stopped = program.aborted_at is not None or program.delayed or stood_still
        if not stopped and not self.invariants.running:
            self.violated(f"the process has to be ended by force: {reason}")
        self.end()
        raise GreenletExit

    # --- the API -------------------------------------------------------------------------------

    def refused_key(self, authorization: str) -> int | None:
        """Return the status with which a signing key is refused."""
        keys = self.program.connection._keys
        if not keys:
            return None
        faults = self.stack_faults
        known = [key.bearer() for key in keys]
        if authorization not in known:
            self.violated("the API is called with another key")
        if self.now < faults.keys_refused_until:
            return 401
        accepted = faults.accepted_key
        return 401 if accepted is not None and authorization != known[accepted] else None

    def odd_answer(self) -> str | None:
        """Return what something between the worker and the API answers instead of it."""
        until = max(self.api.fault_until, self.stack_faults.odd_answers_until)
        if self.now < until and self.draw.random() < 0.5:
            return self.draw.choice(ODD_ANSWERS)
        return None

    def flush_arrived(self, response: pb.SDKResponse, stored: bool) -> None:
        """A reply has arrived over HTTP."""
        if stored:
            self.gateway_does(self.model.flush(response, self.now))

    # --- watching the worker -------------------------------------------------------------------

    def violated(self, text: str) -> None:
        """Note what does not hold. Raised by the simulation: the worker would catch it."""
        self.violation = self.violation or InvariantViolated(text)

    def checked(self, check: Callable[..., None], *arguments: Any) -> None:
        """Call a check that raises InvariantViolated, inside code of the worker."""
        try:
            check(*arguments)
        except InvariantViolated as violation:
            self.violation = self.violation or violation

    def function_begins(self, request_id: str) -> None:
        """A function has begun."""
        self.invariants.started(request_id)
        if request_id not in self.stack_network.acknowledged:
            raise InvariantViolated(f"{request_id} runs, and no kernel has its acknowledgement")

    def drive(
        self,
        core: WorkerCore,
        input: inputs.Input,
        now: float,
        carry_out: Callable[[do.Command], inputs.Input | None],
    ) -> None:
        """In place of ``core.drive.drive``: the same, watched."""
        if core is not self.core:
            return  # a process that was killed
        thread, own = self.machine.running, self.program.io_thread
        if thread is None or thread.name != own:
            self.violated(f"the core is called on {thread and thread.name}, not on {own}")
        if self.driving:
            self.violated(f"{input} is handled while a command is carried out")
        self.driving = True
        self.note("worker", input)
        if now > max(self.core_due, self.worker_frozen_until) + _LATEST:
            self.violated(f"the core had to be called at {self.core_due}")
        if isinstance(input, inputs.ExecutionFinished):
            if input.request_id not in self.executing:
                self.violated(f"{input.request_id} ends twice")
            self.executing.discard(input.request_id)
        self.conduct.received(input, core)
        self.checked(self._received, input)
        if isinstance(input, inputs.AcknowledgementsWritten):
            for request_id in input.request_ids:
                self.invariants.written(request_id)
                self.conduct.acknowledged(request_id, now)

        def watched(command: do.Command) -> inputs.Input | None:
            self.note("worker does", command)
            self.checked(self._command, command)
            return carry_out(command)

        drive(core, input, now, watched)
        self.driving = False
        due = core.next_deadline()
        self.core_due = FOREVER if due is None else max(due, now)
        self.checked(self._after, core, due)

    def _received(self, input: inputs.Input) -> None:
        self.promises.received(self.core, input, self.now)

    def _command(self, command: do.Command) -> None:
        self.conduct.command(command, self.core, self.now, self.worker_frozen_until)
        self.promises.command(command)
        match command:
            case do.Send(_, data):
                message = pb.ConnectMessage.FromString(data)
                if message.kind == pb.WORKER_REPLY:
                    reply = pb.SDKResponse.FromString(message.payload)
                    self.invariants.answered(reply.request_id)
            case do.Flush(request_id):
                self.invariants.answered(request_id)
            case do.AbortSocket(generation):
                self.health.aborted(self.network.links.get(generation))
            case do.RequestStart(key=key):
                self.health.attempt_begins(self.stack_faults.accepted_key in (None, key))
            case do.Execute():
                self.executing.add(command.request.request_id)
            case do.Finished():
                self.finished_at = self.now
            case seen.Event():
                self.emitted_events += 1
                self.invariants.observed(command)
                if isinstance(command, seen.StateChanged):
                    self.emitted.append(command.state)

    def _after(self, core: WorkerCore, due: float | None) -> None:
        self.health.check()
        self.invariants.step(core, self.network.open_sockets())
        self.promises.turn_ends(due)

    # --- the end -------------------------------------------------------------------------------

    def program_ended(self) -> None:
        """The main thread of the program has ended; the others get a moment to do so, too."""
        self.later(self.now + _LAST_SECONDS, self.end)

    def _finally(self) -> None:
        program = self.program
        if self.exited:
            return  # as after a crash
        self.worker_ended()
        # Whoever ends when the worker does, or on a loop that was blocked, may come too late.
        ended, last = self.functions.ended, self.finished_at - _LAST_SECONDS
        unreported = [each for each in self.executing if ended.get(each, self.now) < last]
        # After a stop, a close that came first is handled first, and may give up what ended since.
        stopped = program.io_paused_until > last
        if unreported and not program.delayed and not stopped:
            raise InvariantViolated(f"the functions of {unreported} ended, and nobody was told")
        if program.ended_at is None:
            raise InvariantViolated("the program does not end")
        threads = [one.name for one in self.machine.threads if one.name != "asyncio_pool"]
        if threads:
            raise InvariantViolated(f"threads are left: {threads}")
        left = [*self.network.links, *self.stack_network.transports]
        if left:
            raise InvariantViolated(f"sockets are left, of the connections {left}")
        if self.http is not None and (self.http.open or not self.http.closed):
            raise InvariantViolated("the HTTP client is not closed")
        if self.io_loop is not None:
            if not self.io_loop.is_closed():
                raise InvariantViolated("the event loop of the I/O thread is not closed")
            if self.io_loop.errors:
                raise InvariantViolated(f"unhandled on the I/O loop: {self.io_loop.errors}")
        program.finally_holds()
