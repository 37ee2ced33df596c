"""What users can observe. Each class is one kind of event, subscribed to by its ``name``.

None carries a payload, a key or a token. Texts from the network are cleaned where they enter.
"""

from dataclasses import field
from typing import ClassVar

from ..state_machine import ConnectionState
from .frozen import frozen


class Event:
    """Base of everything that can be observed."""

    __slots__ = ()
    name: ClassVar[str]


Observation = Event
"""The former name of ``Event``, still public."""


@frozen
class StateChanged(Event):
    """The state that users see has changed. A drain does not change it."""

    name: ClassVar[str] = "state_change"
    previous: ConnectionState
    state: ConnectionState


@frozen
class Connected(Event):
    """A gateway is ready to send requests. ``handshake_seconds`` counts from the API call.

    ``outage_seconds`` is how long there was no connection; None for the first one and in a drain.
    ``gateway_url`` is the address that was dialed.
    """

    name: ClassVar[str] = "connected"
    connection_id: str
    gateway_group: str
    handshake_seconds: float
    outage_seconds: float | None = None
    gateway_url: str = ""


@frozen
class Disconnected(Event):
    """A ready connection has ended. ``expected`` after a drain or at shutdown."""

    name: ClassVar[str] = "disconnected"
    connection_id: str
    gateway_group: str
    code: int
    reason: str
    expected: bool


@frozen
class HeartbeatAnswered(Event):
    """The gateway answered a heartbeat after ``round_trip`` seconds."""

    name: ClassVar[str] = "heartbeat"
    connection_id: str
    round_trip: float


@frozen
class Draining(Event):
    """The gateway announced that it closes; a second connection is being made."""

    name: ClassVar[str] = "draining"
    connection_id: str
    gateway_group: str


@frozen
class Reconnecting(Event):
    """The next attempt starts in ``delay`` seconds, after ``failures`` failures in a row."""

    name: ClassVar[str] = "reconnecting"
    failures: int
    delay: float
    cause: str


@frozen
class RequestReceived(Event):
    """A request arrived for the first time, and its acknowledgement is on its way."""

    name: ClassVar[str] = "request_received"
    request_id: str
    run_id: str
    app_name: str
    function_slug: str
    connection_id: str


@frozen
class RequestStarted(Event):
    """The function is called now. ``queued_seconds`` is the time since the request arrived."""

    name: ClassVar[str] = "request_started"
    request_id: str
    run_id: str
    function_slug: str
    queued_seconds: float


@frozen
class RequestCompleted(Event):
    """The function returned or failed. ``status`` is DONE, NOT_COMPLETED or ERROR.

    ``seconds`` is the execution alone, ``queued_seconds`` the wait before it. ``error`` is the
    first line of what the function, or a step of it, raised.
    """

    name: ClassVar[str] = "request_completed"
    request_id: str
    run_id: str
    function_slug: str
    status: str
    seconds: float
    queued_seconds: float
    error: str | None = None


@frozen
class FunctionFailed(Event):
    """A function, or a ``step`` of it, raised. Comes before its ``request_completed``.

    ``error`` is "Type: message" on one line. ``attempt`` is that of the function's context: 0 is
    the first. ``will_retry`` is None when the request does not say how many attempts there are.
    The option ``failure_details`` says how much of this is filled.
    """

    name: ClassVar[str] = "function_failed"
    request_id: str
    run_id: str
    function_slug: str
    error_type: str
    error: str
    attempt: int | None = None
    will_retry: bool | None = None
    step: str | None = None
    stack: str | None = field(default=None, repr=False)


@frozen
class ReplyAcknowledged(Event):
    """The server has stored the reply. ``via`` is "socket" or "flush"."""

    name: ClassVar[str] = "reply_acknowledged"
    request_id: str
    via: str


@frozen
class LeaseLost(Event):
    """The server refused to extend the lease: another worker may run the request by now."""

    name: ClassVar[str] = "lease_lost"
    request_id: str
    run_id: str
    function_slug: str


@frozen
class Recovered(Event):
    """The journal has work of a process that ended before it was done.

    ``replies`` are delivered now; each of ``requests`` is answered with an error that Inngest
    retries, because its function had not returned; ``outdated`` are too old to matter.
    """

    name: ClassVar[str] = "recovered"
    predecessor: str
    replies: int
    requests: int
    outdated: int


@frozen
class WebSocketOpened(Event):
    """The WebSocket is open; the handshake of the protocol follows."""

    name: ClassVar[str] = "websocket_open"
    connection_id: str
    gateway_group: str


@frozen
class WebSocketClosed(Event):
    """``code`` 1006 means that the connection ended without a close frame (RFC 6455 7.4.1)."""

    name: ClassVar[str] = "websocket_close"
    connection_id: str
    code: int
    reason: str


@frozen
class WebSocketFailed(Event):
    """The socket could not be opened, or broke."""

    name: ClassVar[str] = "websocket_error"
    connection_id: str
    message: str


@frozen
class ErrorOccurred(Event):
    """Something went wrong that the worker survives, unless ``fatal``.

    ``kind`` is a stable word for programs, and a label of the counter of errors. ``message`` is
    human-readable, and says what to do. ``stack`` is what a blocked event loop is doing.
    """

    name: ClassVar[str] = "error"
    kind: str
    message: str
    request_id: str | None = None
    connection_id: str | None = None
    fatal: bool = False
    run_id: str | None = None
    function_slug: str | None = None
    stack: str | None = field(default=None, repr=False)


EVENTS: tuple[type[Event], ...] = (
    StateChanged,
    Connected,
    Disconnected,
    HeartbeatAnswered,
    Draining,
    Reconnecting,
    RequestReceived,
    RequestStarted,
    FunctionFailed,
    RequestCompleted,
    ReplyAcknowledged,
    LeaseLost,
    Recovered,
    WebSocketOpened,
    WebSocketClosed,
    WebSocketFailed,
    ErrorOccurred,
)
