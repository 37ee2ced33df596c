"""Router: which connection a request is given to, see docs/protocol.md#capacity."""

from .capacity import Capacity
from .connection import GatewayConnection, GatewayPhase
from .settings import GatewaySettings


class Router:
    """Takes the connections of an environment in turn. Times are monotonic seconds."""

    def __init__(
        self,
        settings: GatewaySettings,
        connections: dict[int, GatewayConnection],
        capacity: Capacity,
    ) -> None:
        self.stopped: dict[str, float] = {}
        """Since when which gateways do not run."""
        self._settings = settings
        self._connections = connections
        self._capacity = capacity
        self._turn = 0

    def choose(self, function_slug: str, now: float) -> GatewayConnection | None:
        """Return the next connection that can take a request for this function, if any."""
        able = [c for c in self._healthy(function_slug, now) if self._has_room(c, now)]
        if not able:
            return None
        self._turn += 1
        return able[self._turn % len(able)]

    def is_full(self, function_slug: str, now: float) -> bool:
        """Return whether there are workers for this function, which have too much to do."""
        return bool(self._healthy(function_slug, now))

    def is_draining(self) -> bool:
        """Return whether a connection is about to be replaced by another one."""
        return any(c.phase is GatewayPhase.DRAINING for c in self._connections.values())

    def _healthy(self, function_slug: str, now: float) -> list[GatewayConnection]:
        settings = self._settings
        return [
            c
            for c in self._connections.values()
            if (c.phase is GatewayPhase.READY or c.holds_work)
            and function_slug in c.functions
            and now - c.last_heartbeat_at <= settings.router_patience
            and now - self.stopped.get(c.gateway, now) <= settings.gateway_patience
        ]

    def _has_room(self, connection: GatewayConnection, now: float) -> bool:
        return self._capacity.has_room(connection.instance, now)
