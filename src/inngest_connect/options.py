"""ConnectOptions: the table of options. Each one is declared here, and nowhere else.

A row has the name, type, default, variable, check and help text of an option. The signature and
docstring of ``connect()``, the command line and docs/configuration.md are generated from the rows:
``make docs`` writes them, and a test fails when they are stale.

An explicit option beats the environment, the environment beats the default. Every wrong value is
found here, before a thread or a socket exists.
"""

import os
import signal
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, get_args

from . import option_values as values
from .core.retry import RetryStrategy, ScheduleRetry
from .core.settings import CoreSettings, FailureDetails, JournalCommit, OnLeaseLost, Timing
from .errors import ConfigurationError
from .observability.callbacks import Callback
from .transport.urls import check_plain

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from .execution.executor import ExecutorFactory

Isolation = Literal["thread", "none"]
JournalSync = Literal["normal", "full"]
RewriteEndpoint = Callable[[str], str | Awaitable[str]]
"""From the URL of the gateway to the one to dial; a plain or an async function."""
ExecutionContext = Callable[[], AbstractContextManager[object]]
"""Returns what each execution is run in."""

_process_suffix = uuid.uuid4().hex[:6]


def default_instance_id() -> str:
    """Return the host and a suffix of this process, so that processes of one host differ."""
    return f"{socket.gethostname()}-{_process_suffix}"


def _renew_suffix() -> None:
    """Runs in a forked child, which would share a limit with its parent under the same id."""
    global _process_suffix  # noqa: PLW0603 - a fact about the process
    _process_suffix = uuid.uuid4().hex[:6]


os.register_at_fork(after_in_child=_renew_suffix)


@dataclass(frozen=True, slots=True)
class Option:
    """What the table has about an option besides its name and type."""

    check: values.Check
    help: str
    """For the docstring of ``connect()``, ``--help`` and docs/configuration.md."""
    default: Any = None
    """In the signature of ``connect()``."""
    otherwise: Callable[[], Any] = lambda: None
    """Creates the value that replaces None when the default is None."""
    shown_default: str = "none"
    variable: str | None = None
    read: Callable[[str, str], Any] = lambda name, text: text
    """What the text of the variable means, before the check."""
    changeable: bool = True
    """Whether ``ConnectOptions.changed`` takes it."""


_P = ParamSpec("_P")


def _as_field(make: Callable[_P, Option]) -> Callable[_P, Any]:
    """Keep the parameters of ``make``, so that type checkers check each row of the table."""
    return lambda *args, **kwargs: field(metadata={"option": make(*args, **kwargs)})


option = _as_field(Option)
"""A dataclass field with an ``Option``, whose arguments it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectOptions:
    """The options of ``connect()``, checked, in the order of its signature."""

    instance_id: str = option(
        values.instance_name,
        "Identifies this process across its reconnects; unique per process, because processes that "
        "share an id share one concurrency limit.",
        otherwise=default_instance_id,
        shown_default="the hostname and a suffix",
        variable="INNGEST_CONNECT_INSTANCE_ID",
    )
    rewrite_gateway_endpoint: RewriteEndpoint | None = option(
        values.endpoint_function,
        "Takes the gateway's URL and returns the one to dial. A plain function runs on a thread, "
        "an async one on the event loop of ``start()``. If it raises, returns something else, or "
        "takes longer than 4 s, the attempt fails with an error that names it.",
    )
    shutdown_signals: Sequence[signal.Signals] = option(
        values.signals,
        "Signals that close the worker; a second one stops it immediately. ``start()`` and "
        "``run()`` handle them on the main thread and restore the handlers afterwards; "
        "``async with`` handles none. ``[]`` for none.",
        otherwise=lambda: (signal.SIGINT, signal.SIGTERM),
        shown_default="SIGTERM and SIGINT",
    )
    max_worker_concurrency: int | None = option(
        values.count,
        "Functions that run at the same time. Further requests are acknowledged, leased, and "
        "queued.",
        shown_default="no limit",
        variable="INNGEST_CONNECT_MAX_WORKER_CONCURRENCY",
        read=values.number,
    )
    gateway_url: str | None = option(
        values.gateway_address,
        "The gateway to dial instead of the one that the API names.",
        variable="INNGEST_CONNECT_GATEWAY_URL",
    )
    api_origin: str | None = option(
        values.api_address,
        "The API that the worker asks for a gateway, instead of the one of the clients. Events "
        "that functions send still go where their client sends them.",
        shown_default="the clients' own",
        variable="INNGEST_CONNECT_API_ORIGIN",
        changeable=False,
    )
    on: Mapping[str, Callback] = option(
        values.listeners,
        "Event listeners by event name, as for ``add_event_listener()``: plain functions, called "
        "on the event loop of ``start()``, or async ones, which run there and get the next event "
        "when they have returned.",
        otherwise=dict,
        changeable=False,
    )
    isolation: Isolation = option(
        values.one_of(*get_args(Isolation)),
        '"thread" keeps the connection on its own thread, so that a function that blocks the event '
        'loop costs no heartbeat and no lease; "none" runs connection and functions on one loop. '
        'The variable is 0 or false for "none".',
        otherwise=lambda: "thread",
        shown_default='"thread"',
        variable="INNGEST_CONNECT_ISOLATE_EXECUTION",
        read=values.isolation,
    )
    startup_timeout: float | None = option(
        values.seconds,
        "Seconds after which ``start()`` gives up on a first connection.",
        shown_default="no limit, it waits until an outage ends",
        variable="INNGEST_CONNECT_STARTUP_TIMEOUT",
        read=values.number,
    )
    shutdown_timeout: float | None = option(
        values.seconds,
        "Seconds that work in flight has to finish after the first signal or ``close()``.",
        shown_default="no limit",
        variable="INNGEST_CONNECT_SHUTDOWN_TIMEOUT",
        read=values.number,
    )
    on_lease_lost: OnLeaseLost = option(
        values.one_of(*get_args(OnLeaseLost)),
        '"continue" lets a function whose lease was refused finish, "cancel" cancels it if it is '
        "async. What it returns is delivered in either case.",
        default="continue",
        shown_default='"continue"',
    )
    retry: RetryStrategy = option(
        values.retry_strategy,
        "When to connect again: an object with ``delay(failures, random) -> seconds``. Yours is "
        "called on a thread, for at most 4 s; when it fails, the default is used for that attempt.",
        otherwise=ScheduleRetry,
        shown_default="``ScheduleRetry()``, after 0 to 1, 1, 2, 5, 10, 20, 30, 60, 120, 300 s",
    )
    long_running_warning: float | None = option(
        values.warning_age,
        "Seconds after which a function that still runs is reported as an ``error`` of kind "
        "``function_long_running``, and again each time it is twice as old. None for never.",
        default=3600.0,
        shown_default="3600",
    )
    failure_details: FailureDetails = option(
        values.one_of(*get_args(FailureDetails)),
        "How much of an exception of a function is shown in log, events and status page: its "
        '"traceback", its "message" without that, its "type" alone, or "none", which writes no '
        "record either. Its text may contain what the function works with.",
        otherwise=lambda: "traceback",
        shown_default='"traceback"',
        variable="INNGEST_CONNECT_FAILURE_DETAILS",
    )
    max_buffer_bytes: int = option(
        values.buffer_size,
        "Bytes of replies that the server has not stored yet; beside them each costs some 3 KiB. "
        "Above three quarters no further function is started.",
        default=500 * 1024 * 1024,
        shown_default="500 MiB",
    )
    journal: str | None = option(
        values.file_path,
        "The file of the journal, with which results and unfinished requests survive the end of "
        "the process by SIGKILL; one for each worker process. See docs/journal.md.",
        variable="INNGEST_CONNECT_JOURNAL",
    )
    journal_commit: JournalCommit = option(
        values.one_of(*get_args(JournalCommit)),
        '"beside" offers a reply while the journal is written, "required" when it has been. What '
        "a disk does not take within 5 s is offered in either case.",
        default="beside",
        shown_default='"beside"',
    )
    journal_sync: JournalSync = option(
        values.one_of(*get_args(JournalSync)),
        '"normal" survives the end of the process, "full" that of the machine: each transaction '
        "then waits for the disk.",
        default="normal",
        shown_default='"normal"',
    )
    max_message_bytes: int = option(
        values.message_size,
        "The largest message accepted from the gateway, in bytes.",
        default=16 * 1024 * 1024,
        shown_default="16 MiB",
    )
    timing: Timing = option(
        values.timing,
        "Time limits of the protocol, in seconds.",
        otherwise=Timing,
        shown_default="``Timing()``",
    )
    logger: Any = option(
        values.anything,
        "A ``logging.Logger``, a structlog logger, or False for silence; see docs/logging.md.",
        shown_default='the logger "inngest_connect"',
        changeable=False,
    )
    meter_provider: "MeterProvider | None" = option(
        values.provider_with("get_meter"),
        "The OpenTelemetry provider that metrics go to; see docs/metrics.md.",
        shown_default="the global one",
    )
    tracer_provider: "TracerProvider | None" = option(
        values.provider_with("get_tracer"),
        "The OpenTelemetry provider that the spans of executions go to.",
        shown_default="the global one",
    )
    executor: "ExecutorFactory | None" = option(
        values.executor_factory,
        "Where functions run; ``process_executor(...)`` is for child processes, docs/processes.md.",
        shown_default="on the event loop of ``start()``, sync functions in threads",
    )
    execution_context: ExecutionContext | None = option(
        values.context_function,
        "Returns a context manager, which is entered around each execution and sees its context "
        "variables; child processes import it. If entering it raises, the attempt fails and is "
        "repeated. Sentry and Django need none: see docs/how-to/sentry.md.",
    )
    wait: bool = option(
        values.switch,
        "Whether ``async with`` waits until the first connection is ACTIVE, however long an outage "
        "lasts, instead of starting its body immediately.",
        default=False,
        shown_default="False",
    )

    def changed(self, **changes: Any) -> "ConnectOptions":
        """Return a copy with ``changes``. Raises ConfigurationError, as ``connect()`` does."""
        known = [name for name, row in OPTIONS.items() if row.changeable]
        unknown = sorted(changes.keys() - known)
        if unknown and unknown[0] in OPTIONS:
            raise ConfigurationError(
                f"{unknown[0]} cannot be changed any more; pass it to connect()"
            )
        if unknown:
            raise ConfigurationError(
                f"there is no option {unknown[0]!r}; there are: {', '.join(known)}"
            )
        current = {name: getattr(self, name) for name in OPTIONS}
        return resolve_options({}, **{**current, **changes})

    def core_settings(self, *, signing_keys: int, api_origin: str) -> CoreSettings:
        """Return what the core needs: of these, the options of the same name."""
        wanted = {each.name for each in fields(CoreSettings)}
        given = {name: getattr(self, name) for name in OPTIONS if name in wanted}
        limits = {each.name: getattr(self.timing, each.name) for each in fields(Timing)}
        # The shells limit each call and dial; the core's limits only catch what they miss.
        limits["start_timeout"] += 5.0
        limits["open_timeout"] += 1.0
        given["api_origin"] = api_origin  # without user information, as it is shown
        return CoreSettings(**given, **limits, signing_keys=signing_keys)


OPTIONS: Final[Mapping[str, Option]] = {
    each.name: each.metadata["option"] for each in fields(ConnectOptions)
}


def resolve_options(environment: Mapping[str, str] | None = None, **given: Any) -> ConnectOptions:
    """Check ``given`` and complete it. Raises ConfigurationError for the first wrong value.

    ``environment`` is by default that of the process.
    """
    environment = os.environ if environment is None else environment
    resolved = {}
    for name, row in OPTIONS.items():
        source, value = name, given.get(name, row.default)
        if value is None and row.variable is not None:
            text = check_plain(row.variable, environment.get(row.variable, "").strip())
            if text:
                source, value = row.variable, row.read(row.variable, text)
        if value is None and row.default is None:
            resolved[name] = row.otherwise()
        else:
            resolved[name] = row.check(source, value)
    return ConnectOptions(**resolved)
