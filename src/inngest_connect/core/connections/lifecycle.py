"""ConnectionLifecycle: what connections coming and going means for the worker.

``connections`` knows the sockets; this file connects them with what outlives them: the worker's
state, its leases, its replies, its requests. An attempt ends in ``ready`` or ``_attempt_failed``; a
serving connection ends in ``_lost`` unless it was replaced in a drain or closed by us. Times are
monotonic seconds.
"""

from ...errors import AuthenticationError
from ...protocol import CLOSE_ABNORMAL, REASON_GATEWAY_CLOSING
from ...state_machine import ConnectionEvent as E
from ..commands import AbortSocket, Send
from ..events import (
    Connected,
    Disconnected,
    Draining,
    WebSocketClosed,
    WebSocketFailed,
    WebSocketOpened,
)
from ..inputs import SocketClosed, SocketOpened, StartFailed, StartSucceeded
from ..outbox import Report
from ..requests.delivery import ReplyDelivery
from ..requests.leases import LeaseTable
from ..requests.request_table import RequestTable
from ..shutdown import Shutdown
from ..signing_keys import SigningKeys
from ..wire import messages
from .generations import Connections, Generation
from .message_handler import ConnectionReady
from .phases import Phase


class ConnectionLifecycle:
    """See the module. ``status_at`` is when WORKER_STATUS is due, None when nobody asked for it."""

    def __init__(
        self,
        connections: Connections,
        requests: RequestTable,
        delivery: ReplyDelivery,
        leases: LeaseTable,
        shutdown: Shutdown,
        keys: SigningKeys,
        report: Report,
    ) -> None:
        self.status_interval = 0.0
        self.status_at: float | None = None
        self._lost_at: float | None = None
        self._connections = connections
        self._requests = requests
        self._delivery = delivery
        self._leases = leases
        self._shutdown = shutdown
        self._keys = keys
        self._report = report

    # --- attempts ---------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Start an attempt."""
        self._report.transition(E.CONNECT_REQUESTED, now)
        self._connections.begin(now, self._report.commands)

    def start_succeeded(self, event: StartSucceeded, now: float) -> None:
        if self._is_attempt(event.generation):
            self._report.transition(E.AUTH_SUCCESS, now)
            self._connections.start_succeeded(event, now, self._report.commands)

    def start_failed(self, event: StartFailed, now: float) -> AuthenticationError | None:
        """Returns the error to end with, when no key is accepted on the first connection."""
        if not self._is_attempt(event.generation):
            return None
        refused = event.status in (401, 403)
        self._report.transition(E.AUTH_FAILED if refused else E.ERROR_OCCURRED, now)
        other_key = self._connections.start_failed(event, self._report.commands)
        cause = event.message
        if refused and not self._connections.ever_ready and self._keys.exhausted():
            return AuthenticationError(cause)
        self._connections.give_up_attempt()
        attempts, commands = self._connections.attempts, self._report.commands
        if other_key:
            attempts.plan(0.0, cause, now, commands)
        else:
            attempts.failed(cause, now, commands, event.retry_after, offline=event.offline)
        self._waits_for_attempt(now)
        return None

    def _waits_for_attempt(self, now: float) -> None:
        if self._connections.ever_ready and self._connections.current is None:
            self._report.transition(E.RECONNECT_STARTED, now)

    def socket_opened(self, event: SocketOpened, now: float) -> None:
        attempt = self._connections.attempt
        if attempt is None or attempt.number != event.generation:
            return
        attempt.opened = True
        attempt.handler.opened(now)
        self._report.transition(E.WEBSOCKET_OPEN, now)
        opened = WebSocketOpened(attempt.connection_id, attempt.gateway_group)
        self._report.commands.append(opened)

    def _is_attempt(self, generation: int) -> bool:
        attempt = self._connections.attempt
        return attempt is not None and attempt.number == generation

    # --- serving ----------------------------------------------------------------------------

    def ready(self, ready: ConnectionReady, now: float) -> None:
        """CONNECTION_READY: the attempt serves from now on, a drained connection is replaced."""
        report = self._report
        generation, replaced = self._connections.ready(now)
        report.counters["connections"] += 1
        report.transition(E.GATEWAY_READY, now)
        if replaced is not None:
            report.transition(E.NEW_CONNECTION_READY, now)
        took = now - generation.begun_at
        outage, self._lost_at = self._lost_at, None
        report.commands.append(
            Connected(
                generation.connection_id,
                generation.gateway_group,
                took,
                now - outage if outage is not None else None,
            )
        )
        for complaint in ready.complaints:
            report.error("unusable_interval", complaint, connection_id=generation.connection_id)
        # A connection made during a shutdown is paused before anything else (PROTOCOL section 3).
        generation.paused = self._shutdown.requested
        first = messages.PAUSE if generation.paused else messages.READY
        report.commands.append(Send(generation.number, first))
        self._requests.carrier = generation.number
        self._leases.set_interval(ready.extend_lease_interval, now)
        self._leases.connection_changed(now)
        if replaced is None:
            self._delivery.connection_ready(generation.number, now, report.commands)
        self.status_interval = ready.status_interval
        self.status_at = now + ready.status_interval if ready.status_interval else None

    def gateway_closing(self, generation: Generation, now: float) -> None:
        """GATEWAY_CLOSING: get another connection first, keep this one until then."""
        connections = self._connections
        if generation is connections.attempt:
            self._report.commands.append(AbortSocket(generation.number))
            self._report.transition(E.ERROR_OCCURRED, now)
            connections.give_up_attempt()
            connections.attempts.refused_by_closing_gateway(
                REASON_GATEWAY_CLOSING, now, self._report.commands
            )
            self._waits_for_attempt(now)
        elif generation.phase is Phase.ACTIVE:
            generation.handler.drain()
            connections.attempts.exclude(generation.gateway_group)
            self._report.transition(E.DRAINING_REQUESTED, now)
            draining = Draining(generation.connection_id, generation.gateway_group)
            self._report.commands.append(draining)
            if connections.attempt is None and self._wanted():
                connections.replace(generation, REASON_GATEWAY_CLOSING, now, self._report.commands)

    def _wanted(self) -> bool:
        """Whether the worker still has a use for a connection."""
        return not self._shutdown.requested or self._requests.unfinished > 0

    # --- ends -------------------------------------------------------------------------------

    def drop(self, generation: Generation, cause: str, now: float) -> None:
        """Our decision to end a socket that is of no use any more."""
        self._report.commands.append(AbortSocket(generation.number))
        self._ended(generation, CLOSE_ABNORMAL, cause, now)

    def socket_closed(self, event: SocketClosed, now: float) -> None:
        generation = self._connections.get(event.generation)
        if generation is None:
            return
        if event.error is not None:
            failed = WebSocketFailed(generation.connection_id, event.error)
            self._report.commands.append(failed)
        reason = event.reason or event.error or ""
        self._ended(generation, event.code, reason, now, offline=event.offline)

    def _ended(
        self, generation: Generation, code: int, reason: str, now: float, *, offline: bool = False
    ) -> None:
        connections, report = self._connections, self._report
        if generation.opened:
            report.commands.append(WebSocketClosed(generation.connection_id, code, reason))
        if generation is connections.attempt:
            self._handshake_ended(code, reason, now, offline)
            return
        was_current = generation is connections.current
        expected = not was_current or self._shutdown.requested
        connections.retire(generation)
        group = generation.gateway_group
        report.commands.append(
            Disconnected(generation.connection_id, group, code, reason, expected)
        )
        if was_current:
            self._lost(generation, reason, now)
        elif connections.current is not None:
            # What the drained socket took with it unacknowledged goes over its successor.
            carrier = connections.current.number
            self._delivery.connection_ready(carrier, now, report.commands)

    def _handshake_ended(self, code: int, reason: str, now: float, offline: bool) -> None:
        cause = f"{code} {reason}".strip()
        self._report.transition(E.ERROR_OCCURRED, now)
        self._connections.handshake_closed(code, reason, self._report.commands)
        self._report.error("connection_failed", f"no connection through this gateway: {cause}")
        self._connections.give_up_attempt()
        attempts, commands = self._connections.attempts, self._report.commands
        if reason == REASON_GATEWAY_CLOSING:
            attempts.refused_by_closing_gateway(cause, now, commands)
        else:
            attempts.failed(cause, now, commands, offline=offline)
        self._waits_for_attempt(now)

    def _lost(self, generation: Generation, reason: str, now: float) -> None:
        """The serving connection ended; functions go on, and a new connection is made."""
        connections = self._connections
        self._report.counters["connections_lost"] += 1
        self._requests.carrier = None
        self._lost_at = now
        self.status_at = None
        self._report.transition(E.CONNECTION_LOST, now)
        if connections.attempt is not None:
            self._report.transition(E.CONNECT_REQUESTED, now)
        elif connections.attempts.retry_at is None and self._wanted():
            # What a drain has planned already is kept: its end is not a second failure.
            connections.replace(generation, reason, now, self._report.commands)
