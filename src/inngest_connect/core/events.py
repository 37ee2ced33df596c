"""What can happen to a worker. Every event of a socket carries its generation."""

from dataclasses import dataclass, field

from .messages import ExecutionResult


@dataclass(frozen=True, slots=True)
class Started:
    """The user started the worker."""


@dataclass(frozen=True, slots=True)
class StartSucceeded:
    """The API named a gateway. ``gateway_endpoint`` is checked and rewritten already."""

    generation: int
    connection_id: str
    gateway_endpoint: str
    gateway_group: str
    session_token: str = field(repr=False)
    sync_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StartFailed:
    """``status`` is the HTTP status, None without an answer. ``retry_after`` is seconds."""

    generation: int
    status: int | None
    message: str
    retry_after: float | None = None
    gateway_group: str = ""


@dataclass(frozen=True, slots=True)
class SocketOpened:
    generation: int


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """One binary WebSocket message."""

    generation: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TextReceived:
    """A text message, which the protocol does not know."""

    generation: int


@dataclass(frozen=True, slots=True)
class SocketClosed:
    """The socket ended or could not be opened; code 1006 without a close frame."""

    generation: int
    code: int
    reason: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class AcknowledgementWritten:
    generation: int
    request_id: str


@dataclass(frozen=True, slots=True)
class AcknowledgementFailed:
    generation: int
    request_id: str


@dataclass(frozen=True, slots=True)
class ExecutionFinished:
    """``result`` is None when the function was cancelled."""

    request_id: str
    result: ExecutionResult | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class FlushSucceeded:
    request_id: str


@dataclass(frozen=True, slots=True)
class FlushFailed:
    request_id: str
    status: int | None
    message: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class CloseRequested:
    """``close()`` or a first signal."""


@dataclass(frozen=True, slots=True)
class AbortRequested:
    """A second signal, or the caller's event loop is gone."""

    reason: str


@dataclass(frozen=True, slots=True)
class Tick:
    """``next_deadline()`` has come."""


Event = (
    Started
    | StartSucceeded
    | StartFailed
    | SocketOpened
    | MessageReceived
    | TextReceived
    | SocketClosed
    | AcknowledgementWritten
    | AcknowledgementFailed
    | ExecutionFinished
    | FlushSucceeded
    | FlushFailed
    | CloseRequested
    | AbortRequested
    | Tick
)
