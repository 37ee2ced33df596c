"""What a GatewayModel wants done. A server does it on sockets, a simulation in virtual time."""

from dataclasses import dataclass, field

from ...protocol import connect_pb2 as pb


@dataclass(frozen=True, slots=True)
class SendTo:
    connection: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CloseConnection:
    connection: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class DropConnection:
    """End it without a close frame, as missed heartbeats do."""

    connection: int


@dataclass(frozen=True, slots=True)
class RequestEnded:
    """``response`` is None when the request failed for ``failure``."""

    request_id: str
    response: pb.SDKResponse | None
    failure: str = ""


Action = SendTo | CloseConnection | DropConnection | RequestEnded


def encode(kind: pb.GatewayMessageType, payload: bytes = b"") -> bytes:
    """One message; GATEWAY_HELLO is a message of no bytes."""
    return pb.ConnectMessage(kind=kind, payload=payload).SerializeToString()
