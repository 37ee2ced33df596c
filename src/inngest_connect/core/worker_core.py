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

from ..errors import AuthenticationError, ConnectError, InvalidTransition, StartupTimeout
from ..protocol import CLOSE_ABNORMAL, CLOSE_NORMAL, REASON_GATEWAY_CLOSING
from ..state_machine import ConnectionEvent as E
from ..state_machine import ConnectionStateMachine
from . import events as ev
from . import messages
from .commands import AbortSocket, Command, Finished, Send
from .connections import Connections, Generation
from .delivery import ReplyDelivery
from .leases import LeaseTable
from .message_buffer import MessageBuffer
from .message_handler import (
    ConnectionReady,
    GatewayClosing,
    Inbound,
    LeaseAnswered,
    Malformed,
    ReplyAcked,
    RequestArrived,
    SyncFailed,
    Violation,
)
from .observations import (
    Connected,
    Disconnected,
    Draining,
    ErrorOccurred,
    RequestReceived,
    StateChanged,
    WebSocketClosed,
    WebSocketFailed,
    WebSocketOpened,
)
from .phases import Phase
from .remote_text import clean
from .requests import RequestTable
from .retry import RetryStrategy
from .settings import CoreSettings, WorkerIdentity
from .shutdown import Shutdown
from .signing_keys import SigningKeys


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
        self.machine = ConnectionStateMachine()
        self.settings = settings
        self.counters: Counter[str] = Counter()
        self.leases = LeaseTable(settings.extend_lease_interval)
        self.buffer = MessageBuffer(settings.max_buffer_bytes)
        self.delivery = ReplyDelivery(self.buffer, settings, keys, random)
        self.requests = RequestTable(identity, settings, self.leases, self.delivery)
        self.connections = Connections(identity, settings, keys, retry, random)
        self.shutdown = Shutdown(settings)
        self.finished = False
        self._keys = keys
        self._retry = retry
        self._random = random
        self._startup_deadline: float | None = None
        self._status_interval = 0.0
        self._status_at: float | None = None
        self._out: list[Command] = []
        self._handlers: dict[type[ev.Event], Callable[..., None]] = {
            ev.Started: self._started,
            ev.StartSucceeded: self._start_succeeded,
            ev.StartFailed: self._start_failed,
            ev.SocketOpened: self._socket_opened,
            ev.MessageReceived: self._message_received,
            ev.TextReceived: self._text_received,
            ev.SocketClosed: self._socket_closed,
            ev.AcknowledgementWritten: self._acknowledgement_written,
            ev.AcknowledgementFailed: self._acknowledgement_failed,
            ev.ExecutionFinished: self._execution_finished,
            ev.FlushSucceeded: self._flush_succeeded,
            ev.FlushFailed: self._flush_failed,
            ev.CloseRequested: self._close_requested,
            ev.AbortRequested: self._abort_requested,
            ev.Tick: self._tick,
        }

    def handle(self, event: ev.Event, now: float) -> list[Command]:
        """Take one event and return what to do about it, in order."""
        self._out = []
        if not self.finished:
            self._handlers[type(event)](event, now)
            self._settle(now)
        return self._out

    def next_deadline(self) -> float | None:
        """When to call again with a Tick, None if nothing waits for time."""
        if self.finished:
            return None
        times = [
            self.connections.next_deadline(),
            self.delivery.next_deadline(),
            self.leases.next_deadline() if self.requests.carrier is not None else None,
            self._startup_deadline,
            self._status_at,
            self.shutdown.next_deadline(),
            self._pause_deadline(),
        ]
        return min((at for at in times if at is not None), default=None)

    def close_at_once(self, now: float) -> None:
        """Record the end of a worker that never ran, or whose I/O loop has failed."""
        self._out = []
        self._transition(E.SHUTDOWN_REQUESTED, now)
        self._transition(E.SHUTDOWN_COMPLETED, now)
        self.finished = True

    # --- connecting ------------------------------------------------------------------------

    def _started(self, event: ev.Started, now: float) -> None:
        if self.settings.startup_timeout is not None:
            self._startup_deadline = now + self.settings.startup_timeout
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._transition(E.CONNECT_REQUESTED, now)
        self.connections.begin(now, self._out)

    def _start_succeeded(self, event: ev.StartSucceeded, now: float) -> None:
        self._transition(E.AUTH_SUCCESS, now)
        self.connections.start_succeeded(event, now, self._out)

    def _start_failed(self, event: ev.StartFailed, now: float) -> None:
        attempt = self.connections.attempt
        if attempt is None or attempt.number != event.generation:
            return
        refused = event.status in (401, 403)
        self._transition(E.AUTH_FAILED if refused else E.ERROR_OCCURRED, now)
        delay = self.connections.start_failed(event, self._out)
        if refused and not self.connections.ever_ready and self._keys.exhausted():
            self._fail(AuthenticationError(clean(event.message)), now)
            return
        self._attempt_failed(delay, clean(event.message), now)

    def _attempt_failed(self, delay: float | None, cause: str, now: float) -> None:
        self.connections.failed(delay, cause, now, self._out)
        if self.connections.ever_ready and self.connections.current is None:
            self._transition(E.RECONNECT_STARTED, now)

    def _socket_opened(self, event: ev.SocketOpened, now: float) -> None:
        attempt = self.connections.attempt
        if attempt is None or attempt.number != event.generation:
            return
        attempt.opened = True
        attempt.handler.opened(now)
        self._transition(E.WEBSOCKET_OPEN, now)
        self._out.append(WebSocketOpened(attempt.connection_id, attempt.gateway_group))

    def _ready(self, ready: ConnectionReady, now: float) -> None:
        generation, replaced = self.connections.ready(now)
        self._startup_deadline = None
        self.counters["connections"] += 1
        self._transition(E.GATEWAY_READY, now)
        if replaced is not None:
            self._transition(E.NEW_CONNECTION_READY, now)
        self._out.append(
            Connected(generation.connection_id, generation.gateway_group, now - generation.begun_at)
        )
        for complaint in ready.complaints:
            self._error("unusable_interval", complaint, generation)
        # A connection made during a shutdown is paused before anything else (PROTOCOL section 3).
        generation.paused = self.shutdown.requested
        first = messages.PAUSE if generation.paused else messages.READY
        self._out.append(Send(generation.number, first))
        self.requests.carrier = generation.number
        self.leases.set_interval(ready.extend_lease_interval, now)
        self.leases.connection_changed(now)
        if replaced is None:
            self.delivery.connection_ready(generation.number, now, self._out)
        self._status_interval = ready.status_interval
        self._status_at = now + ready.status_interval if ready.status_interval else None

    # --- what the gateway says -------------------------------------------------------------

    def _message_received(self, event: ev.MessageReceived, now: float) -> None:
        generation = self.connections.get(event.generation)
        if generation is None:
            return
        inbound = generation.handler.receive(event.data, now, self._out)
        if inbound is not None:
            self._inbound(inbound, generation, now)

    def _inbound(self, inbound: Inbound, generation: Generation, now: float) -> None:
        match inbound:
            case RequestArrived():
                self._request_arrived(inbound, generation, now)
            case ReplyAcked(request_id):
                if self.delivery.acknowledged(request_id, self._out):
                    self.requests.delivered(request_id)
            case LeaseAnswered(request_id, new_lease_id):
                self.requests.lease_answered(request_id, new_lease_id, now, self._out)
            case ConnectionReady():
                self._ready(inbound, now)
            case GatewayClosing():
                self._gateway_closing(generation, now)
            case SyncFailed(code, message):
                text = f"the apps could not be synchronised: {code} {message}".strip()
                self._error("sync_failed", text, generation)
            case Malformed(kind):
                self.counters[f"malformed:{kind}"] += 1
                self._error(
                    "malformed_message", f"the gateway sent a malformed message: {kind}", generation
                )
            case Violation(text):
                self.counters["violations"] += 1
                self._error(
                    "protocol_violation", f"the gateway broke the protocol: {text}", generation
                )
                self._drop(generation, text, now)

    def _request_arrived(self, inbound: RequestArrived, generation: Generation, now: float) -> None:
        # Not ours: the gateway has given it to another worker by now (PROTOCOL section 4).
        if generation.phase is not Phase.ACTIVE or self.shutdown.requested:
            self.counters["requests_ignored"] += 1
            return
        request = inbound.request
        self.counters["requests_received"] += 1
        if not self.requests.arrived(request, generation.number, now, self._out):
            self.counters["requests_repeated"] += 1
            return
        self._out.append(
            RequestReceived(
                request.request_id,
                request.run_id,
                request.app_name,
                request.function_slug,
                generation.connection_id,
            )
        )

    def _gateway_closing(self, generation: Generation, now: float) -> None:
        connections = self.connections
        if generation is connections.attempt:
            self._out.append(AbortSocket(generation.number))
            self._transition(E.ERROR_OCCURRED, now)
            self._attempt_failed(connections.soon(), REASON_GATEWAY_CLOSING, now)
        elif generation.phase is Phase.ACTIVE:
            generation.handler.drain()
            connections.exclude(generation.gateway_group)
            self._transition(E.DRAINING_REQUESTED, now)
            self._out.append(Draining(generation.connection_id, generation.gateway_group))
            if connections.attempt is None and self._connection_wanted():
                self._begin(now)

    def _text_received(self, event: ev.TextReceived, now: float) -> None:
        generation = self.connections.get(event.generation)
        if generation is not None:
            self._inbound(Malformed("text_message"), generation, now)

    # --- losing connections ----------------------------------------------------------------

    def _drop(self, generation: Generation, cause: str, now: float) -> None:
        """Our decision to end a socket that is of no use any more."""
        self._out.append(AbortSocket(generation.number))
        self._ended(generation, CLOSE_ABNORMAL, cause, now)

    def _socket_closed(self, event: ev.SocketClosed, now: float) -> None:
        generation = self.connections.get(event.generation)
        if generation is None:
            return
        if event.error is not None:
            self._out.append(WebSocketFailed(generation.connection_id, clean(event.error)))
        self._ended(generation, event.code, clean(event.reason or event.error or ""), now)

    def _ended(self, generation: Generation, code: int, reason: str, now: float) -> None:
        connections = self.connections
        if generation.opened:
            self._out.append(WebSocketClosed(generation.connection_id, code, reason))
        if generation is connections.attempt:
            self._transition(E.ERROR_OCCURRED, now)
            delay = connections.handshake_closed(code, reason, self._out)
            cause = f"{code} {reason}".strip()
            self._error("connection_failed", f"no connection through this gateway: {cause}")
            self._attempt_failed(delay, cause, now)
            return
        was_current = generation is connections.current
        expected = not was_current or self.shutdown.requested
        connections.retire(generation)
        self._out.append(
            Disconnected(generation.connection_id, generation.gateway_group, code, reason, expected)
        )
        if was_current:
            self._connection_lost(generation, reason, now)
        elif connections.current is not None:
            self.delivery.connection_ready(connections.current.number, now, self._out)

    def _connection_lost(self, generation: Generation, reason: str, now: float) -> None:
        connections = self.connections
        self.counters["connections_lost"] += 1
        self.requests.carrier = None
        self._status_at = None
        self.delivery.carrier_lost(now)
        self._transition(E.CONNECTION_LOST, now)
        if connections.attempt is not None:
            self._transition(E.CONNECT_REQUESTED, now)
        elif self._connection_wanted():
            going_away = reason == REASON_GATEWAY_CLOSING
            delay = connections.soon() if going_away else self._retry.delay(0, self._random)
            connections.plan(delay, reason or "connection lost", now, self._out)

    def _connection_wanted(self) -> bool:
        return not self.shutdown.requested or self.requests.unfinished > 0

    # --- requests and replies --------------------------------------------------------------

    def _acknowledgement_written(self, event: ev.AcknowledgementWritten, now: float) -> None:
        self.requests.acknowledgement_written(event.request_id, now, self._out)

    def _acknowledgement_failed(self, event: ev.AcknowledgementFailed, now: float) -> None:
        self.requests.acknowledgement_failed(event.request_id, self._out)

    def _execution_finished(self, event: ev.ExecutionFinished, now: float) -> None:
        self.requests.finished(event.request_id, event.result, now, self._out)

    def _flush_succeeded(self, event: ev.FlushSucceeded, now: float) -> None:
        if self.delivery.flush_succeeded(event.request_id, self._out):
            self.requests.delivered(event.request_id)

    def _flush_failed(self, event: ev.FlushFailed, now: float) -> None:
        given_up = self.delivery.flush_failed(
            event.request_id, event.status, event.message, event.retry_after, now, self._out
        )
        if given_up:
            self.requests.delivered(event.request_id)

    # --- time ------------------------------------------------------------------------------

    def _tick(self, event: ev.Tick, now: float) -> None:
        connections = self.connections
        if self._startup_deadline is not None and now >= self._startup_deadline:
            origin = self.settings.api_origin
            self._fail(
                StartupTimeout(
                    f"not connected within startup_timeout={self.settings.startup_timeout:g} s "
                    f"through {origin}: check that it is reachable from here"
                ),
                now,
            )
            return
        retry_at = connections.attempts.retry_at
        if retry_at is not None and now >= retry_at and connections.attempt is None:
            self._begin(now)
        for generation in connections.living():
            expired = generation.handler.tick(now, self._out)
            if expired is not None:
                self._error("gateway_silent", expired.text, generation)
                self._drop(generation, expired.text, now)
        for generation in list(connections.closing.values()):
            if generation.close_deadline is not None and now >= generation.close_deadline:
                self._close_overdue(generation, now)
        if self._status_at is not None and now >= self._status_at:
            self._send_status(now)

    def _close_overdue(self, generation: Generation, now: float) -> None:
        if generation.close_sent:
            self._drop(generation, "no close frame from the gateway", now)
        else:
            self.connections.close(generation, CLOSE_NORMAL, "", now, self._out)

    def _send_status(self, now: float) -> None:
        self._status_at = now + self._status_interval
        current = self.connections.current
        if current is not None and current.phase is Phase.ACTIVE:
            data = messages.worker_status(self.requests.unfinished_ids(), self.shutdown.requested)
            self._out.append(Send(current.number, data))

    # --- what follows from any event -------------------------------------------------------

    def _settle(self, now: float) -> None:
        for generation in tuple(self.connections.closing.values()):
            if not generation.close_sent and not self.delivery.waiting_on(generation.number):
                self.connections.close(generation, CLOSE_NORMAL, "", now, self._out)
        if not self.shutdown.aborting:
            self.requests.start_ready(now, self._out)
        self.requests.extend_due(now, self._out)
        self.delivery.tick(now, self._out)
        if self.shutdown.requested:
            self._settle_shutdown(now)

    # --- shutdown --------------------------------------------------------------------------

    def _close_requested(self, event: ev.CloseRequested, now: float) -> None:
        if self.shutdown.requested:
            return
        self.shutdown.request(now, self.requests.last_acknowledged_at)
        self._startup_deadline = None
        self._transition(E.SHUTDOWN_REQUESTED, now)

    def _abort_requested(self, event: ev.AbortRequested, now: float) -> None:
        self._close_requested(ev.CloseRequested(), now)
        if self.shutdown.aborting:
            return
        self.shutdown.abort(now, self.requests.abandon(self._out), forced=True)
        self._error("shutdown_forced", f"stopping now: {event.reason}")

    def _fail(self, error: ConnectError, now: float) -> None:
        """Nothing can be done but to end; ``start()`` raises ``error``."""
        self._out.append(ErrorOccurred("start_failed", str(error), fatal=True))
        self.shutdown.error = error
        self._close_requested(ev.CloseRequested(), now)

    def _settle_shutdown(self, now: float) -> None:
        shutdown, connections = self.shutdown, self.connections
        if shutdown.overdue(now) and not shutdown.aborting:
            shutdown.abort(now, self.requests.abandon(self._out), forced=False)
            if shutdown.abandoned:
                self._error(
                    "shutdown_timeout",
                    f"shutdown_timeout={self.settings.shutdown_timeout:g} s is over; not finished: "
                    f"{', '.join(shutdown.abandoned)}",
                )
        self._pause(now)
        if self.requests.unfinished and not shutdown.aborting:
            self._connect_for_work_in_flight(now)
            return
        connections.abandon_attempt(self._out)
        if shutdown.aborting or connections.current is None:
            shutdown.hurry_once(lambda: self.delivery.hurry(now))
            self.delivery.tick(now, self._out)
        if len(self.buffer) and not shutdown.final_flush_over(now):
            return
        if self._pause_deadline() is None or shutdown.aborting:
            self._close_sockets(now)

    def _connect_for_work_in_flight(self, now: float) -> None:
        """Leases can only be extended over a connection."""
        connections = self.connections
        connected = connections.current is not None or connections.attempt is not None
        if not connected and connections.attempts.retry_at is None:
            connections.plan(0.0, "work in flight at shutdown", now, self._out)

    def _pause_deadline(self) -> float | None:
        """When WORKER_PAUSE is due, None when none is."""
        current = self.connections.current
        if current is None or current.paused or not self.shutdown.requested:
            return None
        return self.shutdown.pause_at

    def _pause(self, now: float) -> None:
        current, due_at = self.connections.current, self._pause_deadline()
        if current is None or due_at is None or now < due_at:
            return
        current.paused = True
        self._out.append(Send(current.number, messages.PAUSE))

    def _close_sockets(self, now: float) -> None:
        self.requests.carrier = None
        for generation in self.connections.living():
            self.connections.close(
                generation, CLOSE_NORMAL, messages.SHUTDOWN_REASON, now, self._out
            )
        if self.connections.closing:
            return
        for reply in list(self.buffer):
            text = "the worker ended before the server accepted this reply"
            self._error("reply_undelivered", text, request_id=reply.request_id)
        undelivered = [reply.request_id for reply in self.buffer]
        self._transition(E.SHUTDOWN_COMPLETED, now)
        self.finished = True
        self._out.append(Finished(self.shutdown.outcome(undelivered)))

    # --- telling -----------------------------------------------------------------------------

    def _transition(self, event: E, now: float) -> None:
        before = self.machine.external_state
        try:
            self.machine.handle(event, now)
        except InvalidTransition as error:
            self.counters["invalid_transitions"] += 1
            self._out.append(ErrorOccurred("invalid_transition", str(error)))
            return
        after = self.machine.external_state
        if after is not before:
            self._out.append(StateChanged(before, after))

    def _error(
        self,
        kind: str,
        message: str,
        generation: Generation | None = None,
        request_id: str | None = None,
    ) -> None:
        connection_id = generation.connection_id if generation is not None else None
        self._out.append(ErrorOccurred(kind, message, request_id, connection_id))
