"""The worker's state: one table, ``(state, event) -> state``.

Rules of this file:
1. Everything that affects the worker's state is in ``TRANSITIONS``. Validation, the diagram in the
   documentation, the status page and the tests are derived from it.
2. The file knows nothing of sockets: a drain has two of them and still one worker state.

Theory of operation. A worker starts in CONNECTING and stays there, however many attempts fail,
until a gateway is ready. A lost connection is RECONNECTING while waiting for the next attempt and
CONNECTING during it; ``ERROR_OCCURRED`` reports a failed attempt, ``RECONNECT_STARTED`` reports
that a connection existed before and its replacement is awaited. A drain keeps the old connection
while the new one is made: DRAINING_RECONNECTING inside, ACTIVE outside. Shutdown is CLOSING, in
which in-flight work may need new connections without the state changing, until
``SHUTDOWN_COMPLETED``. An event that leads back to the same state is valid and does not count as a
change.

PAUSED has no entries: it exists because programs written for the official SDK name it.
"""

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from .errors import InvalidTransition, LocalMistake

HISTORY_LENGTH: Final = 50


class ConnectionState(enum.Enum):
    """State of the worker's connection to the Inngest gateway.

    What a worker does in a state follows from ``PERMISSIONS``.
    """

    connects: bool
    accepts_requests: bool
    extends_leases: bool

    CONNECTING = "CONNECTING"
    """Establishing a connection: API call, socket, handshake, or the wait before a first retry."""
    ACTIVE = "ACTIVE"
    """Ready to receive and execute requests."""
    RECONNECTING = "RECONNECTING"
    """The connection was lost; waiting to try again. Functions in flight go on."""
    DRAINING_RECONNECTING = "DRAINING_RECONNECTING"
    """The gateway is going away; a second connection is being made. Reported as ACTIVE outside."""
    CLOSING = "CLOSING"
    """Shutting down: no new work, in-flight work is finished and delivered."""
    CLOSED = "CLOSED"
    """Terminal."""
    PAUSED = "PAUSED"
    """Reserved: the official SDKs name it and never enter it. Neither do we."""

    # Programs compare with the enumeration of the official SDK, or with a name. It is recognized by
    # its name, because importing it would import the whole official worker.
    def __eq__(self, other: object) -> bool:
        if isinstance(other, enum.Enum) and type(other).__name__ == "ConnectionState":
            return bool(self.value == other.value)
        return self.value == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.value)


def connection_state(state: ConnectionState | enum.Enum | str) -> ConnectionState:
    """Ours for the official SDK's, or for a name. Raises LocalMistake for an unknown one."""
    value = state.value if isinstance(state, enum.Enum) else state
    try:
        return ConnectionState(value)
    except ValueError:
        names = ", ".join(each.value for each in ConnectionState)
        raise LocalMistake(f"{state!r} is not a connection state; there are {names}") from None


class ConnectionEvent(enum.Enum):
    """What can happen to the worker's connection."""

    CONNECT_REQUESTED = "CONNECT_REQUESTED"
    WEBSOCKET_OPEN = "WEBSOCKET_OPEN"
    AUTH_SUCCESS = "AUTH_SUCCESS"
    AUTH_FAILED = "AUTH_FAILED"
    GATEWAY_READY = "GATEWAY_READY"
    DRAINING_REQUESTED = "DRAINING_REQUESTED"
    NEW_CONNECTION_READY = "NEW_CONNECTION_READY"
    ERROR_OCCURRED = "ERROR_OCCURRED"
    SHUTDOWN_REQUESTED = "SHUTDOWN_REQUESTED"
    CONNECTION_LOST = "CONNECTION_LOST"
    RECONNECT_STARTED = "RECONNECT_STARTED"
    SHUTDOWN_COMPLETED = "SHUTDOWN_COMPLETED"


_S, _E = ConnectionState, ConnectionEvent


class Permissions(NamedTuple):
    """What a worker does in one state."""

    connects: bool
    """Makes connections. In CLOSING only for work that is in flight."""
    accepts_requests: bool
    """Acknowledges requests, and executes them."""
    extends_leases: bool
    """Extends the leases of requests, over the connection that serves."""


PERMISSIONS: Final[dict[ConnectionState, Permissions]] = {
    _S.CONNECTING: Permissions(connects=True, accepts_requests=False, extends_leases=False),
    _S.ACTIVE: Permissions(connects=False, accepts_requests=True, extends_leases=True),
    _S.RECONNECTING: Permissions(connects=True, accepts_requests=False, extends_leases=False),
    _S.DRAINING_RECONNECTING: Permissions(
        connects=True, accepts_requests=False, extends_leases=True
    ),
    _S.CLOSING: Permissions(connects=True, accepts_requests=False, extends_leases=True),
    _S.CLOSED: Permissions(connects=False, accepts_requests=False, extends_leases=False),
    _S.PAUSED: Permissions(connects=False, accepts_requests=False, extends_leases=False),
}
for _state, _permissions in PERMISSIONS.items():
    # Copied to the members, because they are asked for with every message.
    _state.connects, _state.accepts_requests, _state.extends_leases = _permissions

_ATTEMPT = (_E.CONNECT_REQUESTED, _E.AUTH_SUCCESS, _E.AUTH_FAILED, _E.WEBSOCKET_OPEN)
_ANY_BUT_COMPLETED = tuple(event for event in _E if event is not _E.SHUTDOWN_COMPLETED)

TRANSITIONS: Final[dict[tuple[ConnectionState, ConnectionEvent], ConnectionState]] = {
    # Connecting, for the first time or again: the steps of an attempt, and its failures, stay.
    **{(_S.CONNECTING, event): _S.CONNECTING for event in _ATTEMPT},
    (_S.CONNECTING, _E.ERROR_OCCURRED): _S.CONNECTING,
    (_S.CONNECTING, _E.CONNECTION_LOST): _S.CONNECTING,
    (_S.CONNECTING, _E.RECONNECT_STARTED): _S.RECONNECTING,
    (_S.CONNECTING, _E.GATEWAY_READY): _S.ACTIVE,
    (_S.CONNECTING, _E.NEW_CONNECTION_READY): _S.ACTIVE,
    (_S.CONNECTING, _E.SHUTDOWN_REQUESTED): _S.CLOSING,
    # Active.
    (_S.ACTIVE, _E.GATEWAY_READY): _S.ACTIVE,
    (_S.ACTIVE, _E.NEW_CONNECTION_READY): _S.ACTIVE,
    (_S.ACTIVE, _E.DRAINING_REQUESTED): _S.DRAINING_RECONNECTING,
    (_S.ACTIVE, _E.ERROR_OCCURRED): _S.RECONNECTING,
    (_S.ACTIVE, _E.CONNECTION_LOST): _S.RECONNECTING,
    (_S.ACTIVE, _E.SHUTDOWN_REQUESTED): _S.CLOSING,
    # Waiting to connect again.
    (_S.RECONNECTING, _E.CONNECT_REQUESTED): _S.CONNECTING,
    (_S.RECONNECTING, _E.RECONNECT_STARTED): _S.RECONNECTING,
    (_S.RECONNECTING, _E.ERROR_OCCURRED): _S.RECONNECTING,
    (_S.RECONNECTING, _E.AUTH_FAILED): _S.RECONNECTING,
    (_S.RECONNECTING, _E.CONNECTION_LOST): _S.RECONNECTING,
    (_S.RECONNECTING, _E.SHUTDOWN_REQUESTED): _S.CLOSING,
    # Draining: the old connection serves while attempts at a new one come and go.
    **{(_S.DRAINING_RECONNECTING, event): _S.DRAINING_RECONNECTING for event in _ATTEMPT},
    (_S.DRAINING_RECONNECTING, _E.GATEWAY_READY): _S.DRAINING_RECONNECTING,
    (_S.DRAINING_RECONNECTING, _E.DRAINING_REQUESTED): _S.DRAINING_RECONNECTING,
    (_S.DRAINING_RECONNECTING, _E.ERROR_OCCURRED): _S.DRAINING_RECONNECTING,
    (_S.DRAINING_RECONNECTING, _E.RECONNECT_STARTED): _S.DRAINING_RECONNECTING,
    (_S.DRAINING_RECONNECTING, _E.NEW_CONNECTION_READY): _S.ACTIVE,
    (_S.DRAINING_RECONNECTING, _E.CONNECTION_LOST): _S.RECONNECTING,
    (_S.DRAINING_RECONNECTING, _E.SHUTDOWN_REQUESTED): _S.CLOSING,
    # Closing: connections may still come and go for the sake of in-flight work.
    **{(_S.CLOSING, event): _S.CLOSING for event in _ANY_BUT_COMPLETED},
    (_S.CLOSING, _E.SHUTDOWN_COMPLETED): _S.CLOSED,
    # CLOSED and PAUSED have no entries: terminal, and reserved.
}


@dataclass(frozen=True, slots=True)
class StateChange:
    """One change of state. ``at`` is in monotonic seconds."""

    previous: ConnectionState
    state: ConnectionState
    event: ConnectionEvent
    at: float


Listener = Callable[[StateChange], None]


class ConnectionStateMachine:
    """Holds the state and refuses what ``TRANSITIONS`` does not allow.

    Listeners are called after the change, in order of registration; one that raises is passed to
    ``on_listener_error`` and can neither undo the change nor keep others from hearing of it.
    """

    def __init__(
        self, on_listener_error: Callable[[Listener, Exception], None] | None = None
    ) -> None:
        self.state = ConnectionState.CONNECTING
        """The state inside, which can be DRAINING_RECONNECTING. Only ``handle`` changes it; it is
        an attribute and not a property because the core reads it for every message."""
        self._history: deque[StateChange] = deque(maxlen=HISTORY_LENGTH)
        self._listeners: list[Listener] = []
        self._on_listener_error = on_listener_error

    @property
    def external_state(self) -> ConnectionState:
        """The state as users see it: a drain is ACTIVE."""
        if self.state is ConnectionState.DRAINING_RECONNECTING:
            return ConnectionState.ACTIVE
        return self.state

    @property
    def history(self) -> tuple[StateChange, ...]:
        """The last 50 changes, oldest first."""
        return tuple(self._history)

    def can_handle(self, event: ConnectionEvent) -> bool:
        """Whether the table has an entry for ``event`` in the present state."""
        return (self.state, event) in TRANSITIONS

    def handle(self, event: ConnectionEvent, now: float) -> StateChange | None:
        """Apply ``event`` and return the change, or None when the state stays the same.

        Raises InvalidTransition, and changes nothing, when the table has no entry.
        """
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            raise InvalidTransition(
                f"{event.value} is not possible in state {self.state.value}; "
                f"possible are: {', '.join(e.value for e in self.possible_events()) or 'none'}"
            )
        if state is self.state:
            return None
        change = StateChange(self.state, state, event, now)
        self.state = state
        self._history.append(change)
        self._tell_listeners(change)
        return change

    def possible_events(self) -> tuple[ConnectionEvent, ...]:
        """The events that the present state accepts."""
        return tuple(event for event in ConnectionEvent if self.can_handle(event))

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` on every change; the returned function removes it again."""
        self._listeners.append(listener)

        def remove() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return remove

    def _tell_listeners(self, change: StateChange) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(change)
            except Exception as error:  # noqa: BLE001 - a listener must not break the machine
                if self._on_listener_error is not None:
                    self._on_listener_error(listener, error)

    def is_active(self) -> bool:
        """ACTIVE as users see it, so also during a drain."""
        return self.external_state is ConnectionState.ACTIVE

    def is_connecting(self) -> bool:
        """No gateway has been ready yet."""
        return self.state is ConnectionState.CONNECTING

    def is_reconnecting(self) -> bool:
        """The connection was lost, and another one is attempted."""
        return self.state is ConnectionState.RECONNECTING

    def is_draining(self) -> bool:
        """The gateway closes; it serves until another connection is ready."""
        return self.state is ConnectionState.DRAINING_RECONNECTING

    def is_closing(self) -> bool:
        """A shutdown is under way."""
        return self.state is ConnectionState.CLOSING

    def is_closed(self) -> bool:
        """The worker has ended; nothing follows."""
        return self.state is ConnectionState.CLOSED

    def is_shutting_down(self) -> bool:
        """CLOSING or CLOSED."""
        # By identity: comparing states by value calls Python code, and this is asked often.
        return self.state is ConnectionState.CLOSING or self.state is ConnectionState.CLOSED
