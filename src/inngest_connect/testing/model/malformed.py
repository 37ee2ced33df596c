"""Messages that no gateway should send, one for each way of being malformed."""

from typing import Final, Literal

from ...core.wire.messages import envelope
from ...protocol import connect_pb2 as pb

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
"""The argument of ``MockWebSocketServer.send_malformed``."""

MALFORMED: Final[dict[MalformedKind, bytes]] = {
    "truncated": b"\x08",
    "garbage": b"\xff\xfe\xfd",
    "unknown kind": b"\x08\x63",
    "kind out of range": b"\x08\xff\xff\xff\xff\x0f",
    "payload is no protobuf": envelope(pb.GATEWAY_EXECUTOR_REQUEST, b"\xff"),
    "request without id": envelope(pb.GATEWAY_EXECUTOR_REQUEST),
    "invalid text": envelope(pb.WORKER_REPLY_ACK, b"\x0a\x02\xc3\x28"),
    "endless groups": envelope(pb.WORKER_REPLY_ACK, b"\x0b" * 500),
}
