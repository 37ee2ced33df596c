"""Timing: the time limits of the protocol, as a user can set them."""

from dataclasses import dataclass

from .core.wire.user_text import shown_value
from .errors import ConfigurationError
from .option_values import is_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Time limits, all in seconds. The defaults suit production; tests shorten them."""

    start_timeout: float = 10.0
    """One call of the start or flush endpoint."""
    open_timeout: float = 10.0
    """Dial, TLS, proxy and WebSocket upgrade."""
    hello_timeout: float = 10.0
    """From the open socket to the gateway's first message."""
    ready_timeout: float = 60.0
    """Until the gateway has synchronised the apps."""
    reply_ack_timeout: float = 5.0
    """Until an unacknowledged reply is flushed over HTTP."""
    drain_ack_timeout: float = 2.0
    """How long a drained socket may wait for its last acknowledgements."""
    pause_delay: float = 0.25
    """Between the last acknowledgement and WORKER_PAUSE at shutdown."""
    close_timeout: float = 2.0
    """For the gateway's half of the closing handshake."""
    final_flush_timeout: float = 5.0
    """For replies that are ready when the worker is stopped by force."""
    heartbeat_interval: float = 10.0
    """Used when the gateway names none, and never exceeded."""
    extend_lease_interval: float = 30.0
    """Used when the gateway names none."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not is_seconds(value) or value <= 0:
                raise ConfigurationError(
                    f"Timing.{name} is {shown_value(value)}; it takes seconds above 0"
                )
