"""The phases of one connection: what may arrive, what may be sent, and when to give up.

Rules of this file:
1. Everything that depends on a connection's phase is in ``PHASES``, from which drawings are made.
2. A phase belongs to one generation (one socket), never to the worker: during a drain there are two
   generations and one worker state.

Theory of operation. An attempt begins with a call of the API (STARTING), which names a gateway, to
which a WebSocket is opened (DIALING). Then the gateway speaks first: GATEWAY_HELLO is answered with
WORKER_CONNECT, and GATEWAY_CONNECTION_READY makes the connection ACTIVE. GATEWAY_CLOSING makes it
DRAINING: it carries what is in flight while another attempt is made. When that one is ACTIVE, this
one is REPLACED: nothing more is written, and it stays until the replies that it carried are
acknowledged. CLOSING is our closing handshake, and RETIRED the end of every way.

A message that ``receives`` does not list is the gateway's mistake, and costs it the connection. One
that ``sends`` does not list is ours: ``Generation.send`` raises. Requests are received in phases in
which they are not accepted, so that they can be counted.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ...protocol import connect_pb2 as pb

_K = pb.GatewayMessageType


class Phase(enum.Enum):
    """Phase of one generation. Its row of ``PHASES`` is copied to it, because it is read often."""

    receives: frozenset[int]
    sends: frozenset[int]

    # Members are keys of tables that are read for every message; that of Enum hashes their names.
    __hash__ = object.__hash__

    STARTING = "STARTING"
    """The API is asked for a gateway."""
    DIALING = "DIALING"
    """TCP, proxy, TLS and the WebSocket opening handshake."""
    AWAITING_HELLO = "AWAITING_HELLO"
    """The socket is open, and the gateway speaks first."""
    AWAITING_READY = "AWAITING_READY"
    """WORKER_CONNECT was sent; the server synchronizes the apps."""
    ACTIVE = "ACTIVE"
    """Serves requests."""
    DRAINING = "DRAINING"
    """The gateway announced that it closes; carries what is in flight until it is replaced."""
    REPLACED = "REPLACED"
    """Another connection carries everything; waits for the acknowledgements of its replies."""
    CLOSING = "CLOSING"
    """Our close frame was sent."""
    RETIRED = "RETIRED"
    """Whatever still arrives is ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What holds in one phase."""

    follows: Mapping[Phase, str] = field(default_factory=dict)
    """The phases that can come next, and what leads to each."""
    receives: frozenset[int] = frozenset()
    sends: frozenset[int] = frozenset()
    limit: str | None = None
    """The field of CoreSettings with the seconds that the phase may last. None in the phases whose
    end is decided by ``HeartbeatMonitor``, and in RETIRED."""
    awaited: str = ""
    """What was waited for in vain when the limit has passed."""
    expires_to: Phase = Phase.RETIRED
    """What follows when the limit has passed."""


# A gateway can close, or refuse the apps, at any time of the handshake.
_SETUP: Final = frozenset({_K.GATEWAY_CLOSING, _K.SYNC_FAILED})
# Until its socket ends, a gateway that has seen WORKER_READY may send all of these: what it sent
# before it received our close, or its own announcement, is still on the way.
_SERVED: Final = frozenset(
    {
        _K.GATEWAY_EXECUTOR_REQUEST,
        _K.GATEWAY_HEARTBEAT,
        _K.WORKER_REPLY_ACK,
        _K.WORKER_REQUEST_EXTEND_LEASE_ACK,
        _K.GATEWAY_CLOSING,
    }
)
# What a draining gateway still takes. It routes no new requests, so there is nothing to
# acknowledge.
_DELIVERS: Final = frozenset({_K.WORKER_REPLY, _K.WORKER_REQUEST_EXTEND_LEASE, _K.WORKER_PAUSE})
_P = Phase

PHASES: Final[dict[Phase, Row]] = {
    _P.STARTING: Row(
        follows={_P.DIALING: "the API named a gateway", _P.RETIRED: "failed, or took too long"},
        limit="start_timeout",
        awaited="timed out waiting for the API's answer",
    ),
    _P.DIALING: Row(
        follows={_P.AWAITING_HELLO: "the socket is open", _P.RETIRED: "failed, or took too long"},
        limit="open_timeout",
        awaited="timed out waiting for the WebSocket to open",
    ),
    _P.AWAITING_HELLO: Row(
        follows={
            _P.AWAITING_READY: "GATEWAY_HELLO",
            _P.RETIRED: "refused, closed, or took too long",
        },
        receives=_SETUP | {_K.GATEWAY_HELLO},
        sends=frozenset({_K.WORKER_CONNECT}),
        limit="hello_timeout",
        awaited="timed out waiting for GATEWAY_HELLO",
    ),
    _P.AWAITING_READY: Row(
        follows={
            _P.ACTIVE: "GATEWAY_CONNECTION_READY",
            _P.RETIRED: "refused, closed, or took too long",
        },
        receives=_SETUP | {_K.GATEWAY_CONNECTION_READY},
        limit="ready_timeout",
        awaited="timed out waiting for GATEWAY_CONNECTION_READY",
    ),
    _P.ACTIVE: Row(
        follows={
            _P.DRAINING: "GATEWAY_CLOSING",
            _P.CLOSING: "the worker shuts down",
            _P.RETIRED: "closed, or silent",
        },
        receives=_SERVED,
        sends=_DELIVERS
        | {_K.WORKER_READY, _K.WORKER_REQUEST_ACK, _K.WORKER_HEARTBEAT, _K.WORKER_STATUS},
    ),
    _P.DRAINING: Row(
        follows={
            _P.REPLACED: "another connection is ACTIVE",
            _P.CLOSING: "the worker shuts down",
            _P.RETIRED: "closed, or silent",
        },
        receives=_SERVED,
        sends=_DELIVERS,
    ),
    _P.REPLACED: Row(
        follows={
            _P.CLOSING: "its replies are acknowledged, or took too long",
            _P.RETIRED: "closed",
        },
        receives=_SERVED,
        limit="drain_ack_timeout",
        expires_to=_P.CLOSING,
    ),
    _P.CLOSING: Row(
        follows={_P.RETIRED: "closed, or took too long"},
        receives=_SERVED,
        limit="close_timeout",
        awaited="no close frame from the gateway",
    ),
    _P.RETIRED: Row(),
}
for _phase, _row in PHASES.items():
    _phase.receives, _phase.sends = _row.receives, _row.sends
