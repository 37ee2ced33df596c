"""GatewaySettings: how a model gateway behaves. The defaults are those of the server."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Times in seconds; intervals are strings such as "10s", which the gateway sends as they are.

    Where the defaults come from: docs/protocol.md#durations and docs/protocol.md#leases.
    """

    lease: float = 120.0
    """How long a lease lasts from its dispatch or its last extension."""
    lease_grace: float = 5.0
    """How long after its expiry a reply is still accepted before the request fails."""
    heartbeat_interval: str = "10s"
    """A connection without a heartbeat for five intervals is dropped."""
    extend_lease_interval: str = "30s"
    status_interval: str = "0s"
    """Between two WORKER_STATUS messages; "0s" for none."""
    drain_window: float = 25.0
    """How long a draining gateway keeps its connections open."""
    max_apps: int = 10
    """Apps per connection."""
    router_patience: float = 20.0
    """A connection whose last heartbeat is older than this gets no requests."""
    sync_delay: float = 0.0
    """Between WORKER_CONNECT and GATEWAY_CONNECTION_READY."""
    handling_delay: float = 0.0
    """Each message is handled up to this much later, at random. Replies, extensions and
    acknowledgements then overtake one another, and WORKER_PAUSE overtakes acknowledgements;
    heartbeats, WORKER_READY and WORKER_PAUSE keep their order among themselves."""
    hold_during_drain: bool = True
    """New requests can be routed to a draining connection, and wait there until it is closed."""
    replay_predecessor: bool = True
    """Whether the previous lease id is answered with the current one; servers before August 2026
    refuse it."""
