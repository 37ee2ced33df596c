"""``connect()``: the drop-in for the official SDK's function of that name.

``make docs`` writes the parameters and their descriptions from the table in options.py. Editors and
type checkers see a signature that is written out, and each option is declared only there.
"""

import signal
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .connection import WebSocketWorkerConnection
from .core.retry import RetryStrategy
from .core.settings import FailureDetails, JournalCommit, OnLeaseLost, Timing
from .execution.executor import ExecutorFactory
from .observability.callbacks import Callback
from .options import ExecutionContext, Isolation, JournalSync, RewriteEndpoint, resolve_options
from .sdk.apps import Apps

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
    api_origin: str | None = None,
    on: Mapping[str, Callback] | None = None,
    isolation: Isolation | None = None,
    startup_timeout: float | None = None,
    shutdown_timeout: float | None = None,
    on_lease_lost: OnLeaseLost = "continue",
    retry: RetryStrategy | None = None,
    long_running_warning: float | None = 3600.0,
    failure_details: FailureDetails | None = None,
    max_buffer_bytes: int = 500 * 1024 * 1024,
    journal: str | None = None,
    journal_commit: JournalCommit = "beside",
    journal_sync: JournalSync = "normal",
    max_message_bytes: int = 16 * 1024 * 1024,
    timing: Timing | None = None,
    logger: Any = None,
    meter_provider: "MeterProvider | None" = None,
    tracer_provider: "TracerProvider | None" = None,
    executor: ExecutorFactory | None = None,
    execution_context: ExecutionContext | None = None,
    wait: bool = False,
) -> WebSocketWorkerConnection:
    """Create a persistent connection to Inngest. Nothing happens until ``start()``.

    The first five options are those of ``inngest.connect.connect``; the rest is ours.

    Args:
        apps: ``(client, functions)`` tuples or ``ConnectApp`` objects. They have to agree on
            environment, mode, API origin and signing key.
        instance_id: Identifies this process across its reconnects; unique per process, because
            processes that share an id share one concurrency limit. Default:
            INNGEST_CONNECT_INSTANCE_ID, else the hostname and a suffix.
        rewrite_gateway_endpoint: Takes the gateway's URL and returns the one to dial. A plain
            function runs on a thread, an async one on the event loop of ``start()``. If it raises,
            returns something else, or takes longer than 4 s, the attempt fails with an error that
            names it. Default: none.
        shutdown_signals: Signals that close the worker; a second one stops it immediately.
            ``start()`` and ``run()`` handle them on the main thread and restore the handlers
            afterwards; ``async with`` handles none. ``[]`` for none. Default: SIGTERM and SIGINT.
        max_worker_concurrency: Functions that run at the same time. Further requests are
            acknowledged, leased, and queued. Default: INNGEST_CONNECT_MAX_WORKER_CONCURRENCY, else
            no limit.
        gateway_url: The gateway to dial instead of the one that the API names. Default:
            INNGEST_CONNECT_GATEWAY_URL, else none.
        api_origin: The API that the worker asks for a gateway, instead of the one of the clients.
            Events that functions send still go where their client sends them. Default:
            INNGEST_CONNECT_API_ORIGIN, else the clients' own.
        on: Event listeners by event name, as for ``add_event_listener()``: plain functions, called
            on the event loop of ``start()``, or async ones, which run there and get the next event
            when they have returned. Default: none.
        isolation: "thread" keeps the connection on its own thread, so that a function that blocks
            the event loop costs no heartbeat and no lease; "none" runs connection and functions on
            one loop. The variable is 0 or false for "none". Default:
            INNGEST_CONNECT_ISOLATE_EXECUTION, else "thread".
        startup_timeout: Seconds after which ``start()`` gives up on a first connection. Default:
            INNGEST_CONNECT_STARTUP_TIMEOUT, else no limit, it waits until an outage ends.
        shutdown_timeout: Seconds that work in flight has to finish after the first signal or
            ``close()``. Default: INNGEST_CONNECT_SHUTDOWN_TIMEOUT, else no limit.
        on_lease_lost: "continue" lets a function whose lease was refused finish, "cancel" cancels
            it if it is async. What it returns is delivered in either case. Default: "continue".
        retry: When to connect again: an object with ``delay(failures, random) -> seconds``. Yours
            is called on a thread, for at most 4 s; when it fails, the default is used for that
            attempt. Default: ``ScheduleRetry()``, after 0 to 1, 1, 2, 5, 10, 20, 30, 60, 120, 300
            s.
        long_running_warning: Seconds after which a function that still runs is reported as an
            ``error`` of kind ``function_long_running``, and again each time it is twice as old.
            None for never. Default: 3600.
        failure_details: How much of an exception of a function is shown in log, events and status
            page: its "traceback", its "message" without that, its "type" alone, or "none", which
            writes no record either. Its text may contain what the function works with. Default:
            INNGEST_CONNECT_FAILURE_DETAILS, else "traceback".
        max_buffer_bytes: Bytes of replies that the server has not stored yet; beside them each
            costs some 3 KiB. Above three quarters no further function is started. Default: 500 MiB.
        journal: The file of the journal, with which results and unfinished requests survive the end
            of the process by SIGKILL; one for each worker process. See docs/journal.md. Default:
            INNGEST_CONNECT_JOURNAL, else none.
        journal_commit: "beside" offers a reply while the journal is written, "required" when it has
            been. What a disk does not take within 5 s is offered in either case. Default: "beside".
        journal_sync: "normal" survives the end of the process, "full" that of the machine: each
            transaction then waits for the disk. Default: "normal".
        max_message_bytes: The largest message accepted from the gateway, in bytes. Default: 16 MiB.
        timing: Time limits of the protocol, in seconds. Default: ``Timing()``.
        logger: A ``logging.Logger``, a structlog logger, or False for silence; see docs/logging.md.
            Default: the logger "inngest_connect".
        meter_provider: The OpenTelemetry provider that metrics go to; see docs/metrics.md. Default:
            the global one.
        tracer_provider: The OpenTelemetry provider that the spans of executions go to. Default: the
            global one.
        executor: Where functions run; ``process_executor(...)`` is for child processes,
            docs/processes.md. Default: on the event loop of ``start()``, sync functions in threads.
        execution_context: Returns a context manager, which is entered around each execution and
            sees its context variables; child processes import it. If entering it raises, the
            attempt fails and is repeated. Sentry and Django need none: see docs/how-to/sentry.md.
            Default: none.
        wait: Whether ``async with`` waits until the first connection is ACTIVE, however long an
            outage lasts, instead of starting its body immediately. Default: False.

    Raises ConfigurationError, with the value and the remedy, for anything wrong in the above.
    """
    options = resolve_options(
        instance_id=instance_id,
        rewrite_gateway_endpoint=rewrite_gateway_endpoint,
        shutdown_signals=shutdown_signals,
        max_worker_concurrency=max_worker_concurrency,
        gateway_url=gateway_url,
        api_origin=api_origin,
        on=on,
        isolation=isolation,
        startup_timeout=startup_timeout,
        shutdown_timeout=shutdown_timeout,
        on_lease_lost=on_lease_lost,
        retry=retry,
        long_running_warning=long_running_warning,
        failure_details=failure_details,
        max_buffer_bytes=max_buffer_bytes,
        journal=journal,
        journal_commit=journal_commit,
        journal_sync=journal_sync,
        max_message_bytes=max_message_bytes,
        timing=timing,
        logger=logger,
        meter_provider=meter_provider,
        tracer_provider=tracer_provider,
        executor=executor,
        execution_context=execution_context,
        wait=wait,
    )
    return WebSocketWorkerConnection(apps, options)
