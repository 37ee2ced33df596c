"""MessageHandler: from the bytes of one message to what they mean, by the phase of the connection.

Rules of this file:
1. Nothing that a peer sends raises. Bytes that cannot be read become ``Malformed``; a message that
   the phase does not receive becomes ``Violation``. Both are values that the worker core judges.
2. It has no state. What changes belongs to the generation, whose phase determines who reads the
   message:
   ``SetupHandler`` until GATEWAY_CONNECTION_READY, ``ActiveHandler`` from then on.
"""

from ...protocol import DECODE_ERRORS
from ...protocol import connect_pb2 as pb
from ..settings import CoreSettings, WorkerIdentity
from .active_handler import ActiveHandler
from .generation import Generation
from .inbound import Inbound, Malformed, Violation
from .phases import Phase
from .setup_handler import SetupHandler

_KINDS = frozenset(pb.GatewayMessageType.values())


def create_handler(
    phase: Phase, identity: WorkerIdentity, settings: CoreSettings
) -> SetupHandler | ActiveHandler | None:
    """The reader of what arrives in ``phase``, None for a phase in which nothing is read."""
    match phase:
        case Phase.AWAITING_HELLO | Phase.AWAITING_READY:
            return SetupHandler(identity, settings)
        case Phase.ACTIVE | Phase.DRAINING | Phase.REPLACED | Phase.CLOSING:
            return ActiveHandler()
        case Phase.STARTING | Phase.DIALING | Phase.RETIRED:
            return None


class MessageHandler:
    """One for all connections of a worker."""

    def __init__(self, identity: WorkerIdentity, settings: CoreSettings) -> None:
        self._handlers = {phase: create_handler(phase, identity, settings) for phase in Phase}

    def receive(self, generation: Generation, data: bytes, now: float) -> Inbound | None:
        """Read one binary message; None when it concerns only the connection itself."""
        phase = generation.phase
        if phase is Phase.RETIRED:
            return None
        heartbeat = generation.heartbeat
        if heartbeat is not None:
            # Before it is read: even bytes that cannot be read show that the peer is alive.
            heartbeat.received(now)
        try:
            message = pb.ConnectMessage.FromString(data)
        except DECODE_ERRORS:
            return Malformed("undecodable_message")
        kind = message.kind
        handler = self._handlers[phase]
        if kind not in phase.receives or handler is None:
            # A kind that no version here knows is not a violation: a server that is newer than this
            # worker may send it, and goes on serving.
            if kind not in _KINDS:
                return Malformed("unknown_kind")
            name = pb.GatewayMessageType.Name(kind)
            return Violation(f"{name} is not allowed in phase {phase.value}")
        try:
            return handler.receive(generation, kind, message.payload, now)
        except DECODE_ERRORS:
            return Malformed(f"undecodable_{pb.GatewayMessageType.Name(kind).lower()}")
