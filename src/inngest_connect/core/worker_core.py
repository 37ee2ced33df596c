"""WorkerCore: every decision of one worker, in one pure object.

    commands = core.handle(input, now)        what to do about something that happened
    deadline = core.next_deadline()           when to call ``handle(Tick(), now)`` next

Theory of operation. Three tables decide: the worker's state (``state_machine``), the phase of each
connection (``connections.phases``) and the stage of a shutdown (``shutdown``). What outlives a
connection is in three more: requests, leases, replies. This file is the only one that knows them
all: an input goes to one of its methods, which changes the tables that it concerns. Afterwards
``_settle`` does what follows from the new situation, whatever the input was: send what is due,
start what has a free slot, move a shutdown along. The orchestrator carries the commands out, a
simulation does so in virtual time (``drive``). Times are monotonic seconds.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final, assert_never

from ..errors import AuthenticationError, ConnectError, InvalidTransition, StartupTimeout
from ..protocol import CLOSE_ABNORMAL, CLOSE_NORMAL, REASON_GATEWAY_CLOSING
from ..protocol import connect_pb2 as pb
from ..state_machine import ConnectionEvent as E
from ..state_machine import ConnectionState, ConnectionStateMachine
from . import inputs
from .commands import AbortSocket, Command, Finished
from .connections.connections import Connections
from .connections.generation import Generation
from .connections.inbound import (
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
from .connections.message_handler import MessageHandler
from .connections.phases import PHASES, Phase
from .deadlines import earliest
from .events import (
    Connected,
    Draining,
    HeartbeatAnswered,
    RequestReceived,
    StateChanged,
    WebSocketFailed,
)
from .outbox import Outbox
from .requests.delivery import ReplyDelivery
from .requests.leases import LeaseTable
from .requests.message_buffer import MessageBuffer
from .requests.request_table import RequestTable
from .retry import RetryStrategy
from .settings import CoreSettings, WorkerIdentity
from .shutdown import Shutdown, Stage
from .signing_keys import SigningKeys
from .wire import messages
from .wire.remote_text import shortened_id

_K = pb.GatewayMessageType

# Seconds by which a Tick is late when the process was stopped, or its machine slept.
STOPPED: Final = 10.0


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
        outbox = Outbox()
        self.identity = identity
        self.settings = settings
        self.machine = ConnectionStateMachine()
        self.leases = LeaseTable(settings.extend_lease_interval)
        self.buffer = MessageBuffer(settings.max_buffer_bytes)
        self.delivery = ReplyDelivery(self.buffer, settings, keys, random, self.leases, outbox)
        self.requests = RequestTable(identity, settings, self.leases, self.delivery, outbox)
        self.connections = Connections(settings, keys, retry, random, outbox)
        self.shutdown = Shutdown(settings, self.connections, self.requests, self.delivery, outbox)
        self._messages = MessageHandler(identity, settings)
        self._keys = keys
        self._outbox = outbox
        self._startup_deadline: float | None = None
        self._lost_at: float | None = None
        """When the connection was lost; None before the first one and while one serves."""

    @property
    def counters(self) -> Counter[str]:
        """How often what has happened."""
        return self._outbox.counters

    @property
    def finished(self) -> bool:
        """Whether the worker is CLOSED: further inputs change nothing."""
        return self.machine.state is ConnectionState.CLOSED

    def handle(self, input: inputs.Input, now: float) -> list[Command]:
        """Take one input and return what to do about it, in order."""
        if self.machine.state is ConnectionState.CLOSED:
            # Nothing is carried out any more, so what still arrives must not change tables: a
            # function that ended late would seem to be delivered.
            return self._outbox.take()
        connections, requests = self.connections, self.requests
        match input:  # the most frequent first: classes are compared one after the other
            case inputs.MessageReceived():
                generation = connections.get(input.generation)
                if generation is not None:
                    inbound = self._messages.receive(generation, input.data, now)
                    if inbound is not None:
                        self._received(inbound, generation, now)
            # Reported when the kernel has taken the bytes, possibly many turns after the command,
            # and for a connection that is no longer the serving one. What follows (the reply to a
            # refused request) goes over the one that serves now.
            case inputs.AcknowledgementsWritten():
                self._outbox.counters["requests_acknowledged"] += len(input.request_ids)
                for request_id in input.request_ids:
                    requests.acknowledgement_written(request_id, connections.current, now)
            case inputs.ExecutionFinished():
                requests.finished(input.request_id, input.result, connections.current, now)
            # Comes before each Tick, so that a busy line is known when silence is judged.
            case inputs.LineObserved():
                generation = connections.get(input.generation)
                if generation is not None and generation.heartbeat is not None:
                    generation.heartbeat.line_observed(input.moved, now)
            case inputs.Tick():
                self._tick(now)
            case inputs.AcknowledgementFailed():
                requests.acknowledgement_failed(input.request_id)
            case inputs.FlushSucceeded():
                connections.attempts.evidence_of_api(now)
                if self.delivery.flush_succeeded(input.request_id, now):
                    requests.forget(input.request_id)
            case inputs.FlushFailed(request_id, status, message, retry_after):
                current = connections.current
                if self.delivery.flush_failed(
                    request_id, status, message, retry_after, current, now
                ):
                    requests.forget(request_id)
            case inputs.JournalCommitted():
                for request_id in input.request_ids:
                    self.delivery.committed(request_id, connections.current, now)
            case inputs.JournalRecovered(entries, predecessor):
                requests.recovered(entries, predecessor, connections.current, now)
            case inputs.Started():
                if self.settings.startup_timeout is not None:
                    self._startup_deadline = now + self.settings.startup_timeout
                self._begin_attempt(now)
            # The next three are answers to commands of an attempt. It may have been given up while
            # they were on their way; the number of the generation shows that.
            case inputs.StartSucceeded():
                attempt = self._attempt(input.generation)
                if attempt is not None:
                    self._transition(E.AUTH_SUCCESS, now)
                    connections.dial(attempt, input, now)
            case inputs.StartFailed():
                attempt = self._attempt(input.generation)
                if attempt is not None:
                    self._start_failed(attempt, input, now)
            case inputs.RetryDelayAnswered(question, delay, problem):
                connections.attempts.strategy_answered(question, delay, problem, now)
            case inputs.SocketOpened():
                attempt = self._attempt(input.generation)
                if attempt is not None:
                    self._transition(E.WEBSOCKET_OPEN, now)
                    connections.opened(attempt, now)
            case inputs.TextReceived():
                generation = connections.get(input.generation)
                if generation is not None:
                    self._received(Malformed("text_message"), generation, now)
            case inputs.SocketClosed():
                generation = connections.get(input.generation)
                if generation is not None:
                    if input.error is not None:
                        failed = WebSocketFailed(generation.connection_id, input.error)
                        self._outbox.put(failed)
                    reason = input.reason or input.error or ""
                    self._ended(generation, input.code, reason, now, offline=input.offline)
            case inputs.FunctionMisbehaved():
                about = input.request_id or None
                self._outbox.error("function_misbehaved", input.text, request_id=about)
            # Repeated freely: by signals, by close() in several tasks, at the exit of the process.
            case inputs.CloseRequested():
                if not self.machine.is_shutting_down():
                    self._shut_down(now, signals=input.signals)
            case inputs.AbortRequested():
                if not self.machine.is_shutting_down():
                    self._shut_down(now)
                if not self.shutdown.forced:
                    # Named here, because the application's event loop may be closed, and then no
                    # function reports its end.
                    ids = ", ".join(map(shortened_id, self.shutdown.force(now)))
                    left = f"; not finished: {ids}" if ids else ""
                    text = f"stopping now: {input.reason}{left}"
                    self._outbox.error("shutdown_forced", text)
            case _:
                assert_never(input)
        self._settle(now)
        return self._outbox.take()

    def next_deadline(self) -> float | None:
        """When to call again with a Tick, None if nothing waits for time."""
        if self.machine.state is ConnectionState.CLOSED:
            return None
        # Only what ``handle(Tick())`` can act on. A deadline that is due and changes nothing would
        # be due again immediately, and the worker would spin.
        return earliest(
            self.connections.next_deadline(),
            self.delivery.next_deadline(),
            self.leases.next_deadline() if self._may_extend() else None,
            self.requests.long_running.next_deadline(),
            self._startup_deadline,
            self.shutdown.next_deadline(),
        )

    def close_immediately(self, now: float) -> None:
        """Record the end of a worker that never ran, or whose I/O loop has failed."""
        self._transition(E.SHUTDOWN_REQUESTED, now)
        self._transition(E.SHUTDOWN_COMPLETED, now)

    def _transition(self, event: E, now: float) -> None:
        """Apply ``event`` to the worker's state. A refusal is a bug here; it changes nothing."""
        before = self.machine.external_state
        try:
            self.machine.handle(event, now)
        except InvalidTransition as error:
            self._outbox.counters["invalid_transitions"] += 1
            self._outbox.error("invalid_transition", str(error))
            return
        after = self.machine.external_state
        if after is not before:
            self._outbox.put(StateChanged(before, after))

    def _settle(self, now: float) -> None:
        # Asked after every input, so each question is one attribute or one comparison. The order
        # matters in two places: functions are started before leases are extended and replies
        # flushed, because they take time of their own; and the shutdown looks last, at what is
        # left.
        if self.connections.closing:
            for generation in tuple(self.connections.closing.values()):
                # A replaced connection stays only until its replies are acknowledged.
                if not self.delivery.waiting_on(generation.number):
                    self.connections.close(generation, CLOSE_NORMAL, "", now)
        if self.requests.queue and not self.shutdown.forced:
            self.requests.start_ready(now)
        if self.leases.deadlines.first <= now and self._may_extend():
            assert self.connections.current is not None
            self.requests.extend_due(self.connections.current, now)
        if self.delivery.deadlines.first <= now or self.delivery.patience.first <= now:
            self.delivery.tick(self.connections.current, now)
        if self.requests.long_running.first <= now:
            self.requests.long_running.tick(now, len(self.requests.queue))
        if self.shutdown.stage is not Stage.RUNNING and self.shutdown.settle(now):
            error = self.shutdown.outcome()
            self._transition(E.SHUTDOWN_COMPLETED, now)
            self._outbox.put(Finished(error))

    def _may_extend(self) -> bool:
        return self.machine.state.extends_leases and self.connections.current is not None

    # --- connecting -------------------------------------------------------------------------

    def _attempt(self, number: int) -> Generation | None:
        attempt = self.connections.attempt
        return attempt if attempt is not None and attempt.number == number else None

    def _begin_attempt(self, now: float) -> None:
        self._transition(E.CONNECT_REQUESTED, now)
        self.connections.begin(now)

    def _start_failed(self, attempt: Generation, failed: inputs.StartFailed, now: float) -> None:
        connections, cause = self.connections, failed.message
        refused = failed.status in (401, 403)
        self._transition(E.AUTH_FAILED if refused else E.ERROR_OCCURRED, now)
        other_key = connections.refusals.by_api(failed, attempt.key)
        # Wrong keys at the very first connection are a mistake in a deployment, which ``start()``
        # has to report: end. Later, keys that worked once are rotated or the API is at fault, and
        # functions may be running: wait, and keep trying.
        if refused and not connections.ever_ready and self._keys.exhausted():
            self._give_up(AuthenticationError(cause), now)
            return
        connections.give_up_attempt(now)
        if other_key:
            connections.attempts.plan(0.0, cause, now)
        else:
            connections.attempts.failed(cause, now, failed.retry_after, offline=failed.offline)
        self._await_attempt(now)

    def _handshake_ended(
        self, attempt: Generation, code: int, reason: str, now: float, offline: bool
    ) -> None:
        attempts, cause = self.connections.attempts, f"{code} {reason}".strip()
        self._transition(E.ERROR_OCCURRED, now)
        self.connections.refusals.by_gateway(code, reason, attempt.key)
        self._outbox.error("connection_failed", f"no connection through this gateway: {cause}")
        self.connections.give_up_attempt(now)
        if reason == REASON_GATEWAY_CLOSING:
            attempts.refused_by_closing_gateway(cause, now)
        else:
            attempts.failed(cause, now, offline=offline)
        self._await_attempt(now)

    def _await_attempt(self, now: float) -> None:
        """An attempt failed. A worker that was connected before is RECONNECTING meanwhile."""
        if self.connections.ever_ready and self.connections.current is None:
            self._transition(E.RECONNECT_STARTED, now)

    def _ready(self, ready: ConnectionReady, generation: Generation, now: float) -> None:
        """The attempt serves from now on, and replaces a connection that is drained."""
        self._startup_deadline = None
        self._outbox.counters["connections"] += 1
        replaced = self.connections.ready(now)
        # Two events, because a drain ends only with the second: GATEWAY_READY alone would leave the
        # worker DRAINING_RECONNECTING.
        self._transition(E.GATEWAY_READY, now)
        if replaced is not None:
            self._transition(E.NEW_CONNECTION_READY, now)
        lost_at, self._lost_at = self._lost_at, None
        self._outbox.put(
            Connected(
                generation.connection_id,
                generation.gateway_group,
                now - generation.begun_at,
                now - lost_at if lost_at is not None else None,
                generation.gateway_url,
            )
        )
        for complaint in ready.complaints:
            self._outbox.error(
                "unusable_interval", complaint, connection_id=generation.connection_id
            )
        if self.machine.is_shutting_down():
            # Before anything else, or the gateway would send requests here. See
            # docs/protocol.md#pause.
            generation.send(_K.WORKER_PAUSE, messages.PAUSE)
            self.shutdown.paused()
        else:
            generation.send(_K.WORKER_READY, messages.READY)
        self.leases.set_interval(ready.extend_lease_interval, now)
        self.leases.connection_changed(now, replaced=replaced is not None)
        # A connection that is replaced may still bring the acknowledgements of its replies: they
        # are written here only when it has ended without them (``_ended``).
        if replaced is None:
            self.delivery.connection_ready(generation, now)

    # --- what the gateway sends -------------------------------------------------------------

    def _received(self, inbound: Inbound, generation: Generation, now: float) -> None:
        outbox, connection_id = self._outbox, generation.connection_id
        match inbound:
            case RequestArrived():
                self._request_arrived(inbound.request, generation, now)
            case ReplyAcked():
                if self.delivery.acknowledged(inbound.request_id, now):
                    self.requests.forget(inbound.request_id)
            case LeaseAnswered(request_id, new_lease_id):
                outbox.counters["lease_extensions"] += new_lease_id is not None
                self.requests.lease_answered(request_id, new_lease_id, now)
            case HeartbeatAcked(round_trip):
                self.connections.heartbeat_answered(generation, now)
                outbox.put(HeartbeatAnswered(connection_id, round_trip))
            case ConnectionReady():
                self._ready(inbound, generation, now)
            case GatewayClosing():
                self._gateway_closing(generation, now)
            case SyncFailed(code, message):
                text = f"the apps could not be synchronized: {code} {message}".strip()
                text += "; inngest-connect doctor shows more"
                outbox.error("sync_failed", text, connection_id=connection_id)
            case Malformed(kind):
                outbox.counters[f"malformed:{kind}"] += 1
                text = f"the gateway sent a malformed message: {kind}"
                outbox.error("malformed_message", text, connection_id=connection_id)
            case Violation(text):
                outbox.counters["violations"] += 1
                shown = f"the gateway violated the protocol: {text}"
                outbox.error("protocol_violation", shown, connection_id=connection_id)
                self._drop(generation, text, now)
            case _:
                assert_never(inbound)

    def _request_arrived(
        self, request: pb.GatewayExecutorRequestData, generation: Generation, now: float
    ) -> None:
        counters = self._outbox.counters
        if generation.phase is not Phase.ACTIVE or not self.machine.state.accepts_requests:
            # Without an acknowledgement the gateway gives it to another worker.
            counters["requests_ignored"] += 1
            return
        counters["requests_received"] += 1
        if not self.requests.arrived(request, generation, now):
            counters["requests_repeated"] += 1
            return
        self._outbox.put(
            RequestReceived(
                request.request_id,
                request.run_id,
                request.app_name,
                request.function_slug,
                generation.connection_id,
            )
        )

    def _gateway_closing(self, generation: Generation, now: float) -> None:
        """Make another connection first, and keep this one until then."""
        connections = self.connections
        if generation is connections.attempt:
            # The gateway would refuse the handshake in the end. There is nothing on this socket to
            # keep it for, so the next attempt begins without waiting for its close.
            self._outbox.put(AbortSocket(generation.number))
            self._transition(E.ERROR_OCCURRED, now)
            connections.give_up_attempt(now)
            connections.attempts.refused_by_closing_gateway(REASON_GATEWAY_CLOSING, now)
            self._await_attempt(now)
        elif generation.phase is Phase.ACTIVE:  # a repetition changes nothing
            generation.enter(Phase.DRAINING, now)
            connections.attempts.exclude(generation.gateway_group)
            self._transition(E.DRAINING_REQUESTED, now)
            self._outbox.put(Draining(generation.connection_id, generation.gateway_group))
            if self._wants_connection():
                connections.replace(generation, REASON_GATEWAY_CLOSING, now)

    def _wants_connection(self) -> bool:
        return self.machine.state.connects and self.shutdown.wants_connection()

    # --- ends -------------------------------------------------------------------------------

    def _drop(self, generation: Generation, cause: str, now: float) -> None:
        """Our decision to end a socket that is of no use any more."""
        self._outbox.put(AbortSocket(generation.number))
        self._ended(generation, CLOSE_ABNORMAL, cause, now)

    def _ended(
        self, generation: Generation, code: int, reason: str, now: float, *, offline: bool = False
    ) -> None:
        connections = self.connections
        # Before ``ended`` retires it, when it is still known what it was.
        serving = generation is connections.current
        closing = self.machine.is_shutting_down()
        connections.ended(generation, code, reason, now, closing=closing)
        if generation is connections.attempt:
            self._handshake_ended(generation, code, reason, now, offline)
        elif serving:
            self._lost(generation, reason, now)
        elif connections.current is not None:
            # What the drained socket took with it unacknowledged goes over its successor.
            self.delivery.connection_ready(connections.current, now)

    def _lost(self, generation: Generation, reason: str, now: float) -> None:
        """The serving connection ended: functions continue, and a new connection is made."""
        connections = self.connections
        self._outbox.counters["connections_lost"] += 1
        self._lost_at = now
        self._transition(E.CONNECTION_LOST, now)
        if connections.attempt is not None:
            # It was drained, and its successor is being made: CONNECTING, not RECONNECTING.
            self._transition(E.CONNECT_REQUESTED, now)
        elif connections.attempts.retry_at is None and self._wants_connection():
            # What a drain has planned already is kept: its end is not a second failure.
            connections.replace(generation, reason, now)
        self.shutdown.connection_lost(now)

    def _shut_down(
        self, now: float, *, signals: bool = True, error: ConnectError | None = None
    ) -> None:
        self._startup_deadline = None
        self._transition(E.SHUTDOWN_REQUESTED, now)
        self.shutdown.request(now, signals=signals, error=error)

    def _give_up(self, error: ConnectError, now: float) -> None:
        """Nothing can be done but to end; ``start()`` raises ``error``."""
        self._outbox.error("start_failed", str(error), fatal=True)
        self._shut_down(now, error=error)
        if len(self.buffer):
            # Recovered from the journal, and it keeps them: what refuses the start refuses them.
            self.shutdown.force(now)

    # --- time -------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        if self._startup_deadline is not None and now >= self._startup_deadline:
            limit, origin = self.settings.startup_timeout, self.settings.api_origin
            text = (
                f"not connected within startup_timeout={limit:g} s through {origin}: "
                "check that it is reachable from here"
            )
            self._give_up(StartupTimeout(text), now)
            return
        connections = self.connections
        # Before anything is done about it: how late this Tick is shows whether the process slept.
        deadline = self.next_deadline()
        if connections.attempts.due(now):
            self._begin_attempt(now)
        # A new list, because what follows retires generations.
        for generation in connections.generations():
            cause = generation.tick(now)
            if cause is None:
                continue
            if PHASES[generation.phase].expires_to is Phase.CLOSING:
                connections.close(generation, CLOSE_NORMAL, "", now)
                continue
            # That a gateway does not answer our close frame is not worth an error: it does no harm.
            if generation.phase is not Phase.CLOSING:
                connection_id = generation.connection_id
                self._outbox.error("gateway_silent", cause, connection_id=connection_id)
            self._drop(generation, cause, now)
        current = connections.current
        if current is not None and current.take_status_due(now):
            data = messages.worker_status(
                self.requests.unfinished_ids(), self.machine.is_shutting_down()
            )
            current.send(_K.WORKER_STATUS, data)
        if deadline is not None and now - deadline >= STOPPED:
            # Last: an attempt that was under way has failed now because it was stopped, too.
            connections.attempts.continued(now)
        else:
            # Messages that came meanwhile are read before a Tick, as event loops do; after a stop
            # there may be more of them than are read at once, so the next Tick decides.
            self.delivery.answered.turned_on_time(now)
