"""The phase of one socket, and which message kinds each phase may write and accept.

Rules of this file: a phase belongs to one generation (one socket), never to the worker; and nobody
else asks about phases when deciding whether a kind may be sent or taken. A kind that is missing in
``WRITES`` is our mistake: every transcript test holds the core to that table. One that is missing
in ``ACCEPTS`` is the gateway's, and costs it that connection (PROTOCOL.md sections 3 and 8).
"""

import enum
from typing import Final

from ...protocol import connect_pb2 as pb

_K = pb.GatewayMessageType


class Phase(enum.Enum):
    """Life of one generation. ``accepted`` is its entry in ``ACCEPTS``, asked for each message."""

    accepted: frozenset[int]

    HANDSHAKING = "HANDSHAKING"
    """From the API call until GATEWAY_CONNECTION_READY."""
    ACTIVE = "ACTIVE"
    """Serves requests."""
    DRAINING = "DRAINING"
    """The gateway announced that it closes; carries what is in flight until it is replaced."""
    CLOSING = "CLOSING"
    """Nothing more is written but the close; late acknowledgements are still heard."""
    RETIRED = "RETIRED"
    """Whatever it still says is ignored."""


_SERVED: Final = frozenset(
    {
        _K.GATEWAY_HEARTBEAT,
        _K.WORKER_REPLY_ACK,
        _K.WORKER_REQUEST_EXTEND_LEASE_ACK,
        _K.GATEWAY_CLOSING,
    }
)

ACCEPTS: Final[dict[Phase, frozenset[int]]] = {
    Phase.HANDSHAKING: frozenset(
        {_K.GATEWAY_HELLO, _K.GATEWAY_CONNECTION_READY, _K.GATEWAY_CLOSING, _K.SYNC_FAILED}
    ),
    Phase.ACTIVE: _SERVED | {_K.GATEWAY_EXECUTOR_REQUEST},
    # Requests are heard in these phases so that they can be counted, not so that they run.
    Phase.DRAINING: _SERVED | {_K.GATEWAY_EXECUTOR_REQUEST},
    Phase.CLOSING: _SERVED | {_K.GATEWAY_EXECUTOR_REQUEST},
    Phase.RETIRED: frozenset(),
}
for _phase, _kinds in ACCEPTS.items():
    _phase.accepted = _kinds

_DELIVERS: Final = frozenset({_K.WORKER_REPLY, _K.WORKER_REQUEST_EXTEND_LEASE, _K.WORKER_PAUSE})

WRITES: Final[dict[Phase, frozenset[int]]] = {
    Phase.HANDSHAKING: frozenset({_K.WORKER_CONNECT}),
    Phase.ACTIVE: _DELIVERS
    | {_K.WORKER_READY, _K.WORKER_REQUEST_ACK, _K.WORKER_HEARTBEAT, _K.WORKER_STATUS},
    Phase.DRAINING: _DELIVERS,
    Phase.CLOSING: frozenset(),
    Phase.RETIRED: frozenset(),
}


def writes(phase: Phase, kind: int) -> bool:
    """Whether a message of ``kind`` may be written in ``phase``."""
    return kind in WRITES[phase]
