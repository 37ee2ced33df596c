"""``connect()``: the drop-in for the official SDK's function of that name."""

import signal
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .connection import WebSocketWorkerConnection
from .core.retry import RetryStrategy
from .core.settings import OnLeaseLost
from .execution.executor import ExecutorFactory
from .observability.subscriptions import Callback
from .option_values import checked_listeners
from .option_variables import Isolation
from .options import (
    DEFAULT_LONG_RUNNING_WARNING,
    DEFAULT_MAX_MESSAGE_BYTES,
    RewriteEndpoint,
    resolve_options,
)
from .sdk.apps import Apps
from .timing import Timing

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider


def connect(
    apps: Apps,
    *,
    instance_id: str | None = None,
    rewrite_gateway_endpoint: RewriteEndpoint | None = None,
    shutdown_signals: Sequence[signal.Signals] | None = None,
    max_worker_concurrency: int | None = None,
    gateway_url: str | None = None,
    on: Mapping[str, Callback] | None = None,
    isolation: Isolation | None = None,
    startup_timeout: float | None = None,
    shutdown_timeout: float | None = None,
    on_lease_lost: OnLeaseLost = "continue",
    retry: RetryStrategy | None = None,
    long_running_warning: float | None = DEFAULT_LONG_RUNNING_WARNING,
    max_buffer_bytes: int = 500 * 1024 * 1024,
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    timing: Timing | None = None,
    logger: Any = None,
    meter_provider: "MeterProvider | None" = None,
    tracer_provider: "TracerProvider | None" = None,
    executor: ExecutorFactory | None = None,
    wait: bool = False,
) -> WebSocketWorkerConnection:
    """Create a persistent connection to Inngest. Nothing happens until ``start()``.

    The first five options are those of ``inngest.connect.connect``; the rest is ours.

    Args:
        apps: ``(client, functions)`` tuples or ``ConnectApp`` objects. They have to agree on
            environment, mode, API origin and signing key.
        instance_id: Identifies this process, across its reconnects. Default: the hostname and a
            suffix of this process, because processes that share an id share one concurrency limit.
        rewrite_gateway_endpoint: Called with each gateway URL, returns the one to dial. A plain
            function is called on a thread of its own, an async one on the event loop of
            ``start()``; without an answer within 4 seconds the attempt fails.
        shutdown_signals: Installed by ``start()`` and ``run()`` on the main thread and put back
            afterwards; a second one stops immediately. Default SIGTERM and SIGINT, ``[]`` for none.
            ``async with`` installs none.
        max_worker_concurrency: Functions that run at once. Further requests are acknowledged,
            leased and queued. Default: INNGEST_CONNECT_MAX_WORKER_CONCURRENCY, else no limit.
        gateway_url: Dial this instead of the gateway the API names. Default:
            INNGEST_CONNECT_GATEWAY_URL.
        on: Event listeners by event name, as with ``add_event_listener``.
        isolation: "thread" keeps the connection on a thread of its own, so that a function that
            blocks the event loop costs no heartbeat and no lease; "none" runs everything on one
            loop. Default "thread"; INNGEST_CONNECT_ISOLATE_EXECUTION=0 means "none".
        startup_timeout: Seconds after which ``start()`` gives up a first connection. Default:
            never, it waits an outage out.
        shutdown_timeout: Seconds a graceful shutdown may take. Default: as long as work lasts.
        on_lease_lost: "continue" lets a function whose lease was refused run to its end, "cancel"
            cancels it if it is async. What it returns is delivered in either case.
        retry: When to connect again. Default: after 0 to 1 s, then 1, 2, 5, 10, 20, 30, 60, 120,
            300 s. A strategy of your own is called on a thread, for at most 4 seconds.
        long_running_warning: Seconds after which a function that still runs is reported by name,
            again each time it is twice as old. Default 3600, None for never.
        max_buffer_bytes: Replies kept until the server has stored them. Default 500 MiB.
        max_message_bytes: The largest message accepted from the gateway. Default 16 MiB.
        timing: Time limits of the protocol, in seconds.
        logger: A ``logging.Logger`` or structlog logger; False for silence. Default: the logger
            "inngest_connect".
        meter_provider: Where metrics go, an OpenTelemetry provider. Default: the global one.
        tracer_provider: Where the spans of executions go. Default: the global one.
        executor: Where functions run: ``process_executor(...)`` for child processes. Default: on
            the event loop of ``start()``, sync functions in threads.
        wait: Whether ``async with`` waits until the first connection is ACTIVE, however long an
            outage lasts. Default: the body starts immediately, and the worker connects meanwhile.

    Raises ConfigurationError, with the value and the remedy, for anything wrong in the above.
    """
    options = resolve_options(
        instance_id=instance_id,
        rewrite_gateway_endpoint=rewrite_gateway_endpoint,
        shutdown_signals=shutdown_signals,
        max_worker_concurrency=max_worker_concurrency,
        gateway_url=gateway_url,
        isolation=isolation,
        startup_timeout=startup_timeout,
        shutdown_timeout=shutdown_timeout,
        on_lease_lost=on_lease_lost,
        retry=retry,
        long_running_warning=long_running_warning,
        max_buffer_bytes=max_buffer_bytes,
        max_message_bytes=max_message_bytes,
        timing=timing,
        meter_provider=meter_provider,
        tracer_provider=tracer_provider,
        executor=executor,
        wait=wait,
    )
    return WebSocketWorkerConnection(apps, options, on=checked_listeners(on), logger=logger)
