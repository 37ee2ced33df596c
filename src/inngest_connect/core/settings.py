"""What the core is given once: who this worker is, and its time limits and sizes."""

from dataclasses import dataclass, fields
from typing import Any, Final, Literal

from ..errors import ConfigurationError
from ..protocol import DEFAULT_EXTEND_LEASE_INTERVAL, DEFAULT_HEARTBEAT_INTERVAL, GATEWAY_READ_LIMIT
from .wire.user_text import is_a, shown_value

OnLeaseLost = Literal["cancel", "continue"]
JournalCommit = Literal["beside", "required"]
FailureDetails = Literal["traceback", "message", "type", "none"]

LONGEST_SECONDS: Final = 1e9
"""Thirty years. Timers of the operating system overflow with much longer ones."""


def is_seconds(value: Any) -> bool:
    """Whether it is a finite number of seconds that every timer can wait for."""
    return is_a(value, int, float) and 0 <= value <= LONGEST_SECONDS


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
class Timing:
    """Time limits of the protocol, in seconds. The defaults suit production; tests shorten them."""

    start_timeout: float = 10.0
    """One call of the start or flush endpoint."""
    open_timeout: float = 10.0
    """Dial, TLS, proxy and WebSocket upgrade."""
    hello_timeout: float = 10.0
    """From the open socket to the gateway's first message."""
    ready_timeout: float = 60.0
    """From WORKER_CONNECT until the gateway has synchronized the apps: a first sync takes tens of
    seconds."""
    reply_ack_timeout: float = 5.0
    """Until an unacknowledged reply is flushed over HTTP."""
    drain_ack_timeout: float = 2.0
    """How long a drained socket may wait for its last acknowledgements."""
    pause_delay: float = 0.25
    """Between the last acknowledgement and WORKER_PAUSE, which can overtake it, at shutdown."""
    close_timeout: float = 2.0
    """For the gateway's half of the closing handshake."""
    final_flush_timeout: float = 5.0
    """For replies that are ready when the worker is stopped by force."""
    heartbeat_interval: float = DEFAULT_HEARTBEAT_INTERVAL
    """Used when the gateway names none, and never exceeded."""
    extend_lease_interval: float = DEFAULT_EXTEND_LEASE_INTERVAL
    """Used when the gateway names none."""

    def __post_init__(self) -> None:
        for limit in fields(Timing):
            value = getattr(self, limit.name)
            if not is_seconds(value) or value == 0:
                raise ConfigurationError(
                    f"Timing.{limit.name} is {shown_value(value)}; it takes seconds above 0"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSettings(Timing):
    """The options that the core needs, and its own limits. Times are seconds, sizes bytes."""

    start_timeout: float = 15.0
    """Longer than that of ``Timing``: the API client limits each call, and this what it misses."""
    startup_timeout: float | None = None
    shutdown_timeout: float | None = None
    max_worker_concurrency: int | None = None
    max_buffer_bytes: int = 500 * 1024 * 1024
    on_lease_lost: OnLeaseLost = "continue"
    long_running_warning: float | None = 3600.0
    failure_details: FailureDetails = "traceback"
    shortest_interval: float = 0.1
    """A shorter interval that a gateway asks for is raised to this: no line could carry it."""
    shortest_patience: float = 2.0
    """A gateway is not given up for silence earlier, however short its interval is."""
    extensions_per_turn: int = 200
    """Leases that are extended before other inputs are handled."""
    flushes_at_once: int = 8
    max_reply_bytes: int = GATEWAY_READ_LIMIT
    journal: str | None = None
    """Where the journal is; what the core asks is whether there is one."""
    journal_commit: JournalCommit = "beside"
    journal_patience: float = 5.0
    """For the commit of a reply, with ``journal_commit="required"``."""
    signing_keys: int = 0
    """How many signing keys there are to try, 0 in development mode."""
    api_origin: str = ""
    """Only named in errors."""
