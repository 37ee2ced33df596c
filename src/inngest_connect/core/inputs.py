"""What can happen to a worker. Every input about a socket carries the number of its generation.

The texts of peers and of user code enter the core here, and are cleaned here and nowhere else: what
is shown of them later is short and has no control characters. Ids and names are kept as they are,
because they are echoed; ``Redactor.id`` cleans them where they are shown.
"""

from dataclasses import field

from ..protocol import connect_pb2 as pb
from .frozen import frozen
from .wire.messages import ExecutionResult
from .wire.remote_text import clean


def _clean(input: object, *names: str) -> None:
    for name in names:
        text = getattr(input, name)
        if text is not None:
            setattr(input, name, clean(text))


@frozen
class Started:
    """The user started the worker."""


@frozen
class StartSucceeded:
    """The API named a gateway. ``gateway_endpoint`` is checked and rewritten already."""

    generation: int
    connection_id: str
    gateway_endpoint: str
    gateway_group: str
    session_token: str = field(repr=False)
    sync_token: str = field(repr=False)


@frozen
class StartFailed:
    """``status`` is that of a refusal by the API itself, None for every other failure.

    A page of a proxy or a firewall is such a failure, whatever its status. ``retry_after`` is
    seconds. ``offline``: a name had no address, or there was no route to it.
    """

    generation: int
    status: int | None
    message: str
    retry_after: float | None = None
    gateway_group: str = ""
    offline: bool = False

    def __post_init__(self) -> None:
        _clean(self, "message")


@frozen
class RetryDelayAnswered:
    """What the user's strategy returned, of any type; or ``problem``: why it returned nothing."""

    question: int
    delay: object
    problem: str | None = None

    def __post_init__(self) -> None:
        _clean(self, "problem")


@frozen
class SocketOpened:
    """The WebSocket opening handshake has succeeded."""

    generation: int


# Messages that arrive together are handled one after the other, before anything of what they cause
# is written. A message can therefore be about something that an earlier one of its batch has ended.
@frozen
class MessageReceived:
    """One binary WebSocket message."""

    generation: int
    data: bytes = field(repr=False)


@frozen
class TextReceived:
    """A text message. The protocol has only binary ones."""

    generation: int


@frozen
class SocketClosed:
    """The socket ended or could not be opened; code 1006 without a close frame.

    ``offline`` as in StartFailed.
    """

    generation: int
    code: int
    reason: str
    error: str | None = None
    offline: bool = False

    def __post_init__(self) -> None:
        _clean(self, "reason", "error")


@frozen
class LineObserved:
    """Whether bytes that waited, to be sent or for the rest of a message, moved since the last.

    ``moved`` is None when none waited. Reported before each Tick.
    """

    generation: int
    moved: bool | None


# Each Acknowledge is in one of the next two, exactly once, also when the socket ends first. The
# request table counts on it: it waits for the last of several before it abandons a request.
@frozen
class AcknowledgementsWritten:
    """The kernel has taken the acknowledgements of requests, on the socket that brought them."""

    generation: int
    request_ids: tuple[str, ...]


@frozen
class AcknowledgementFailed:
    """The acknowledgement was not written, and never will be on this socket."""

    generation: int
    request_id: str


# Exactly one follows each Execute, whatever the function, its thread or its process does.
@frozen
class ExecutionFinished:
    """``result`` is None when the function was cancelled."""

    request_id: str
    result: ExecutionResult | None = field(repr=False)


@frozen
class FunctionMisbehaved:
    """User code tried to end more than its own run; ``text`` names the function and what it did."""

    request_id: str
    text: str

    def __post_init__(self) -> None:
        _clean(self, "text")


@frozen
class FlushSucceeded:
    """The API has stored the reply to this request, and named its id in the answer."""

    request_id: str


@frozen
class FlushFailed:
    """``status`` as in StartFailed."""

    request_id: str
    status: int | None
    message: str
    retry_after: float | None = None

    def __post_init__(self) -> None:
        _clean(self, "message")


@frozen
class JournalCommitted:
    """These replies are on disk, or the journal is unavailable and they must not wait for it."""

    request_ids: tuple[str, ...]


@frozen
class JournalEntry:
    """What the journal has of one request that its process did not finish."""

    request: pb.GatewayExecutorRequestData = field(repr=False)
    reply: bytes | None = field(repr=False)
    age: float
    """Seconds since it was acknowledged, by the clock of the machine."""


# Soon after Started, or later, when the file could not be opened before.
@frozen
class JournalRecovered:
    """The journal was opened, and another process has left these behind.

    ``predecessor`` names that process, for people.
    """

    entries: tuple[JournalEntry, ...]
    predecessor: str


@frozen
class CloseRequested:
    """``close()`` or a first signal. ``signals``: whether a second signal would abort."""

    signals: bool = field(default=True, repr=False)


@frozen
class AbortRequested:
    """A second signal, a cancelled ``start()``, or a closed application event loop."""

    reason: str


@frozen
class Tick:
    """Time has passed. Expected at ``next_deadline()``; earlier or later does no harm."""


Input = (
    Started
    | StartSucceeded
    | StartFailed
    | RetryDelayAnswered
    | SocketOpened
    | MessageReceived
    | TextReceived
    | SocketClosed
    | LineObserved
    | AcknowledgementsWritten
    | AcknowledgementFailed
    | ExecutionFinished
    | FunctionMisbehaved
    | FlushSucceeded
    | FlushFailed
    | JournalCommitted
    | JournalRecovered
    | CloseRequested
    | AbortRequested
    | Tick
)
