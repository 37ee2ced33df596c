"""GatewayStore: one GatewayModel shared by the servers of an environment, on a real clock.

Carries the model's actions out on whichever server holds the connection, and wakes those who wait
for a request to end or a worker to be ready.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from typing import Protocol

from ..protocol import connect_pb2 as pb
from .model.actions import Action, CloseConnection, DropConnection, RequestEnded, SendTo
from .model.connection import GatewayConnection, GatewayPhase
from .model.gateway import GatewayModel
from .model.settings import GatewaySettings


class ServerConnection(Protocol):
    """What the store needs of a real connection."""

    def send_bytes(self, data: bytes) -> None: ...
    def close(self, code: int, reason: str) -> None: ...
    def drop(self) -> None: ...


class DispatchFailed(Exception):
    """The request ended without a response; the text is the gateway's failure code."""


class GatewayStore:
    """Belongs to the event loop it is used on."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.model = GatewayModel(settings, secrets.randbits)
        self._connections: dict[int, ServerConnection] = {}
        self._last_number = 0
        self._waiting: dict[str, asyncio.Future[pb.SDKResponse]] = {}
        self._changed: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: ServerConnection, gateway: str) -> int:
        """A WebSocket was accepted; returns its number."""
        self._last_number += 1
        number = self._last_number
        self._connections[number] = connection
        self._do(self.model.opened(number, gateway, self._now()))
        return number

    def remove(self, number: int) -> None:
        self._connections.pop(number, None)
        self._do(self.model.closed(number, self._now()))

    def received(self, number: int, data: bytes) -> None:
        self._do(self.model.received(number, data, self._now()))

    def issued(self, connection_id: str, session_token: str, sync_token: str) -> None:
        """The API answered a start request with these."""
        self.model.issued(connection_id, session_token, sync_token)

    def flush(self, response: pb.SDKResponse) -> None:
        self._do(self.model.flush(response, self._now()))

    def forward_again(self, request_id: str, connection: int) -> None:
        """Deliver a request a second time on the connection of that number."""
        self._do(self.model.forward_again(request_id, connection, self._now()))

    def drain(self, gateway: str) -> None:
        self._do(self.model.drain(gateway, self._now()))

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

    async def until(self, condition: Callable[[GatewayModel], bool]) -> None:
        """Wait until ``condition`` holds; it is asked after every change."""
        while not condition(self.model):
            changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._changed.append(changed)
            await changed

    def ready_connections(self) -> list[GatewayConnection]:
        return [c for c in self.model.connections.values() if c.phase is GatewayPhase.READY]

    def close(self) -> None:
        """Stop the clock; those who still wait are cancelled."""
        if self._timer is not None:
            self._timer.cancel()
        for ended in list(self._waiting.values()):
            ended.cancel()
        for changed in self._changed:
            changed.cancel()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case SendTo(number, data):
                    if number in self._connections:
                        self._connections[number].send_bytes(data)
                case CloseConnection(number, code, reason):
                    if number in self._connections:
                        self._connections[number].close(code, reason)
                case DropConnection(number):
                    if number in self._connections:
                        self._connections[number].drop()
                case RequestEnded():
                    self._ended(action)
        self._arm()
        changed, self._changed = self._changed, []
        for future in changed:
            if not future.done():
                future.set_result(None)

    def _ended(self, action: RequestEnded) -> None:
        future = self._waiting.get(action.request_id)
        if future is None or future.done():
            return
        if action.response is not None:
            future.set_result(action.response)
        else:
            future.set_exception(DispatchFailed(action.failure))

    def _arm(self) -> None:
        # One look at every deadline four times a second at most: exact enough for leases of
        # seconds, and cheap with thousands of requests under way. Messages that are handled later
        # need their exact times.
        if self._timer is not None:
            if not self.model.settings.handling_delay:
                return
            self._timer.cancel()
            self._timer = None
        deadline = self.model.next_deadline()
        if deadline is not None:
            loop = asyncio.get_running_loop()
            soonest = min(deadline, loop.time() + 0.25)
            self._timer = loop.call_at(soonest, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._do(self.model.tick(self._now()))
