"""ConnectOptions: every option and environment variable, resolved and validated once.

An explicit option beats the environment, the environment beats the default. Everything wrong is
found here, before a thread or a socket exists, with the value and the remedy in the text.
"""

import math
import os
import signal
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from .core.retry import RetryStrategy, ScheduleRetry
from .core.settings import CoreSettings, OnLeaseLost
from .errors import ConfigurationError
from .execution.executor import ExecutorFactory
from .transport.urls import check_url, is_plain, shown_url

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

RewriteEndpoint = Callable[[str], str | Awaitable[str]]
"""From the URL of the gateway to the one to dial; a plain or an async function."""
Isolation = Literal["thread", "none"]

MAX_CONCURRENCY_VARIABLE: Final = "INNGEST_CONNECT_MAX_WORKER_CONCURRENCY"
GATEWAY_URL_VARIABLE: Final = "INNGEST_CONNECT_GATEWAY_URL"
ISOLATE_VARIABLE: Final = "INNGEST_CONNECT_ISOLATE_EXECUTION"
INSTANCE_ID_VARIABLE: Final = "INNGEST_CONNECT_INSTANCE_ID"
SHUTDOWN_TIMEOUT_VARIABLE: Final = "INNGEST_CONNECT_SHUTDOWN_TIMEOUT"

LONGEST_INSTANCE_ID: Final = 256
DEFAULT_SHUTDOWN_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
DEFAULT_LONG_RUNNING_WARNING: Final = 3600.0
DEFAULT_MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024

_process_suffix = uuid.uuid4().hex[:6]
"""Two processes of one host must not share a concurrency limit, and a forked one is another."""


def default_instance_id() -> str:
    """The host and a suffix of this process."""
    return f"{socket.gethostname()}-{_process_suffix}"


def _renew_suffix() -> None:
    global _process_suffix  # noqa: PLW0603 - a fact about the process, changed in a forked child
    _process_suffix = uuid.uuid4().hex[:6]


os.register_at_fork(after_in_child=_renew_suffix)


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
            if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
                raise ConfigurationError(f"Timing.{name} is {value!r}; it takes seconds above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectOptions:
    """The options of ``connect()``; see there for what each one does."""

    instance_id: str
    rewrite_gateway_endpoint: RewriteEndpoint | None = None
    shutdown_signals: tuple[signal.Signals, ...] = DEFAULT_SHUTDOWN_SIGNALS
    max_worker_concurrency: int | None = None
    gateway_url: str | None = None
    isolation: Isolation = "thread"
    startup_timeout: float | None = None
    shutdown_timeout: float | None = None
    on_lease_lost: OnLeaseLost = "continue"
    long_running_warning: float | None = DEFAULT_LONG_RUNNING_WARNING
    retry: RetryStrategy = field(default_factory=ScheduleRetry)
    max_buffer_bytes: int = 500 * 1024 * 1024
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    timing: Timing = field(default_factory=Timing)
    meter_provider: "MeterProvider | None" = None
    tracer_provider: "TracerProvider | None" = None
    executor: ExecutorFactory | None = None
    wait: bool = False

    def changed(self, **changes: Any) -> "ConnectOptions":
        """These with ``changes``, options of ``connect()``. Raises ConfigurationError as that."""
        current = {each.name: getattr(self, each.name) for each in fields(self)}
        return resolve_options(**{**current, **changes}, environment={})

    def core_settings(self, *, signing_keys: int, api_origin: str) -> CoreSettings:
        """What the pure core needs of this."""
        timing = self.timing
        return CoreSettings(
            # The API client limits each call; this is only the net below it.
            start_timeout=timing.start_timeout + 5.0,
            open_timeout=timing.open_timeout + 1.0,
            hello_timeout=timing.hello_timeout,
            ready_timeout=timing.ready_timeout,
            startup_timeout=self.startup_timeout,
            shutdown_timeout=self.shutdown_timeout,
            reply_ack_timeout=timing.reply_ack_timeout,
            drain_ack_timeout=timing.drain_ack_timeout,
            pause_delay=timing.pause_delay,
            close_timeout=timing.close_timeout,
            final_flush_timeout=timing.final_flush_timeout,
            heartbeat_interval=timing.heartbeat_interval,
            extend_lease_interval=timing.extend_lease_interval,
            max_worker_concurrency=self.max_worker_concurrency,
            max_buffer_bytes=self.max_buffer_bytes,
            on_lease_lost=self.on_lease_lost,
            long_running_warning=self.long_running_warning,
            signing_keys=signing_keys,
            api_origin=api_origin,
        )


def resolve_options(
    *,
    instance_id: str | None,
    rewrite_gateway_endpoint: RewriteEndpoint | None,
    shutdown_signals: Sequence[signal.Signals] | None,
    max_worker_concurrency: int | None,
    gateway_url: str | None,
    isolation: Isolation | None,
    startup_timeout: float | None,
    shutdown_timeout: float | None,
    on_lease_lost: OnLeaseLost,
    retry: RetryStrategy | None,
    max_buffer_bytes: int,
    max_message_bytes: int,
    timing: Timing | None,
    meter_provider: "MeterProvider | None" = None,
    tracer_provider: "TracerProvider | None" = None,
    executor: ExecutorFactory | None = None,
    long_running_warning: float | None = DEFAULT_LONG_RUNNING_WARNING,
    wait: bool = False,
    environment: Mapping[str, str] | None = None,
) -> ConnectOptions:
    """Raises ConfigurationError for the first wrong value."""
    variables = os.environ if environment is None else environment
    return ConnectOptions(
        instance_id=_instance_id(instance_id, variables),
        rewrite_gateway_endpoint=_rewrite(rewrite_gateway_endpoint),
        shutdown_signals=_signals(shutdown_signals),
        max_worker_concurrency=_concurrency(max_worker_concurrency, variables),
        gateway_url=_gateway_url(gateway_url, variables),
        isolation=_isolation(isolation, variables),
        startup_timeout=_seconds("startup_timeout", startup_timeout),
        shutdown_timeout=_shutdown_timeout(shutdown_timeout, variables),
        on_lease_lost=_choice("on_lease_lost", on_lease_lost, get_args(OnLeaseLost)),
        long_running_warning=_warning(long_running_warning),
        retry=_retry(retry),
        max_buffer_bytes=_bytes("max_buffer_bytes", max_buffer_bytes),
        max_message_bytes=_bytes("max_message_bytes", max_message_bytes),
        timing=_timing(timing),
        meter_provider=_provider("meter_provider", meter_provider, "get_meter"),
        tracer_provider=_provider("tracer_provider", tracer_provider, "get_tracer"),
        executor=_executor(executor),
        wait=_wait(wait),
    )


def _instance_id(value: str | None, variables: Mapping[str, str]) -> str:
    source = "instance_id"
    if value is None:
        source = INSTANCE_ID_VARIABLE
        value = _variable(INSTANCE_ID_VARIABLE, variables) or None
    if value is None:
        return default_instance_id()
    if (
        not isinstance(value, str)
        or not value.strip()
        or not value.isprintable()  # neither a control character nor half of a surrogate pair
        or len(value) > LONGEST_INSTANCE_ID
    ):
        raise ConfigurationError(
            f"{source} is {_shortened(value)}; pass a printable name of at most "
            f"{LONGEST_INSTANCE_ID} characters that is unique per process, or leave it out"
        )
    return value


def _variable(name: str, variables: Mapping[str, str]) -> str:
    """The value of a variable without what surrounds it. Raises ConfigurationError."""
    value = variables.get(name, "").strip()
    if not is_plain(value):
        raise ConfigurationError(
            f"{name} is {shown_url(value)!r}; it takes ASCII characters without spaces"
        )
    return value


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _rewrite(value: RewriteEndpoint | None) -> RewriteEndpoint | None:
    if value is not None and not callable(value):
        raise ConfigurationError(
            f"rewrite_gateway_endpoint is {value!r}; pass a function from URL to URL"
        )
    return value


def _signals(value: Sequence[signal.Signals] | None) -> tuple[signal.Signals, ...]:
    if value is None:
        return DEFAULT_SHUTDOWN_SIGNALS
    try:
        signals = tuple(signal.Signals(one) for one in value)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"shutdown_signals is {value!r}; pass a list of signal.Signals, [] for none"
        ) from None
    if any(one.name in ("SIGKILL", "SIGSTOP") for one in signals):
        raise ConfigurationError(
            f"shutdown_signals is {value!r}; SIGKILL and SIGSTOP cannot be handled by any "
            "process: leave them out"
        )
    return signals


def _concurrency(value: int | None, variables: Mapping[str, str]) -> int | None:
    source = "max_worker_concurrency"
    given: object = value
    if value is None:
        text = _variable(MAX_CONCURRENCY_VARIABLE, variables)
        if not text:
            return None
        source = MAX_CONCURRENCY_VARIABLE
        given = int(text) if text.lstrip("+-").isdecimal() else text
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise ConfigurationError(
            f"{source} is {given!r}; pass a whole number from 1, or leave it out for no limit"
        )
    return given


def _gateway_url(value: str | None, variables: Mapping[str, str]) -> str | None:
    source = "gateway_url"
    if value is None:
        value = _variable(GATEWAY_URL_VARIABLE, variables) or None
        source = GATEWAY_URL_VARIABLE
    if value is None:
        return None
    if not isinstance(value, str):
        raise ConfigurationError(f"{source} is {value!r}; pass a ws:// or wss:// URL")
    parts = check_url(source, value, ("ws", "wss"), "wss://gateway.example.com/v0/connect")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            f"{source} is {shown_url(value)!r}; a gateway takes no user name and no password"
        )
    return value


def _isolation(value: Isolation | None, variables: Mapping[str, str]) -> Isolation:
    if value is not None:
        _choice("isolation", value, get_args(Isolation))
        return value
    text = _variable(ISOLATE_VARIABLE, variables).lower()
    if text in ("", "1", "true"):
        return "thread"
    if text in ("0", "false"):
        return "none"
    raise ConfigurationError(f"{ISOLATE_VARIABLE} is {text!r}; use 1, true, 0 or false")


def _shutdown_timeout(value: float | None, variables: Mapping[str, str]) -> float | None:
    if value is not None:
        return _seconds("shutdown_timeout", value)
    text = _variable(SHUTDOWN_TIMEOUT_VARIABLE, variables)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        raise ConfigurationError(
            f"{SHUTDOWN_TIMEOUT_VARIABLE} is {text!r}; set seconds from 0, or nothing for no limit"
        ) from None
    return _seconds(SHUTDOWN_TIMEOUT_VARIABLE, seconds)


def _seconds(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0:
        raise ConfigurationError(f"{name} is {value!r}; pass seconds from 0, or None for no limit")
    return float(value)


def _warning(value: float | None) -> float | None:
    seconds = _seconds("long_running_warning", value)
    if seconds == 0:
        raise ConfigurationError(
            f"long_running_warning is {value!r}; pass seconds above 0, or None for no warning"
        )
    return seconds


def _bytes(name: str, value: int) -> int:
    if not isinstance(value, int) or value < 1024:
        raise ConfigurationError(f"{name} is {value!r}; pass a number of bytes from 1024")
    return value


def _timing(value: Timing | None) -> Timing:
    if value is None:
        return Timing()
    if not isinstance(value, Timing):
        raise ConfigurationError(f"timing is {value!r}; pass a Timing(...), or leave it out")
    return value


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        raise ConfigurationError(
            f"{name} is {value!r}; pass one of {', '.join(map(repr, choices))}"
        )
    return value


def _provider(name: str, value: Any, method: str) -> Any:
    if value is not None and not callable(getattr(value, method, None)):
        raise ConfigurationError(
            f"{name} is {value!r}; pass an OpenTelemetry provider, which has {method}(), "
            "or leave it out for the global one"
        )
    return value


def _retry(value: RetryStrategy | None) -> RetryStrategy:
    if value is None:
        return ScheduleRetry()
    if not callable(getattr(value, "delay", None)):
        raise ConfigurationError(
            f"retry is {value!r}; pass an object with delay(failures, random) -> seconds"
        )
    return value


def _executor(value: ExecutorFactory | None) -> ExecutorFactory | None:
    if value is not None and not callable(value):
        raise ConfigurationError(
            f"executor is {value!r}; pass process_executor(...), or leave it out"
        )
    return value


def _wait(value: bool) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(
            f"wait is {value!r}; pass True if 'async with' is to wait for the first connection"
        )
    return value
