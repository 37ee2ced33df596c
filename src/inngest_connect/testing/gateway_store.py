"""GatewayStore: one GatewayModel shared by the servers of an environment, on a real clock.

It carries the model's actions out on whichever server has the connection, and wakes those that wait
for the end of a request or for a worker.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from ..protocol import connect_pb2 as pb
from .changes import Changes
from .model.actions import Action, CloseConnection, DropConnection, RequestEnded, SendTo
from .model.connection import GatewayConnection, GatewayPhase
from .model.gateway import GatewayModel
from .model.settings import GatewaySettings

_TICK: Final = 0.25
"""Seconds between two looks at the deadlines of the model."""


class ServerConnection(Protocol):
    """The part of a real connection that the store needs."""

    def send_bytes(self, data: bytes) -> None:
        """Write one binary message."""

    def close(self, code: int, reason: str) -> None:
        """Write a close frame."""

    def drop(self) -> None:
        """End the connection without a close frame."""


class DispatchFailed(Exception):
    """A request ended without a response; the text is the failure code of the gateway."""


class GatewayStore:
    """Belongs to the event loop that it is used on."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.model = GatewayModel(settings, secrets.randbits)
        self._connections: dict[int, ServerConnection] = {}
        self._last_number = 0
        self._waiting: dict[str, asyncio.Future[pb.SDKResponse]] = {}
        self._changes = Changes()
        self._timer: asyncio.TimerHandle | None = None

    # --- for servers -------------------------------------------------------------------------

    def add(self, connection: ServerConnection, gateway: str) -> int:
        """A server accepted a WebSocket; returns the number for it."""
        self._last_number += 1
        self._connections[self._last_number] = connection
        self._do(self.model.opened(self._last_number, gateway, self._now()))
        return self._last_number

    def remove(self, number: int) -> None:
        """A WebSocket has ended."""
        self._connections.pop(number, None)
        self._do(self.model.closed(number, self._now()))

    def received(self, number: int, data: bytes) -> None:
        """A server received a message."""
        self._do(self.model.received(number, data, self._now()))

    def issued(self, connection_id: str, session_token: str, sync_token: str) -> None:
        """The API answered a start request with these tokens; the gateways check them."""
        self.model.issued(connection_id, session_token, sync_token, self._now())

    def flush(self, response: pb.SDKResponse) -> None:
        """The API received a reply."""
        self._do(self.model.flush(response, self._now()))

    # --- for tests ---------------------------------------------------------------------------

    async def dispatch(self, message: pb.GatewayExecutorRequestData) -> pb.SDKResponse:
        """Send a request to a worker and wait for its reply. Raises DispatchFailed."""
        ended: asyncio.Future[pb.SDKResponse] = asyncio.get_running_loop().create_future()
        request_id, actions = self.model.dispatch(message, self._now())
        self._waiting[request_id] = ended
        self._do(actions)
        try:
            return await ended
        finally:
            self._waiting.pop(request_id, None)

    def forward_again(self, request_id: str, connection: int) -> None:
        """Deliver a request a second time, on the connection of that number."""
        self._do(self.model.forward_again(request_id, connection, self._now()))

    def drain(self, gateway: str) -> None:
        """Drain the gateway of that name."""
        self._do(self.model.drain(gateway, self._now()))

    def ready_connections(self) -> list[GatewayConnection]:
        """Return the connections that can be given requests."""
        return [c for c in self.model.connections.values() if c.phase is GatewayPhase.READY]

    async def until(self, condition: Callable[[GatewayModel], bool]) -> None:
        """Wait until ``condition`` holds, which is checked after every change of the model."""
        await self._changes.until(lambda: condition(self.model))

    def close(self) -> None:
        """Stop the clock and cancel the waiters."""
        if self._timer is not None:
            self._timer.cancel()
        for ended in list(self._waiting.values()):
            ended.cancel()
        self._changes.cancel()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _do(self, actions: Iterable[Action]) -> None:
        connections = self._connections
        for action in actions:
            match action:
                case SendTo(number, data) if number in connections:
                    connections[number].send_bytes(data)
                case CloseConnection(number, code, reason) if number in connections:
                    connections[number].close(code, reason)
                case DropConnection(number) if number in connections:
                    connections[number].drop()
                case RequestEnded(request_id, response, failure):
                    ended = self._waiting.get(request_id)
                    if ended is None or ended.done():
                        continue
                    if response is not None:
                        ended.set_result(response)
                    else:
                        ended.set_exception(DispatchFailed(failure))
        self._set_timer()
        self._changes.happened()

    def _set_timer(self) -> None:
        # One look at every deadline four times a second at most: exact enough for leases of
        # seconds, and cheap with thousands of requests. Only delayed messages need exact times.
        if self._timer is not None:
            if not self.model.settings.handling_delay:
                return
            self._timer.cancel()
            self._timer = None
        deadline = self.model.next_deadline()
        if deadline is not None:
            at = min(deadline, self._now() + _TICK)
            self._timer = asyncio.get_running_loop().call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._do(self.model.tick(self._now()))
