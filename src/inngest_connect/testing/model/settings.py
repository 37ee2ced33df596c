"""GatewaySettings: how a model gateway behaves."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Times in seconds; intervals are strings such as "10s", which the gateway sends as they are.

    The defaults are those of the server, except where its behavior would make a test slow or its
    outcome a matter of chance: these fields say what the server does. What belongs to an
    environment (leases, replies, routing) is taken from the settings of the ``GatewayModel``; what
    belongs to a connection can differ from gateway to gateway.
    """

    # --- the environment: leases, see docs/protocol.md#leases --------------------------------

    lease: float = 120.0
    """How long a lease lasts from its dispatch or its last extension."""
    lease_grace: float = 5.0
    """How long a reply is still accepted after the executor has seen the lease expired."""
    lease_poll: float = 0.0
    """Between two looks of the executor at a lease, an expired one being revived by an extension
    before the next look. The server looks every 30 s; 0 is at the moment of the expiry, so that
    short leases end in time."""
    lease_key_lifetime: float = 7200.0
    """How long after its expiry a lease can be revived."""
    replay_predecessor: bool = True
    """Whether the previous lease id is answered with the current one (docs/protocol.md#lease-ids);
    servers before August 2026 refuse it."""
    leases_outlive_requests: bool = True
    """Whether a worker without a limit can go on extending the lease of a request that the executor
    gave up."""

    # --- the environment: requests, see docs/protocol.md#requests and #acknowledgements -------

    acknowledge_within: float = 125.0
    """A forward without an acknowledgement fails after this time."""
    longest_wait: float = 7200.0
    """How long the executor waits for one request."""
    unroutable_after: float | None = None
    """How long a request waits while no worker could take it, before its attempt fails. The server
    fails it at once (docs/protocol.md#capacity); None waits until its lease has expired, so that a
    test can dispatch before its worker is connected."""
    wait_for_replacement: float = 10.0
    """The least such time while there are connections that drain."""

    # --- the environment: replies, see docs/protocol.md#replies -------------------------------

    reply_lifetime: float = 60.0
    """How long a stored reply waits for the executor."""
    reply_poll: float = 0.0
    """A stored reply is collected up to this much later, at random. At the server up to 4 s, if the
    push to the executor is lost."""
    collect_after_acknowledgement: bool = False
    """Whether a reply is collected only once the forward of its request is acknowledged."""

    # --- the environment: routing, see docs/protocol.md#capacity ------------------------------

    router_patience: float = 20.0
    """A connection whose last heartbeat is older than this gets no requests."""
    gateway_patience: float = 10.0
    """A gateway that has stopped for longer than this gets none."""
    count_delay: float = 0.0
    """How much too late a request is counted against its worker's limit: the server counts a little
    late."""
    count_lifetime: float = 720.0
    """How long a request counts against its worker's limit unless its lease is extended."""

    # --- the environment: sessions, see docs/protocol.md#start --------------------------------

    session_lifetime: float = 300.0
    """How long the tokens of an answered start request are valid."""

    # --- a gateway: connections, see docs/protocol.md#handshake and #ready --------------------

    max_apps: int = 10
    """Apps per connection."""
    max_message_bytes: int = 8 * 1024 * 1024
    """A larger message closes the connection (docs/protocol.md#limits)."""
    hello_timeout: float = 5.0
    """A connection that does not send WORKER_CONNECT for this long is dropped. The server intends a
    close frame, which its read deadline prevents (docs/protocol.md#close-codes)."""
    write_timeout: float = 5.0
    """A connection that takes nothing for this long is dropped (docs/protocol.md#websocket)."""
    sync_delay: float = 0.0
    """Between WORKER_CONNECT and GATEWAY_CONNECTION_READY."""
    skip_unchanged_sync: bool = True
    """Whether that delay is left out for apps that were synchronized before
    (docs/protocol.md#connect)."""
    ready_delay: float = 0.0
    """Without manual readiness, how long after GATEWAY_CONNECTION_READY the phase changes: until
    then nothing is answered. Short at the server, and not zero."""
    heartbeat_interval: str = "10s"
    """A connection without a heartbeat for five intervals is dropped
    (docs/protocol.md#heartbeat)."""
    extend_lease_interval: str = "30s"
    status_interval: str = "0s"
    """Between two WORKER_STATUS messages; "0s" for none (docs/protocol.md#status)."""
    drain_window: float = 25.0
    """How long a draining gateway keeps its connections open (docs/protocol.md#drain)."""
    hold_during_drain: bool = True
    """New requests can be routed to a draining connection, and wait there until it is closed."""

    # --- a gateway: the order of messages, see docs/protocol.md#websocket ---------------------

    handling_delay: float = 0.0
    """Each message is handled up to this much later, at random. Replies, extensions and
    acknowledgements then overtake one another, and WORKER_PAUSE overtakes acknowledgements;
    heartbeats, WORKER_READY and WORKER_PAUSE keep their order among themselves."""
    control_delay: float | None = None
    """The same for heartbeats, WORKER_READY and WORKER_PAUSE; None for ``handling_delay``. With 0
    they overtake everything, with more than ``handling_delay`` everything overtakes them."""
    data_handlers: int = 5
    """How many of the other messages of a connection are handled at the same time."""
