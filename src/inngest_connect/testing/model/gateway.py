"""GatewayModel: what the gateways of one environment decide, without any I/O.

Rules of this file: it is as strict as docs/protocol.md says the server is; time is an argument;
what has to be done is returned as actions.

Theory of operation. A connection goes HANDSHAKING -> READY -> DRAINING -> closed. What a worker
sends waits in ``Arrivals`` until it is handled, in another order if there is a ``handling_delay``.
Before WORKER_READY nothing is answered. Requests, leases and replies belong to the environment, not
to a socket: see ``ExecutorModel``.
"""

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Final

from ...core.deadlines import earliest
from ...protocol import DECODE_ERRORS
from ...protocol import connect_pb2 as pb
from .actions import Action, CloseConnection
from .arrivals import Arrivals
from .connection import GatewayConnection, GatewayPhase
from .executor import ExecutorModel
from .handshake import HandshakeRefused, Sessions, check_connect, synchronized_as
from .ledger import Ledger
from .messages import INTERNAL_ERROR, WorkerMessages
from .outgoing import Outgoing
from .request import Request
from .settings import GatewaySettings

_SYNCHRONIZED: Final = -1
"""In place of a message kind: the apps of a connection are synchronized."""
_PHASE_CHANGES: Final = -2
"""The phase follows GATEWAY_CONNECTION_READY."""


class GatewayModel:
    """One environment: any number of gateways and connections, one store of requests."""

    def __init__(self, settings: GatewaySettings, random_bits: Callable[[int], int]) -> None:
        self.settings = settings
        self.settings_of: dict[str, GatewaySettings] = {}
        """Other settings for new connections, by gateway."""
        self.connections: dict[int, GatewayConnection] = {}
        self.draining_gateways: set[str] = set()
        self.apps: dict[str, pb.AppConfiguration] = {}
        """The apps that workers have introduced, whether or not one is connected now."""
        self.seen: Counter[str] = Counter()
        """How often something rare has happened that is nobody's mistake."""
        self.sync_failure: tuple[str, str] | None = None
        """A code and a message with which every worker is refused, None to accept them."""
        self._sessions = Sessions(settings.session_lifetime)
        self._synchronized_apps: set[tuple[object, ...]] = set()
        self._out: list[Action] = []
        self.executor = ExecutorModel(settings, self.connections, self._out, random_bits, self.seen)
        self.ledger: Ledger = self.executor.ledger
        self.requests: dict[str, Request] = self.executor.requests
        self._arrivals = Arrivals(random_bits)
        self._outgoing = Outgoing(self.connections, self.executor, self._out, self.seen)
        self._messages = WorkerMessages(self.executor, self._outgoing, self.draining_gateways)
        self.protocol_errors: list[str] = self._outgoing.protocol_errors

    def issued(self, connection_id: str, session_token: str, sync_token: str, now: float) -> None:
        """Take the tokens of an answered start request. From the first call on they are checked."""
        self._sessions.issued(connection_id, session_token, sync_token, now)

    def fail_store(self, until: float) -> None:
        """Have the server store nothing before that time: no replies, extensions or heartbeats."""
        self._messages.store_fails_until = until

    def can_store(self, now: float) -> bool:
        """Return whether ``flush`` may be called; the API answers 500 while it is not."""
        return now >= self._messages.store_fails_until

    # --- connections -------------------------------------------------------------------------

    def opened(self, number: int, gateway: str, now: float) -> list[Action]:
        """A WebSocket was accepted."""
        if gateway in self.draining_gateways:
            self._out.append(CloseConnection(number, 1001, "connect_gateway_closing"))
        else:
            settings = self.settings_of.get(gateway, self.settings)
            connection = GatewayConnection(number, gateway, settings, now)
            self.connections[number] = connection
            self._outgoing.send(connection, pb.GATEWAY_HELLO)
        return self._take(now)

    def closed(self, number: int, now: float) -> list[Action]:
        """The WebSocket has ended."""
        if number in self.connections:
            self._outgoing.forget(self.connections[number])
        return self._take(now)

    def blocked(self, number: int, now: float) -> None:
        """The line takes nothing more of what the gateway writes, until ``unblocked``."""
        connection = self.connections.get(number)
        if connection is not None and connection.blocked_until is None:
            connection.blocked_until = now + connection.settings.write_timeout

    def unblocked(self, number: int) -> None:
        """The line takes what the gateway writes again."""
        if number in self.connections:
            self.connections[number].blocked_until = None

    def received(self, number: int, data: bytes, now: float) -> list[Action]:
        """A message arrived."""
        if (connection := self.connections.get(number)) is None:
            return []
        if len(data) > connection.settings.max_message_bytes:
            limit = connection.settings.max_message_bytes + 1
            self._outgoing.close(connection, 1009, f"read limited at {limit} bytes")
            return self._take(now)
        try:
            message = pb.ConnectMessage.FromString(data)
        except DECODE_ERRORS:
            self._outgoing.close(connection, 1007, "failed to unmarshal Protobuf")
            return self._take(now)
        if connection.connect is None:
            self._worker_connect(connection, message, now)
            return self._take(now)
        if message.kind == pb.WORKER_REQUEST_ACK:
            with contextlib.suppress(*DECODE_ERRORS):
                ack = pb.WorkerRequestAckData.FromString(message.payload)
                self.executor.acknowledgement_arrived(ack.request_id)
        if not self._arrivals.add(connection, message.kind, message.payload, now):
            self._messages.handle(connection, message.kind, message.payload, now)
        return self._take(now)

    def _worker_connect(
        self, connection: GatewayConnection, message: pb.ConnectMessage, now: float
    ) -> None:
        try:
            connect, connection.functions = check_connect(
                message, connection.settings.max_apps, self._sessions, now
            )
            if not self.can_store(now):
                raise HandshakeRefused(*INTERNAL_ERROR, of_the_worker=False)
        except HandshakeRefused as refused:
            self._outgoing.close(
                connection, refused.code, refused.reason, mistake=refused.of_the_worker
            )
            return
        connection.connect = connect
        self.apps |= {app.app_name: app for app in connect.apps}
        self.executor.capacity.connected(connect.instance_id, connect.max_worker_concurrency)
        connection.last_heartbeat_at = now
        settings = connection.settings
        known = settings.skip_unchanged_sync and synchronized_as(connect) in self._synchronized_apps
        if settings.sync_delay and not known:
            self._arrivals.later(now + settings.sync_delay, connection.number, _SYNCHRONIZED)
        else:
            self._synchronized(connection, connect, now)

    def _synchronized(
        self, connection: GatewayConnection, connect: pb.WorkerConnectRequestData, now: float
    ) -> None:
        if connection.gateway in self.draining_gateways:
            self._outgoing.close(connection, 1001, "connect_gateway_closing")
            return
        if self.sync_failure is not None:
            code, text = self.sync_failure
            failure = pb.SystemError(code=code, message=text)
            self._outgoing.send(connection, pb.SYNC_FAILED, failure.SerializeToString())
            self._outgoing.close(connection, 1008, code)
            return
        self._synchronized_apps.add(synchronized_as(connect))
        settings = connection.settings
        ready = pb.GatewayConnectionReadyData(
            heartbeat_interval=settings.heartbeat_interval,
            extend_lease_interval=settings.extend_lease_interval,
            status_interval=settings.status_interval,
        )
        self._outgoing.send(connection, pb.GATEWAY_CONNECTION_READY, ready.SerializeToString())
        if not connect.worker_manual_readiness_ack:
            if settings.ready_delay:
                self._arrivals.later(now + settings.ready_delay, connection.number, _PHASE_CHANGES)
            else:
                connection.phase = GatewayPhase.READY

    def drain(self, gateway: str, now: float) -> list[Action]:
        """Drain a gateway: it closes new connections, and the others after ``drain_window``."""
        self.draining_gateways.add(gateway)
        for connection in [c for c in self.connections.values() if c.gateway == gateway]:
            if connection.connect is None:
                self._outgoing.close(connection, 1001, "connect_gateway_closing")
                continue
            # The server still stores it as READY, so the router goes on choosing it.
            ready = connection.phase is GatewayPhase.READY
            connection.holds_work = ready and connection.settings.hold_during_drain
            connection.phase = GatewayPhase.DRAINING
            connection.window_ends_at = now + connection.settings.drain_window
            self._outgoing.send(connection, pb.GATEWAY_CLOSING)
            self.executor.fail_unacknowledged(connection)
        return self._take(now)

    def dispatch(
        self, message: pb.GatewayExecutorRequestData, now: float
    ) -> tuple[str, list[Action]]:
        """Lease a request and forward it to a worker as soon as there is one; returns its id."""
        request_id = self.executor.dispatch(message, now)
        return request_id, self._take(now)

    def forward_again(self, request_id: str, connection: int, now: float) -> list[Action]:
        """Write a request to that connection once more, as a repeated forward does."""
        self.executor.forward(self.requests[request_id], self.connections[connection], now)
        return self._take(now)

    def flush(self, response: pb.SDKResponse, now: float) -> list[Action]:
        """A reply arrived over HTTP."""
        self.executor.store(response, now, flushed=True)
        return self._take(now)

    def next_deadline(self) -> float | None:
        """When ``tick`` has to be called next."""
        first = earliest(self.executor.next_deadline(), self._arrivals.next_at())
        for connection in self.connections.values():
            first = earliest(first, connection.window_ends_at, connection.lost_at())
        return first

    def tick(self, now: float) -> list[Action]:
        """Handle the delayed messages that are due, and end what has run out of time."""
        while (due := self._arrivals.pop_due(now)) is not None:
            number, kind, payload = due
            connection = self.connections.get(number)
            if connection is None or connection.connect is None:
                continue  # what a closed connection left unhandled is lost
            if kind == _SYNCHRONIZED:
                self._synchronized(connection, connection.connect, now)
            elif kind != _PHASE_CHANGES:
                self._messages.handle(connection, kind, payload, now)
            elif connection.phase is GatewayPhase.HANDSHAKING:
                connection.phase = GatewayPhase.READY
        self.executor.tick(now)
        for connection in list(self.connections.values()):
            if connection.window_ends_at is not None and now >= connection.window_ends_at:
                self._outgoing.close(connection, 1001, "connect_gateway_closing")
            elif now >= connection.lost_at():
                self._outgoing.drop(connection)
        return self._take(now)

    def _take(self, now: float) -> list[Action]:
        """Route what can be routed now, and hand over all actions: the end of every input."""
        self.executor.route(now)
        actions = self._out.copy()
        self._out.clear()
        return actions
