"""Capacity: how many requests an instance is given, see docs/protocol.md#capacity."""

from .settings import GatewaySettings


class Capacity:
    """Limits and counts by instance id, whatever connections it has. Times are monotonic seconds.

    A count belongs to the instance that the request was routed to while there was a limit. So two
    processes with one instance id share one limit, and a worker whose instance id changes cannot
    extend what it was given before.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._limits: dict[str, int] = {}
        self._counted: dict[str, dict[str, tuple[float, float | None]]] = {}
        """By instance and request id: when it was assigned, and until when it counts; None for as
        long as the request lasts."""
        self._instances: dict[str, str] = {}
        """The instance of each counted request."""

    def connected(self, instance: str, limit: int) -> None:
        """Take the limit of a WORKER_CONNECT, the newest of which wins; 0 deletes any limit."""
        if limit > 0:
            self._limits[instance] = limit
        else:
            self._limits.pop(instance, None)

    def has_room(self, instance: str, now: float) -> bool:
        """Return whether the router gives this instance another request."""
        limit = self._limits.get(instance)
        if limit is None:
            return True
        known_until = now - self._settings.count_delay
        counted = self._counted.get(instance, {}).values()
        count = sum(1 for at, end in counted if at <= known_until and (end is None or now < end))
        return count < limit

    def assign(self, request_id: str, instance: str, now: float) -> None:
        """Count a request that is routed to an instance with a limit."""
        self.release(request_id)
        if instance in self._limits:
            until = now + self._settings.count_lifetime
            self._counted.setdefault(instance, {})[request_id] = now, until
            self._instances[request_id] = instance

    def extend(self, request_id: str, instance: str, now: float) -> bool:
        """Return whether the instance may extend; what it extends counts until it is released.

        The server writes a time in another unit there, which never passes.
        """
        if instance not in self._limits:
            return True
        counted = self._counted.get(instance, {})
        if request_id not in counted:
            return False
        at, until = counted[request_id]
        if until is not None and now >= until:
            return False
        counted[request_id] = at, None
        return True

    def release(self, request_id: str) -> None:
        """The request has ended, or is routed again."""
        instance = self._instances.pop(request_id, None)
        if instance is not None:
            del self._counted[instance][request_id]
