"""ProcessExecutor: runs functions in child processes, behind the one connection of this process.

Everything here runs on the I/O loop. Requests go to the child that has the fewest; what no child
may take yet waits here, where any of them can get it. A child that dies answers for its requests
with a retryable error.
"""

import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ...core.inputs import ExecutionFinished, FunctionMisbehaved
from ...core.wire.user_text import is_a, shown_value
from ...errors import ConfigurationError
from ...option_values import is_seconds
from ...protocol import connect_pb2 as pb
from ..executor import LOOP_GONE, ExecutorFactory, ExecutorPorts
from . import process_wire as wire
from .child_handle import ChildHandle
from .child_pool import ChildPool, ProcessSettings
from .import_path import import_path

MOST_PROCESSES: Final = 1_000


def process_executor(
    target: str | Callable[[], Any],
    processes: int,
    *,
    max_executions: int | None = None,
    max_memory_bytes: int | None = None,
    max_in_flight: int = 100,
    stop_timeout: float = 5.0,
) -> ExecutorFactory:
    """An ``executor`` for ``connect()`` that runs functions in child processes.

    Args:
        target: Where a child imports the apps from: "module:attribute", naming a list of apps or a
            function that returns one, or such a function of a module.
        processes: How many children serve at once.
        max_executions: Requests after which a child is replaced. Default: never.
        max_memory_bytes: Resident memory above which a child is replaced, with a warning at 80 %.
            Default: never. Needs a system with /proc.
        max_in_flight: Requests that one child has at once; more wait in this process.
        stop_timeout: Seconds that a child gets to end at the shutdown, before it is killed.

    Raises ConfigurationError, with the value and the remedy, for anything wrong in the above.
    """
    if not hasattr(sys, "abiflags"):
        raise ConfigurationError("process_executor() needs a POSIX system; leave executor out")
    if getattr(sys, "frozen", False):
        raise ConfigurationError(
            "process_executor() needs a Python interpreter to start child processes with, and this "
            "program is frozen: its executable would start the whole program again. Leave executor "
            "out, or run the program from its sources"
        )
    _check_whole("processes", processes)
    if processes > MOST_PROCESSES:
        raise ConfigurationError(
            f"processes is {shown_value(processes)}; pass at most {MOST_PROCESSES}, and several "
            "workers for more"
        )
    if max_executions is not None:
        _check_whole("max_executions", max_executions)
    if max_memory_bytes is not None:
        check_memory_limit(max_memory_bytes)
    _check_whole("max_in_flight", max_in_flight)
    if not is_seconds(stop_timeout) or stop_timeout <= 0:
        raise ConfigurationError(
            f"stop_timeout is {shown_value(stop_timeout)}; pass seconds above 0"
        )
    settings = ProcessSettings(
        import_path(target),
        processes,
        max_executions,
        max_memory_bytes,
        max_in_flight,
        float(stop_timeout),
    )
    return lambda ports: ProcessExecutor(ports, settings)


def _check_whole(name: str, value: int) -> None:
    if not is_a(value, int) or value < 1:
        raise ConfigurationError(f"{name} is {shown_value(value)}; pass a whole number from 1")


def check_memory_limit(value: int, statm: Path = Path("/proc/self/statm")) -> None:
    """Raises ConfigurationError, also where memory cannot be read."""
    _check_whole("max_memory_bytes", value)
    if not statm.exists():
        raise ConfigurationError(
            f"max_memory_bytes is {value}, but this system has no /proc to read the memory of a "
            "process from; use max_executions"
        )


class ProcessExecutor:
    """Made by ``process_executor``."""

    def __init__(self, ports: ExecutorPorts, settings: ProcessSettings) -> None:
        self._ports = ports
        self._settings = settings
        self._pool = ChildPool(settings, ports.functions, ports.observe, self)
        self._owners: dict[str, ChildHandle] = {}
        self._waiting: deque[pb.GatewayExecutorRequestData] = deque()

    @property
    def running(self) -> int:
        return len(self._owners) + len(self._waiting)

    async def start(self) -> None:
        _check_not_in_child(self._settings.target)
        await self._pool.start()

    async def stop(self) -> None:
        for request in tuple(self._waiting):
            self._drop(request)
        await self._pool.stop()
        if self._pool.broken is not None:
            raise self._pool.broken

    async def wait_stopped(self, timeout: float) -> None:
        """Nothing runs on the caller's loop; ``stop`` is for the children."""

    def gone(self) -> str | None:
        if self._pool.broken is not None:
            return str(self._pool.broken)
        return LOOP_GONE if self._ports.loop.is_closed() else None

    # --- requests --------------------------------------------------------------------------

    def submit(self, request: pb.GatewayExecutorRequestData) -> None:
        self._waiting.append(request)

    def flush(self) -> None:
        while self._waiting:
            child = self._least_busy()
            if child is None:
                break
            request = self._waiting.popleft()
            self._owners[request.request_id] = child
            child.run(request)
            if child.executions == self._settings.max_executions:
                self._pool.expire(child)
        for child in self._pool.serving:
            child.flush()

    def _least_busy(self) -> ChildHandle | None:
        limit = self._settings.max_in_flight
        free = [c for c in self._pool.serving if c.writable and len(c.in_flight) < limit]
        return min(free, key=lambda child: len(child.in_flight)) if free else None

    def cancel(self, request_id: str) -> None:
        child = self._owners.get(request_id)
        if child is not None:
            child.cancel(request_id)
            return
        for request in self._waiting:
            if request.request_id == request_id:
                self._drop(request)
                return

    def _drop(self, request: pb.GatewayExecutorRequestData) -> None:
        """No child has heard of it."""
        self._waiting.remove(request)
        self._ports.report(ExecutionFinished(request.request_id, None))

    # --- what children tell ----------------------------------------------------------------

    def child_ready(self, child: ChildHandle, functions: dict[str, frozenset[str]]) -> None:
        self._pool.child_ready(child, functions)

    def child_finished(self, child: ChildHandle, finished: ExecutionFinished) -> None:
        del self._owners[finished.request_id]
        self._ports.report(finished)

    def child_noticed(self, notice: FunctionMisbehaved) -> None:
        self._ports.misbehaved(notice)

    def child_settled(self, child: ChildHandle) -> None:
        self._pool.child_settled(child)
        self.flush()

    def child_ended(self, child: ChildHandle) -> None:
        result = None
        if not self._pool.stopping:
            text = f"the process that ran this function {child.how_it_ended()}"
            result = wire.error_result("child_process_died", text)
        for request_id in child.in_flight:
            del self._owners[request_id]
            self._ports.report(ExecutionFinished(request_id, result))
        self._pool.child_ended(child)


def _check_not_in_child(target: str) -> None:
    spec = sys.modules["__main__"].__spec__
    if spec is not None and spec.name == wire.CHILD_MODULE:
        raise ConfigurationError(
            f"importing {target!r} starts a worker, so each child process would start one too; "
            'put the start below: if __name__ == "__main__":'
        )
