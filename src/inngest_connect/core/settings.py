"""What the core knows from the beginning: who this worker is, and its time limits and sizes."""

from dataclasses import dataclass, field
from typing import Literal

from ..protocol import DEFAULT_EXTEND_LEASE_INTERVAL, DEFAULT_HEARTBEAT_INTERVAL, GATEWAY_READ_LIMIT

OnLeaseLost = Literal["cancel", "continue"]


@dataclass(frozen=True, slots=True)
class AppIdentity:
    """One app as WORKER_CONNECT describes it. ``functions`` is a JSON list of configurations."""

    name: str
    functions: bytes
    function_slugs: frozenset[str]
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerIdentity:
    """The content of WORKER_CONNECT that is the same on every connection."""

    instance_id: str
    apps: tuple[AppIdentity, ...]
    capabilities: bytes
    sdk_language: str
    sdk_version: str
    framework: str
    environment: str | None = None
    platform: str | None = None
    cpu_cores: int = 0
    memory_bytes: int = 0
    operating_system: str = ""
    started_at: float = 0.0
    """Seconds since the epoch."""
    max_worker_concurrency: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSettings:
    """All times are seconds, all sizes bytes. See docs/protocol.md#decisions for the defaults."""

    start_timeout: float = 15.0
    """The whole of one POST to the start endpoint."""
    open_timeout: float = 10.0
    """TCP, TLS, proxy and the WebSocket opening handshake."""
    hello_timeout: float = 10.0
    ready_timeout: float = 60.0
    """From WORKER_CONNECT to GATEWAY_CONNECTION_READY; a first sync takes tens of seconds."""
    startup_timeout: float | None = None
    shutdown_timeout: float | None = None
    reply_ack_timeout: float = 5.0
    drain_ack_timeout: float = 2.0
    pause_delay: float = 0.25
    """Between the last acknowledgement and WORKER_PAUSE, which can overtake it."""
    close_timeout: float = 2.0
    """For the peer's half of the closing handshake."""
    final_flush_timeout: float = 5.0
    """For replies that are ready when the worker is stopped by force."""
    heartbeat_interval: float = DEFAULT_HEARTBEAT_INTERVAL
    """Used when the gateway names none, and never exceeded."""
    extend_lease_interval: float = DEFAULT_EXTEND_LEASE_INTERVAL
    """Used when the gateway names none."""
    shortest_interval: float = 0.1
    """A shorter interval that a gateway asks for is raised to this: no line could carry it."""
    shortest_patience: float = 2.0
    """A gateway is not given up for silence earlier, however short its interval is."""
    extensions_per_turn: int = 200
    """Leases that are extended before other inputs are handled."""
    flushes_at_once: int = 8
    max_worker_concurrency: int | None = None
    max_buffer_bytes: int = 500 * 1024 * 1024
    max_reply_bytes: int = GATEWAY_READ_LIMIT
    on_lease_lost: OnLeaseLost = "continue"
    long_running_warning: float | None = 3600.0
    """Age of a function at which it is reported, None for never."""
    signing_keys: int = 0
    """How many signing keys there are to try, 0 in development mode."""
    api_origin: str = field(default="")
    """Only named in errors."""
