"""ConnectOptions: every option and environment variable, resolved and validated once.

An explicit option beats the environment, the environment beats the default. Everything wrong is
found here, before a thread or a socket exists, with the value and the remedy in the text.
"""

import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, get_args

from .core.retry import RetryStrategy, ScheduleRetry
from .core.settings import CoreSettings, OnLeaseLost
from .errors import ConfigurationError
from .execution.executor import ExecutorFactory
from .option_values import (
    checked_choice,
    checked_function,
    checked_instance,
    checked_message_size,
    checked_provider,
    checked_retry,
    checked_seconds,
    checked_signals,
    checked_size,
    checked_switch,
    checked_warning,
)
from .option_variables import (
    Isolation,
    resolved_gateway_url,
    resolved_instance_id,
    resolved_isolation,
    resolved_max_worker_concurrency,
    resolved_shutdown_timeout,
)
from .timing import Timing

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

RewriteEndpoint = Callable[[str], str | Awaitable[str]]
"""From the URL of the gateway to the one to dial; a plain or an async function."""

DEFAULT_SHUTDOWN_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
DEFAULT_LONG_RUNNING_WARNING: Final = 3600.0
DEFAULT_MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024


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
        unknown = sorted(changes.keys() - current.keys())
        if unknown:
            raise ConfigurationError(
                f"there is no option {unknown[0]!r}; there are: {', '.join(current)}"
            )
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
        instance_id=resolved_instance_id(instance_id, variables),
        rewrite_gateway_endpoint=checked_function(
            "rewrite_gateway_endpoint",
            rewrite_gateway_endpoint,
            "pass a function from URL to URL",
        ),
        shutdown_signals=checked_signals(shutdown_signals, DEFAULT_SHUTDOWN_SIGNALS),
        max_worker_concurrency=resolved_max_worker_concurrency(max_worker_concurrency, variables),
        gateway_url=resolved_gateway_url(gateway_url, variables),
        isolation=resolved_isolation(isolation, variables),
        startup_timeout=checked_seconds("startup_timeout", startup_timeout),
        shutdown_timeout=resolved_shutdown_timeout(shutdown_timeout, variables),
        on_lease_lost=checked_choice("on_lease_lost", on_lease_lost, get_args(OnLeaseLost)),
        long_running_warning=checked_warning("long_running_warning", long_running_warning),
        retry=checked_retry(retry),
        max_buffer_bytes=checked_size("max_buffer_bytes", max_buffer_bytes),
        max_message_bytes=checked_message_size("max_message_bytes", max_message_bytes),
        timing=checked_instance(
            "timing", timing, Timing, Timing(), "pass a Timing(...), or leave it out"
        ),
        meter_provider=checked_provider("meter_provider", meter_provider, "get_meter"),
        tracer_provider=checked_provider("tracer_provider", tracer_provider, "get_tracer"),
        executor=checked_function(
            "executor", executor, "pass process_executor(...), or leave it out"
        ),
        wait=checked_switch(
            "wait", wait, "pass True if 'async with' is to wait for the first connection"
        ),
    )
