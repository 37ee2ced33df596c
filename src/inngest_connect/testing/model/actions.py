"""Actions: what a GatewayModel wants done. Connections are named by their number."""

from dataclasses import dataclass, field

from ...protocol import connect_pb2 as pb


@dataclass(frozen=True, slots=True)
class SendTo:
    """Write one message to a connection."""

    connection: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Write a close frame to a connection."""

    connection: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class DropConnection:
    """End a connection without a close frame, as missed heartbeats do."""

    connection: int


@dataclass(frozen=True, slots=True)
class RequestEnded:
    """A request has a reply, or failed: then ``response`` is None and ``failure`` is the code."""

    request_id: str
    response: pb.SDKResponse | None
    failure: str = ""


Action = SendTo | CloseConnection | DropConnection | RequestEnded
