"""Messages that no gateway should send, one for each way of being wrong."""

from typing import Final, Literal

from ...protocol import connect_pb2 as pb
from .actions import encode

K = pb.GatewayMessageType

MalformedKind = Literal[
    "truncated",
    "garbage",
    "unknown kind",
    "kind out of range",
    "payload is no protobuf",
    "request without id",
    "invalid text",
    "endless groups",
]

MALFORMED: Final[dict[MalformedKind, bytes]] = {
    "truncated": b"\x08",
    "garbage": b"\xff\xfe\xfd",
    "unknown kind": b"\x08\x63",
    "kind out of range": b"\x08\xff\xff\xff\xff\x0f",
    "payload is no protobuf": encode(K.GATEWAY_EXECUTOR_REQUEST, b"\xff"),
    "request without id": encode(K.GATEWAY_EXECUTOR_REQUEST),
    "invalid text": encode(K.WORKER_REPLY_ACK, b"\x0a\x02\xc3\x28"),
    "endless groups": encode(K.WORKER_REPLY_ACK, b"\x0b" * 500),
}
