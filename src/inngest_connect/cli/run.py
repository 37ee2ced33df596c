"""``inngest-connect run``: one worker in this process, from its import to its exit code."""

import asyncio
import contextlib
import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..connection import WebSocketWorkerConnection
from ..errors import ConfigurationError, ConnectError, WorkerCrashed
from ..execution.processes.executor import process_executor
from ..observability.package_logger import package_logger
from ..options import DEFAULT_SHUTDOWN_SIGNALS
from ..transport.urls import shown_url
from .failures import tell
from .live import LiveView
from .logs import LogFormat, LogLevel, configure_logging
from .reload import end_with_supervisor
from .target import Target, load_target

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C before there is a worker, as shells have it (128 + SIGINT)."""

_log = package_logger("run")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """``changes`` are options of ``connect()`` that were given on the command line."""

    target: str
    changes: Mapping[str, Any]
    processes: int
    """Children that run the functions; 1 for none, they run in this process."""
    http: str | None
    log_level: LogLevel
    log_format: LogFormat
    live: bool
    uvloop: bool
    traceback: bool

    @property
    def with_traceback(self) -> bool:
        return self.traceback or self.log_level == "debug"


def run(options: RunOptions) -> int:
    """Run the worker until it is closed; returns the exit code. Needs the main thread."""
    end_with_supervisor()
    view = LiveView() if options.live and sys.stdout.isatty() else None
    configure_logging(options.log_level, options.log_format, view.handler if view else None)
    try:
        loop_factory = _uvloop_factory() if options.uvloop else None
        target = load_target(options.target)
        worker = target.worker
        worker.reconfigure(shutdown_signals=DEFAULT_SHUTDOWN_SIGNALS, **options.changes)
        if options.processes != 1:
            worker.reconfigure(executor=process_executor(target.name, options.processes))
        # What was imported stays until the end, and this process is ours alone: the collector
        # need not look at it again and again. docs/performance.md has what that saves.
        gc.collect()
        gc.freeze()
        _introduce(target, options.processes)
        with _status_server(worker, options.http), _shown(view, worker):
            worker.run(loop_factory=loop_factory)
        return 0
    except ConnectError as error:
        return tell(error, with_traceback=options.with_traceback)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - told with its traceback
        crash = WorkerCrashed("the worker ended with an unexpected error")
        crash.__cause__ = error
        return tell(crash, with_traceback=True)


def _introduce(target: Target, processes: int) -> None:
    worker = target.worker
    state = worker.get_debug_state()
    apps = [f"{name}@{version or 'unversioned'}" for name, version in state.app_versions.items()]
    _log.info(
        "starting",
        extra={
            "target": target.name,
            "apps": " ".join(apps),
            "functions": sum(len(ids) for ids in worker.functions.values()),
            **({"processes": processes} if processes > 1 else {}),
            "instance_id": state.instance_id,
            "api_origin": shown_url(worker.api_origin),
        },
    )


@contextlib.contextmanager
def _status_server(worker: WebSocketWorkerConnection, address: str | None) -> Iterator[None]:
    if not address:
        yield
        return
    from ..status import StatusServer

    server = StatusServer(worker, address)
    _log.info("serving status", extra={"url": server.start()})
    try:
        yield
    finally:
        server.stop()


@contextlib.contextmanager
def _shown(view: LiveView | None, worker: WebSocketWorkerConnection) -> Iterator[None]:
    if view is None:
        yield
        return
    with view.showing(worker):
        yield


def _uvloop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ModuleNotFoundError:
        raise ConfigurationError(
            "--uvloop needs uvloop, which is not installed\n"
            'Install it with: pip install "inngest-connect[uvloop]"'
        ) from None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
