"""ChildPool: keeps as many children serving as were asked for. Everything runs on the I/O loop.

A child that dies is replaced immediately, with growing delays while children do not even become
ready. A child that is used up serves until its successor is ready, one at a time, so a replacement
neither costs capacity nor starts many processes together. If no successor can be started, the old
children still serve.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ...core.events import ErrorOccurred
from ...errors import ConfigurationError
from ...observability.debug_state import ChildProcess
from ..executor import ExecutorPorts
from .child import Child
from .interpreter import resident_bytes

_MOST_FAILURES: Final = 10
"""Starts that may fail in a row, with no other child to serve, before the worker gives up."""
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 30.0
_READY_TIMEOUT: Final = 120.0
_MEMORY_INTERVAL: Final = 1.0
_WARN_AT: Final = 0.8
"""Share of ``max_memory_bytes`` above which there is a warning."""
_KILLED_BY_THEN: Final = 10.0
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """See ``process_executor``."""

    target: str
    processes: int
    max_executions: int | None
    max_memory_bytes: int | None
    max_in_flight: int
    stop_timeout: float
    prepare: str | None = None
    execution_context: str | None = None


class ChildPool:
    """``on_settled`` is called when a child may accept more requests."""

    def __init__(
        self, settings: ProcessSettings, ports: ExecutorPorts, on_settled: Callable[[], None]
    ) -> None:
        self.serving: list[Child] = []
        """Those that take requests, oldest first."""
        self.broken: ConfigurationError | None = None
        """Why no child can be started any more."""
        self._settings = settings
        self._ports = ports
        self._on_settled = on_settled
        self._loop: asyncio.AbstractEventLoop
        self._children: set[Child] = set()
        """All that have not ended."""
        self._expiring: set[Child] = set()
        """Those that are to be replaced."""
        self._warned: set[Child] = set()
        """Those whose memory was warned of."""
        self._started: asyncio.Future[None] | None = None
        """While the first children start."""
        self._stopping = False
        self._ended = asyncio.Event()
        self._failures = 0
        self._retry: asyncio.TimerHandle | None = None
        self._memory_timer: asyncio.TimerHandle | None = None
        self._launches: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Return when all are ready. Raises ConfigurationError when one cannot be."""
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.create_future()
        self._top_up()
        try:
            await self._started
        finally:
            self._started = None
        if self._settings.max_memory_bytes is not None:
            self._memory_timer = self._loop.call_later(_MEMORY_INTERVAL, self._check_memory)

    async def stop(self) -> None:
        """Stop every child and wait for its end, by SIGKILL if necessary."""
        self._stopping = True
        for timer in (self._retry, self._memory_timer):
            if timer is not None:
                timer.cancel()
        await asyncio.gather(*self._launches)
        for child in tuple(self._children):
            child.stop()
        if self._children:
            limit = self._settings.stop_timeout + _KILLED_BY_THEN
            with contextlib.suppress(TimeoutError):  # not even SIGKILL ends it
                await asyncio.wait_for(self._ended.wait(), limit)

    def child_with(self, request_id: str) -> Child | None:
        """The child that runs the request; it need not be serving any more."""
        return next((each for each in self._children if request_id in each.in_flight), None)

    def child_processes(self) -> tuple[ChildProcess, ...]:
        """All that have not ended, by process id. From any thread."""
        shown = []
        for child in tuple(self._children):
            status = "SERVING" if child in self.serving else "REPLACED"
            if not child.ready:
                status = "STARTING"
            elif child.stopping:
                status = "STOPPING"
            shown.append(ChildProcess(child.pid, len(child.in_flight), child.executions, status))
        return tuple(sorted(shown, key=lambda child: child.pid))

    def expire(self, child: Child) -> None:
        """Replace it as soon as its successor is ready."""
        self._expiring.add(child)
        self._top_up()

    # --- what happens to children ----------------------------------------------------------

    def child_ready(self, child: Child, functions: Mapping[str, frozenset[str]]) -> None:
        """Let it serve, in place of one that is used up if there is one; or refuse it."""
        unfit = self._unfit(child, functions)
        if unfit is not None:
            child.refuse(unfit)
            return
        self._failures = 0
        self.serving.append(child)
        if len(self.serving) > self._settings.processes:
            used_up = next(each for each in self.serving if each in self._expiring)
            self.serving.remove(used_up)
            self._stop_if_idle(used_up)
        complete = len(self.serving) == self._settings.processes
        # Done already when ``start`` was cancelled, or another child failed, a moment ago.
        if complete and self._started is not None and not self._started.done():
            self._started.set_result(None)
        self._top_up()

    def _unfit(self, child: Child, functions: Mapping[str, frozenset[str]]) -> str | None:
        for app, slugs in self._ports.functions.items():
            missing = sorted(slugs - functions.get(app, frozenset()))
            if missing:
                return f"does not have {', '.join(missing)}, which connect() was given"
        limit = self._settings.max_memory_bytes
        if limit is not None and self._started is not None:
            used = resident_bytes(child.pid)
            if used > limit:
                return f"uses {used} bytes before any work, and max_memory_bytes is {limit}"
        return None

    def _stop_if_idle(self, child: Child) -> None:
        if child.ready and not child.in_flight and child not in self.serving:
            child.stop()

    def child_settled(self, child: Child) -> None:
        """Stop it if it has finished its last request; let the others have more."""
        self._stop_if_idle(child)
        self._on_settled()

    def child_ended(self, child: Child) -> None:
        """Replace it, unless it was stopped."""
        self._children.discard(child)
        self._expiring.discard(child)
        self._warned.discard(child)
        if child in self.serving:
            self.serving.remove(child)
        if self._stopping:
            if not self._children:
                self._ended.set()
        elif not child.ready:
            self._start_failed(child.how_it_ended())
        elif not child.stopping:
            self._observe(
                "child_process_died",
                f"child process {child.pid} {child.how_it_ended()}; {len(child.in_flight)} "
                "request(s) in it are answered with a retryable error, and it is replaced",
            )
            self._top_up()

    def _observe(self, kind: str, text: str) -> None:
        self._ports.observe(ErrorOccurred(kind, text))

    # --- starting them ---------------------------------------------------------------------

    def _top_up(self) -> None:
        """Start as many as are missing, or one successor. Called whenever either may change."""
        if self._stopping or self._retry is not None:
            return
        settings = self._settings
        starting = sum(1 for child in self._children if not child.ready)
        missing = settings.processes - len(self.serving) - starting
        if missing == 0 and any(child in self._expiring for child in self.serving):
            missing = 1
        for _ in range(missing):
            child = Child(
                {
                    "target": settings.target,
                    "prepare": settings.prepare,
                    "execution_context": settings.execution_context,
                },
                settings.stop_timeout,
                self._loop,
                self,
                self._ports.post,
                self._ports.observe,
            )
            self._children.add(child)
            launch = self._loop.create_task(child.launch(_READY_TIMEOUT))
            self._launches.add(launch)
            launch.add_done_callback(self._launches.discard)

    def _start_failed(self, how: str) -> None:
        target = self._settings.target
        if self._started is not None:
            if not self._started.done():
                error = ConfigurationError(f"a child process for {target!r} {how}")
                self._started.set_exception(error)
            return
        if self._retry is not None:
            return  # of several that failed together the first one counts
        self._failures += 1
        if self._failures >= _MOST_FAILURES and not self.serving:
            text = f"no child process for {target!r} can be started; the last one {how}"
            self.broken = ConfigurationError(text)
        delay = min(_FIRST_DELAY * 2 ** (self._failures - 1), _LONGEST_DELAY)
        self._retry = self._loop.call_later(delay, self._try_again)
        self._observe(
            "child_process_died",
            f"a new child process {how}; the next one is started in {delay:g} s",
        )

    def _try_again(self) -> None:
        self._retry = None
        self._top_up()

    # --- memory ----------------------------------------------------------------------------

    def _check_memory(self) -> None:
        limit = self._settings.max_memory_bytes
        assert limit is not None
        for child in tuple(self.serving):
            if child in self._expiring or not child.executions:
                continue
            used = resident_bytes(child.pid)
            text = f"child process {child.pid} uses {used / _MIB:.0f} MiB"
            if used > limit:
                text = f"{text}, more than max_memory_bytes; it is replaced"
                self._observe("child_process_memory", text)
                self.expire(child)
            elif used > limit * _WARN_AT and child not in self._warned:
                self._warned.add(child)
                text = f"{text}; above max_memory_bytes, {limit / _MIB:.0f} MiB, it is replaced"
                self._observe("child_process_memory", text)
        self._memory_timer = self._loop.call_later(_MEMORY_INTERVAL, self._check_memory)
