"""Outgoing: what the gateways write, and how they end connections."""

from collections import Counter

from ...core.wire.messages import envelope
from ...protocol import connect_pb2 as pb
from .actions import Action, CloseConnection, DropConnection, SendTo
from .connection import GatewayConnection, GatewayPhase
from .executor import ExecutorModel


class Outgoing:
    """Appends actions to ``out``, mistakes of workers to ``protocol_errors``."""

    def __init__(
        self,
        connections: dict[int, GatewayConnection],
        executor: ExecutorModel,
        out: list[Action],
        seen: Counter[str],
    ) -> None:
        self.protocol_errors: list[str] = []
        self._connections = connections
        self._executor = executor
        self._out = out
        self._seen = seen

    def send(self, to: GatewayConnection, kind: pb.GatewayMessageType, raw: bytes = b"") -> None:
        """Write a message."""
        self._out.append(SendTo(to.number, envelope(kind, raw)))

    def answer(self, to: GatewayConnection, kind: pb.GatewayMessageType, raw: bytes = b"") -> None:
        """Write a message if the phase of the connection allows it (docs/protocol.md#ready)."""
        if to.phase is not GatewayPhase.HANDSHAKING:
            self.send(to, kind, raw)
        else:
            self._seen["unanswered before WORKER_READY"] += 1

    def close(
        self, connection: GatewayConnection, code: int, reason: str, *, mistake: bool = True
    ) -> None:
        """Close a connection, with ``mistake`` because of what its worker did."""
        if mistake and code != 1001:
            self.protocol_errors.append(f"closed {code} {reason}")
        self.forget(connection)
        self._out.append(CloseConnection(connection.number, code, reason))

    def drop(self, connection: GatewayConnection) -> None:
        """End a connection without a close frame."""
        if connection.connect is None:
            self._seen["no WORKER_CONNECT in time"] += 1
        elif connection.blocked_until is not None:
            self._seen["write timed out"] += 1
        self.forget(connection)
        self._out.append(DropConnection(connection.number))

    def forget(self, connection: GatewayConnection) -> None:
        """Release what a connection that has ended did not acknowledge."""
        self._connections.pop(connection.number, None)
        self._executor.fail_unacknowledged(connection)
        self._executor.release_held(connection)
