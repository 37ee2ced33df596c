"""ProcessExecutor: runs functions in child processes, behind the one connection of this process.

Everything here runs on the I/O loop. A request goes to the child with the fewest; what no child may
take yet waits here, where the next child that is free takes it. A child that dies answers for its
requests with a retryable error.
"""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ...core.settings import is_seconds
from ...core.wire.user_text import is_a, shown_value
from ...errors import ConfigurationError
from ...observability.debug_state import ChildProcess
from ...protocol import connect_pb2 as pb
from ..executor import LOOP_CLOSED, ExecutorFactory, ExecutorPorts, WaitingRequests
from .import_path import import_path
from .interpreter import PROGRAM, is_frozen
from .pool import ChildPool, ProcessSettings

MOST_PROCESSES: Final = 1_000
_IS_POSIX: Final = os.name == "posix"
_IMPORTABLE: Final = re.compile(r"\w+(\.\w+)*:\w+")
_STATM: Final = Path("/proc/self/statm")


def process_executor(
    target: str | Callable[[], Any],
    processes: int,
    *,
    max_executions: int | None = None,
    max_memory_bytes: int | None = None,
    max_in_flight: int = 100,
    stop_timeout: float = 5.0,
    prepare: str | None = None,
) -> ExecutorFactory:
    """An ``executor`` for ``connect()`` that runs functions in child processes.

    Args:
        target: Where a child imports the apps from: "module:attribute", naming a list of apps or a
            function that returns one, or such a function of a module.
        processes: How many children serve at a time.
        max_executions: Requests after which a child is replaced. Default: never.
        max_memory_bytes: Resident memory above which a child is replaced, with a warning at 80 %.
            Default: never. Needs a system with /proc.
        max_in_flight: Requests that one child has at a time; more wait in this process.
        stop_timeout: Seconds that a child has to end at the shutdown, before it is killed.
        prepare: A function, "module:function", that each child calls before it imports the apps,
            to configure logging for example. Default: none.

    Raises ConfigurationError, with the value and the remedy, for an option that is wrong.
    """
    if not _IS_POSIX:
        raise ConfigurationError("process_executor() needs a POSIX system; leave executor out")
    if is_frozen():
        raise ConfigurationError(
            "process_executor() needs a Python interpreter to start child processes with, and this "
            "program is frozen: its executable would start the whole program again. Leave executor "
            "out, and start the program several times for more cores; or run it from its sources"
        )
    counts = {"processes": processes, "max_in_flight": max_in_flight}
    if max_executions is not None:
        counts["max_executions"] = max_executions
    if max_memory_bytes is not None:
        counts["max_memory_bytes"] = max_memory_bytes
    for name, value in counts.items():
        if not is_a(value, int) or value < 1:
            raise ConfigurationError(f"{name} is {shown_value(value)}; pass a whole number from 1")
    if processes > MOST_PROCESSES:
        raise ConfigurationError(
            f"processes is {shown_value(processes)}; pass at most {MOST_PROCESSES}, and several "
            "workers for more"
        )
    if max_memory_bytes is not None and not _STATM.exists():
        raise ConfigurationError(
            f"max_memory_bytes is {max_memory_bytes}, but this system has no /proc to read the "
            "memory of a process from; use max_executions"
        )
    if not is_seconds(stop_timeout) or stop_timeout <= 0:
        raise ConfigurationError(
            f"stop_timeout is {shown_value(stop_timeout)}; pass seconds above 0"
        )
    if prepare is not None and not _IMPORTABLE.fullmatch(str(prepare)):
        raise ConfigurationError(
            f"prepare is {shown_value(prepare)}; pass the import path of a function, "
            '"module:function"'
        )
    settings = ProcessSettings(
        import_path(target),
        processes,
        max_executions,
        max_memory_bytes,
        max_in_flight,
        float(stop_timeout),
        prepare,
    )
    return lambda ports: ProcessExecutor(ports, settings)


class ProcessExecutor:
    """See ``process_executor``, which creates it."""

    def __init__(self, ports: ExecutorPorts, settings: ProcessSettings) -> None:
        hook = ports.execution_context
        if hook is not None:
            path = import_path(hook, "execution_context")
            settings = replace(settings, execution_context=path)
        self._ports = ports
        self._settings = settings
        self._pool = ChildPool(settings, ports, self.flush)
        self._waiting = WaitingRequests(ports.post)

    async def start(self) -> None:
        """Return when all children are ready. Raises ConfigurationError when one cannot be."""
        program = sys.modules["__main__"].__spec__
        if program is not None and program.name == PROGRAM:
            raise ConfigurationError(
                f"importing {self._settings.target!r} starts a worker, so each child process would "
                'start one too; put the start below: if __name__ == "__main__":'
            )
        await self._pool.start()

    async def stop(self) -> None:
        """Stop all children; raises the error that ended the pool."""
        self._waiting.cancel()
        await self._pool.stop()
        if self._pool.broken is not None:
            raise self._pool.broken

    async def wait_stopped(self, timeout: float) -> None:
        """Nothing runs on the application's event loop; see ``stop``."""

    def failure(self) -> str | None:
        """Children that cannot be started, or the end of the application's event loop."""
        if self._pool.broken is not None:
            return str(self._pool.broken)
        return LOOP_CLOSED if self._ports.loop.is_closed() else None

    def child_processes(self) -> tuple[ChildProcess, ...]:
        """Those that have not ended, by process id."""
        return self._pool.child_processes()

    def submit(self, request: pb.GatewayExecutorRequestData) -> None:
        """Let it wait for the next ``flush``."""
        self._waiting.append(request)

    def flush(self) -> None:
        """Give children what they may take, and write once to each.

        Called after each batch of requests, and whenever a child may accept more.
        """
        serving, limit = self._pool.serving, self._settings.max_in_flight
        while self._waiting:
            # A child that reads slowly is not writable, and gets no more until it has caught up.
            free = [each for each in serving if each.writable and len(each.in_flight) < limit]
            if not free:
                break
            child = min(free, key=lambda each: len(each.in_flight))
            child.run(self._waiting.popleft())
            if child.executions == self._settings.max_executions:
                self._pool.expire(child)
        for child in serving:
            child.flush()

    def cancel(self, request_id: str) -> None:
        """Ask the child that has the request, or drop it here."""
        child = self._pool.child_with(request_id)
        if child is not None:
            child.cancel(request_id)
        else:
            self._waiting.cancel(request_id)
