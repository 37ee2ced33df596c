"""What the core wants done. The orchestrator carries each out in one ``match`` and decides nothing.

Besides these, the core returns objects of ``events``, which are passed to subscribers.
"""

from dataclasses import field

from ..errors import ConnectError
from ..protocol import connect_pb2 as pb
from .events import Event
from .frozen import frozen


@frozen
class RequestStart:
    """POST the start endpoint. ``key`` is the index of the signing key to use."""

    generation: int
    exclude_gateways: tuple[str, ...]
    key: int


@frozen
class AskRetryDelay:
    """Ask the user's retry strategy, off the I/O thread, and report RetryDelayAnswered."""

    question: int
    failures: int


@frozen
class OpenSocket:
    """Open a WebSocket to ``url``, and report SocketOpened or SocketClosed."""

    generation: int
    url: str


# Messages of one socket are written in the order of their commands, with one exception: replies are
# written last. Messages of different sockets have no order, and none is needed: what belongs
# together (an acknowledgement and its request, READY before heartbeats) is on one socket.
@frozen
class Send:
    """Write one message. A failure is not reported: the end of the socket is a separate input.

    ``reply_to`` is the request that the message answers. Replies may be overtaken by all others:
    they can be large and many, and must not keep heartbeats and extensions waiting on a slow line.
    """

    generation: int
    data: bytes = field(repr=False)
    reply_to: str | None = field(default=None, repr=False, kw_only=True)


@frozen
class Withdraw:
    """Take the reply to this request out of the send queue, if it was not written yet."""

    generation: int
    request_id: str


@frozen
class Acknowledge:
    """Write a WORKER_REQUEST_ACK and report with AcknowledgementsWritten or AcknowledgementFailed.

    Written means that the kernel has taken it on this socket. The report can come later.
    """

    generation: int
    request_id: str
    data: bytes = field(repr=False)


# The acknowledgement is a promise to the server, so the function must not start before it is
# written: a request that runs here and was never acknowledged runs on another worker, too.
@frozen
class Execute:
    """Run the function. Issued only after the acknowledgement was written."""

    request: pb.GatewayExecutorRequestData = field(repr=False)


@frozen
class CancelExecution:
    """Stop a running function if it can be stopped; ExecutionFinished comes in any case."""

    request_id: str


# Both are for a request and what is known of it now: the newest for each request counts, and those
# before it need not be carried out.
@frozen
class JournalRecord:
    """Keep this on disk, so that another process can answer the request if this one is killed.

    ``reply`` is the encoded SDKResponse, None while there is none. With
    ``journal_commit="required"``, JournalCommitted follows each reply.
    """

    request: pb.GatewayExecutorRequestData = field(repr=False)
    reply: bytes | None = field(default=None, repr=False)


@frozen
class JournalErase:
    """Nothing is owed to the server for this request any more."""

    request_id: str


# HTTP calls end in any order, and an answer can come when its reply was acknowledged meanwhile. So
# every answer names its request, and the core looks it up again.
@frozen
class Flush:
    """POST a reply to the flush endpoint and report FlushSucceeded or FlushFailed."""

    request_id: str
    payload: bytes = field(repr=False)
    key: int


@frozen
class CloseSocket:
    """Start the closing handshake (RFC 6455 section 7.1.2)."""

    generation: int
    code: int
    reason: str


@frozen
class AbortSocket:
    """Drop what this generation has: an API call, a dial or a socket. No input follows."""

    generation: int


@frozen
class Finished:
    """The worker is CLOSED. ``error`` is what ``start()`` has to raise."""

    error: ConnectError | None


Command = (
    RequestStart
    | AskRetryDelay
    | OpenSocket
    | Send
    | Withdraw
    | Acknowledge
    | Execute
    | CancelExecution
    | JournalRecord
    | JournalErase
    | Flush
    | CloseSocket
    | AbortSocket
    | Finished
    | Event
)
