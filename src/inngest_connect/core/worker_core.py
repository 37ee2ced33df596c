"""WorkerCore: every decision of one worker, in one pure object.

    commands = core.handle(event, now)        what to do about something that happened
    deadline = core.next_deadline()           when to call ``handle(Tick(), now)`` next

Theory of operation. The core owns the worker-wide state machine, the connections (one generation
per socket), and the tables that outlive sockets: requests, leases, replies. An event goes to one
method, which changes the tables and appends commands; afterwards ``_settle`` does what follows from
the new situation whatever the event was: send what is due, start what has room, move a shutdown
along. No caller has an opinion: the orchestrator carries the commands out, a simulator may do so in
virtual time. Times are monotonic seconds.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

from ..errors import ConnectError, StartupTimeout
from ..protocol import CLOSE_NORMAL
from ..state_machine import ConnectionEvent as E
from ..state_machine import ConnectionStateMachine
from . import inputs
from .commands import Command, Finished, Send
from .connections.generations import Connections, Generation
from .connections.lifecycle import ConnectionLifecycle
from .connections.message_handler import (
    ConnectionReady,
    GatewayClosing,
    HeartbeatAcked,
    Inbound,
    LeaseAnswered,
    Malformed,
    ReplyAcked,
    RequestArrived,
    SyncFailed,
    Violation,
)
from .connections.phases import Phase
from .deadlines import earliest
from .events import HeartbeatAnswered, RequestReceived
from .outbox import Report
from .requests.delivery import ReplyDelivery
from .requests.leases import LeaseTable
from .requests.message_buffer import MessageBuffer
from .requests.request_table import RequestTable
from .retry import RetryStrategy
from .settings import CoreSettings, WorkerIdentity
from .shutdown import Shutdown
from .signing_keys import SigningKeys
from .wire import messages
from .wire.remote_text import shortened_id

STOPPED: Final = 10.0
"""Seconds by which a Tick is late when the process was stopped, or its machine slept."""


class WorkerCore:
    """See the module. ``random`` returns numbers in [0, 1) and is used for jitter only."""

    def __init__(
        self,
        identity: WorkerIdentity,
        settings: CoreSettings,
        retry: RetryStrategy,
        random: Callable[[], float],
    ) -> None:
        keys = SigningKeys(settings.signing_keys)
        report = Report()
        self.identity = identity
        self.settings = settings
        self.leases = LeaseTable(settings.extend_lease_interval)
        self.buffer = MessageBuffer(settings.max_buffer_bytes)
        self.delivery = ReplyDelivery(
            self.buffer, settings, keys, random, lambda: self.leases.interval
        )
        self.requests = RequestTable(identity, settings, self.leases, self.delivery)
        self.connections = Connections(identity, settings, keys, retry, random)
        self.shutdown = Shutdown(settings, self.connections, self.requests, self.delivery, report)
        self.finished = False
        self._lifecycle = ConnectionLifecycle(
            self.connections,
            self.requests,
            self.delivery,
            self.leases,
            self.shutdown,
            keys,
            report,
        )
        self._report = report
        self._startup_deadline: float | None = None
        self._handlers: dict[type[inputs.Input], Callable[..., None]] = {
            inputs.Started: self._started,
            inputs.StartSucceeded: self._lifecycle.start_succeeded,
            inputs.StartFailed: self._start_failed,
            inputs.RetryDelayAnswered: self._retry_delay_answered,
            inputs.SocketOpened: self._lifecycle.socket_opened,
            inputs.MessageReceived: self._message_received,
            inputs.TextReceived: self._text_received,
            inputs.SocketClosed: self._lifecycle.socket_closed,
            inputs.LineObserved: self._line_observed,
            inputs.AcknowledgementWritten: self._acknowledgement_written,
            inputs.AcknowledgementFailed: self._acknowledgement_failed,
            inputs.ExecutionFinished: self._execution_finished,
            inputs.FunctionMisbehaved: self._function_misbehaved,
            inputs.FlushSucceeded: self._flush_succeeded,
            inputs.FlushFailed: self._flush_failed,
            inputs.CloseRequested: self._close_requested,
            inputs.AbortRequested: self._abort_requested,
            inputs.Tick: self._tick,
        }

    @property
    def machine(self) -> ConnectionStateMachine:
        """The worker's state."""
        return self._report.machine

    @property
    def counters(self) -> Counter[str]:
        """How often what has happened."""
        return self._report.counters

    def handle(self, event: inputs.Input, now: float) -> list[Command]:
        """Take one event and return what to do about it, in order."""
        report = self._report
        if not self.finished:
            self._handlers[type(event)](event, now)
            self._settle(now)
        commands, report.commands = report.commands, []
        return commands

    def next_deadline(self) -> float | None:
        """When to call again with a Tick, None if nothing waits for time."""
        if self.finished:
            return None
        return earliest(
            self.connections.next_deadline(),
            self.delivery.next_deadline(),
            self.leases.next_deadline() if self.requests.carrier is not None else None,
            self.requests.long_running.next_deadline(),
            self._startup_deadline,
            self._lifecycle.status_at,
            self.shutdown.next_deadline(),
        )

    def close_at_once(self, now: float) -> None:
        """Record the end of a worker that never ran, or whose I/O loop has failed."""
        self._report.transition(E.SHUTDOWN_REQUESTED, now)
        self._report.transition(E.SHUTDOWN_COMPLETED, now)
        self.finished = True

    # --- connecting ------------------------------------------------------------------------

    def _started(self, event: inputs.Started, now: float) -> None:
        if self.settings.startup_timeout is not None:
            self._startup_deadline = now + self.settings.startup_timeout
        self._lifecycle.begin(now)

    def _start_failed(self, event: inputs.StartFailed, now: float) -> None:
        error = self._lifecycle.start_failed(event, now)
        if error is not None:
            self._fail(error, now)

    def _retry_delay_answered(self, event: inputs.RetryDelayAnswered, now: float) -> None:
        self.connections.attempts.strategy_answered(
            event.question, event.delay, event.problem, now, self._report.commands
        )

    # --- what the gateway says -------------------------------------------------------------

    def _message_received(self, event: inputs.MessageReceived, now: float) -> None:
        generation = self.connections.get(event.generation)
        if generation is None:
            return
        inbound = generation.handler.receive(event.data, now, self._report.commands)
        if inbound is not None:
            self._inbound(inbound, generation, now)

    def _text_received(self, event: inputs.TextReceived, now: float) -> None:
        generation = self.connections.get(event.generation)
        if generation is not None:
            self._inbound(Malformed("text_message"), generation, now)

    def _line_observed(self, event: inputs.LineObserved, now: float) -> None:
        generation = self.connections.get(event.generation)
        if generation is not None:
            generation.handler.line_observed(event.moved, now)

    def _inbound(self, inbound: Inbound, generation: Generation, now: float) -> None:
        report = self._report
        match inbound:
            case RequestArrived():
                self._request_arrived(inbound, generation, now)
            case ReplyAcked():
                if self.delivery.acknowledged(inbound.request_id, now, report.commands):
                    self.requests.delivered(inbound.request_id)
            case LeaseAnswered(request_id, new_lease_id):
                report.counters["lease_extensions"] += new_lease_id is not None
                self.requests.lease_answered(request_id, new_lease_id, now, report.commands)
            case HeartbeatAcked(round_trip):
                self.connections.answered(generation, now)
                report.commands.append(HeartbeatAnswered(generation.connection_id, round_trip))
            case ConnectionReady():
                self._startup_deadline = None
                self._lifecycle.ready(inbound, now)
            case GatewayClosing():
                self._lifecycle.gateway_closing(generation, now)
            case SyncFailed(code, message):
                text = f"the apps could not be synchronised: {code} {message}".strip()
                report.error("sync_failed", text, connection_id=generation.connection_id)
            case Malformed(kind):
                report.counters[f"malformed:{kind}"] += 1
                text = f"the gateway sent a malformed message: {kind}"
                report.error("malformed_message", text, connection_id=generation.connection_id)
            case Violation(text):
                report.counters["violations"] += 1
                told = f"the gateway must not say: {text}"
                report.error("protocol_violation", told, connection_id=generation.connection_id)
                self._lifecycle.drop(generation, text, now)

    def _request_arrived(self, inbound: RequestArrived, generation: Generation, now: float) -> None:
        counters = self._report.counters
        # Not ours: the gateway has given it to another worker by now (PROTOCOL section 4).
        if generation.handler.phase is not Phase.ACTIVE or self.shutdown.requested:
            counters["requests_ignored"] += 1
            return
        request = inbound.request
        counters["requests_received"] += 1
        if not self.requests.arrived(request, generation.number, now, self._report.commands):
            counters["requests_repeated"] += 1
            return
        self._report.commands.append(
            RequestReceived(
                request.request_id,
                request.run_id,
                request.app_name,
                request.function_slug,
                generation.connection_id,
            )
        )

    # --- requests and replies --------------------------------------------------------------

    def _acknowledgement_written(self, event: inputs.AcknowledgementWritten, now: float) -> None:
        self._report.counters["requests_acknowledged"] += 1
        self.requests.acknowledgement_written(event.request_id, now, self._report.commands)

    def _acknowledgement_failed(self, event: inputs.AcknowledgementFailed, now: float) -> None:
        self.requests.acknowledgement_failed(event.request_id, self._report.commands)

    def _execution_finished(self, event: inputs.ExecutionFinished, now: float) -> None:
        self.requests.finished(event.request_id, event.result, now, self._report.commands)

    def _function_misbehaved(self, event: inputs.FunctionMisbehaved, now: float) -> None:
        request_id = event.request_id or None
        self._report.error("function_misbehaved", event.text, request_id=request_id)

    def _flush_succeeded(self, event: inputs.FlushSucceeded, now: float) -> None:
        self.connections.attempts.evidence_of_api(now, self._report.commands)
        if self.delivery.flush_succeeded(event.request_id, now, self._report.commands):
            self.requests.delivered(event.request_id)

    def _flush_failed(self, event: inputs.FlushFailed, now: float) -> None:
        commands = self._report.commands
        if self.delivery.flush_failed(
            event.request_id, event.status, event.message, event.retry_after, now, commands
        ):
            self.requests.delivered(event.request_id)

    # --- closing ---------------------------------------------------------------------------

    def _close_requested(self, event: inputs.CloseRequested, now: float) -> None:
        if self.shutdown.requested:
            return
        self._startup_deadline = None
        self.shutdown.request(now, signals=event.signals)
        self._report.transition(E.SHUTDOWN_REQUESTED, now)

    def _abort_requested(self, event: inputs.AbortRequested, now: float) -> None:
        self._close_requested(inputs.CloseRequested(), now)
        if not self.shutdown.aborting:
            # Named here, since the loop that functions run on may not live to report each of them.
            ids = ", ".join(map(shortened_id, self.shutdown.abort(now)))
            left = f"; not finished: {ids}" if ids else ""
            self._report.error("shutdown_forced", f"stopping now: {event.reason}{left}")

    def _fail(self, error: ConnectError, now: float) -> None:
        """Nothing can be done but to end; ``start()`` raises ``error``."""
        self._report.error("start_failed", str(error), fatal=True)
        self.shutdown.error = error
        self._close_requested(inputs.CloseRequested(), now)

    # --- time ------------------------------------------------------------------------------

    def _tick(self, event: inputs.Tick, now: float) -> None:
        if self._startup_deadline is not None and now >= self._startup_deadline:
            limit, origin = self.settings.startup_timeout, self.settings.api_origin
            text = (
                f"not connected within startup_timeout={limit:g} s through {origin}: "
                "check that it is reachable from here"
            )
            self._fail(StartupTimeout(text), now)
            return
        deadline = self.next_deadline()
        if self.connections.attempts.due(now, self._report.commands):
            self._lifecycle.begin(now)
        for generation in self.connections.living():
            self._tick_generation(generation, now)
        if self._lifecycle.status_at is not None and now >= self._lifecycle.status_at:
            self._send_status(now)
        if deadline is not None and now - deadline >= STOPPED:
            # Last: an attempt that was under way has failed now because it was stopped, too.
            self.connections.attempts.continued(now, self._report.commands)

    def _tick_generation(self, generation: Generation, now: float) -> None:
        expired = generation.handler.tick(now, self._report.commands)
        if expired is not None:
            connection_id = generation.connection_id
            self._report.error("gateway_silent", expired.text, connection_id=connection_id)
            self._lifecycle.drop(generation, expired.text, now)
            return
        if generation.close_deadline is None or now < generation.close_deadline:
            return
        if generation.close_sent:
            self._lifecycle.drop(generation, "no close frame from the gateway", now)
        else:
            self.connections.close(generation, CLOSE_NORMAL, "", now, self._report.commands)

    def _send_status(self, now: float) -> None:
        self._lifecycle.status_at = now + self._lifecycle.status_interval
        current = self.connections.current
        if current is not None and current.phase is Phase.ACTIVE:
            data = messages.worker_status(self.requests.unfinished_ids(), self.shutdown.requested)
            self._report.commands.append(Send(current.number, data))

    # --- what follows from any event -------------------------------------------------------

    def _close_what_is_acknowledged(self, now: float) -> None:
        """A replaced socket stays only until its replies are acknowledged."""
        for generation in tuple(self.connections.closing.values()):
            if not generation.close_sent and not self.delivery.waiting_on(generation.number):
                self.connections.close(generation, CLOSE_NORMAL, "", now, self._report.commands)

    def _settle(self, now: float) -> None:
        # Asked after every event: each question is one attribute or one comparison.
        commands = self._report.commands
        if self.connections.closing:
            self._close_what_is_acknowledged(now)
        if self.requests.queue and not self.shutdown.aborting:
            self.requests.start_ready(now, commands)
        if self.leases.deadlines.first <= now:
            self.requests.extend_due(now, commands)
        if self.delivery.deadlines.first <= now:
            self.delivery.tick(now, commands)
        if self.requests.long_running.first <= now:
            self.requests.long_running.tick(now, self.requests.queued, commands)
        if self.shutdown.requested and self.shutdown.settle(now):
            error = self.shutdown.outcome()
            self._report.transition(E.SHUTDOWN_COMPLETED, now)
            self.finished = True
            commands.append(Finished(error))
