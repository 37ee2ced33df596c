"""GatewaySettings: how a model gateway behaves. The defaults are today's server (PROTOCOL.md)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Times in seconds; intervals as the gateway sends them."""

    lease: float = 120.0
    lease_grace: float = 5.0
    """How long after its expiry a lease is still waited for."""
    heartbeat_interval: str = "10s"
    extend_lease_interval: str = "30s"
    status_interval: str = "0s"
    drain_window: float = 25.0
    max_apps: int = 10
    router_patience: float = 20.0
    """A connection whose last heartbeat is older than this gets no requests."""
    sync_delay: float = 0.0
    """Between WORKER_CONNECT and GATEWAY_CONNECTION_READY."""
    handling_delay: float = 0.0
    """Each message is handled up to this much later, as chance has it. Replies, extensions and
    acknowledgements overtake one another then, and WORKER_PAUSE overtakes acknowledgements;
    heartbeats, WORKER_READY and WORKER_PAUSE keep their order among themselves."""
    hold_during_drain: bool = True
    """New requests can be routed to a draining connection, and wait there until it is closed."""
    replay_predecessor: bool = True
    """False for servers before August 2026, which refuse the previous lease id."""
