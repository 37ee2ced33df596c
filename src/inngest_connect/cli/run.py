"""``inngest-connect run``: one worker in this process, from its import to its exit code."""

import asyncio
import contextlib
import gc
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..errors import ConfigurationError, ConnectError, WorkerCrashed
from ..execution.processes.executor import process_executor
from ..observability.package_logger import package_logger
from ..transport.urls import shown_url
from .failures import write_failure
from .live import LiveView
from .logs import LogFormat, LogLevel, child_logging, configure_logging
from .reload import end_with_supervisor
from .target import Target, load_target

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C before there is a worker, as in shells (128 + SIGINT)."""


def run(
    name: str,
    changes: Mapping[str, Any],
    *,
    processes: int,
    http: str | None,
    log_level: LogLevel,
    log_format: LogFormat,
    live: bool,
    uvloop: bool,
    traceback: bool,
) -> int:
    """Run the worker at ``module:attribute`` until it is closed; returns the exit code.

    ``changes`` are the options of ``connect()`` on the command line, ``processes`` the number of
    children that run functions, 1 for none. Needs the main thread.
    """
    end_with_supervisor()
    view = LiveView() if live and sys.stdout.isatty() else None
    configure_logging(log_level, log_format, view.handler if view else None)
    try:
        loop_factory = _uvloop_factory() if uvloop else None
        target = load_target(name)
        worker = target.worker
        # None means the default, whatever the code passes to connect().
        worker.reconfigure(shutdown_signals=None, **changes)
        if processes != 1:
            # Lines of children would break the live view, which has its own handler.
            prepare = None if view else child_logging(log_level, log_format)
            executor = process_executor(target.name, processes, prepare=prepare)
            worker.reconfigure(executor=executor)
        # What was imported stays until the end, and this process runs nothing else: the collector
        # need not scan it again and again. docs/performance.md has what that saves.
        gc.collect()
        gc.freeze()
        package_logger("run").info("starting", extra=_introduction(target, processes))
        with contextlib.ExitStack() as stack:
            if http:
                from ..status import StatusServer

                server = StatusServer(worker, http)
                package_logger("run").info("serving status", extra={"url": server.start()})
                stack.callback(server.stop)
            if view is not None:
                stack.enter_context(view.showing(worker))
            worker.run(loop_factory=loop_factory)
        return 0
    except ConnectError as error:
        return write_failure(error, with_traceback=traceback or log_level == "debug")
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - shown with its traceback
        crash = WorkerCrashed("the worker ended with an unexpected error")
        crash.__cause__ = error
        return write_failure(crash, with_traceback=True)


def _introduction(target: Target, processes: int) -> dict[str, Any]:
    worker = target.worker
    state = worker.get_debug_state()
    apps = [f"{name}@{version or 'unversioned'}" for name, version in state.app_versions.items()]
    return {
        "target": target.name,
        "apps": " ".join(apps),
        "functions": sum(len(ids) for ids in worker.functions.values()),
        **({"processes": processes} if processes > 1 else {}),
        "instance_id": state.instance_id,
        "api_origin": shown_url(worker.api_origin),
    }


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
