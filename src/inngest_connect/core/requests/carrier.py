"""Carrier: a connection as the requests see it, something to write on."""

from typing import Protocol

from ...protocol import connect_pb2 as pb


class Carrier(Protocol):
    """Implemented by ``connections.generation.Generation``."""

    @property
    def number(self) -> int:
        """Which generation it is."""
        ...

    def send(self, kind: int, data: bytes, *, reply_to: str | None = None) -> None:
        """Write one message; ``reply_to`` is the request that it answers."""
        ...

    def acknowledge(self, request: pb.GatewayExecutorRequestData) -> None:
        """Write the acknowledgement of a request."""
        ...
