"""ChildPool: keeps as many children serving as were asked for. Everything runs on the I/O loop.

One that dies is replaced at once, with growing delays while children do not even become ready. One
that is used up serves until its successor is ready, one at a time, so that replacing them neither
costs capacity nor starts a crowd; and if no successor can be started, the old ones still serve.
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import Final

from ...core.events import ErrorOccurred, Event
from ...core.record import record
from ...errors import ConfigurationError
from . import process_wire as wire
from .child_handle import ChildHandle, ChildOwner

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


@record
class ProcessSettings:
    """See ``process_executor``."""

    target: str
    processes: int
    max_executions: int | None
    max_memory_bytes: int | None
    max_in_flight: int
    stop_timeout: float


class ChildPool:
    """``functions`` are those that every child has to have, by app id."""

    def __init__(
        self,
        settings: ProcessSettings,
        functions: Mapping[str, frozenset[str]],
        observe: Callable[[Event], None],
        owner: ChildOwner,
    ) -> None:
        self.serving: list[ChildHandle] = []
        """Those that take requests, oldest first."""
        self.broken: ConfigurationError | None = None
        """Why there are no children any more."""
        self.stopping = False
        self._settings = settings
        self._functions = functions
        self._observe = observe
        self._owner = owner
        self._loop: asyncio.AbstractEventLoop
        self._children: set[ChildHandle] = set()
        """All that have not ended."""
        self._started: asyncio.Future[None] | None = None
        """While the first children are started."""
        self._ended = asyncio.Event()
        self._failures = 0
        self._retry: asyncio.TimerHandle | None = None
        self._memory_timer: asyncio.TimerHandle | None = None
        self._launches: set[asyncio.Task[None]] = set()

    # --- life ------------------------------------------------------------------------------

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
        """See every child to its end, if need be by SIGKILL."""
        self.stopping = True
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

    # --- what happens to children ----------------------------------------------------------

    def child_ready(self, child: ChildHandle, functions: Mapping[str, frozenset[str]]) -> None:
        unfit = self._unfit(child, functions)
        if unfit is not None:
            child.refuse(unfit)
            return
        self._failures = 0
        self.serving.append(child)
        if len(self.serving) > self._settings.processes:
            self._retire(next(each for each in self.serving if each.expiring))
        if self._started is not None and len(self.serving) == self._settings.processes:
            self._started.set_result(None)
        self._top_up()

    def _unfit(self, child: ChildHandle, functions: Mapping[str, frozenset[str]]) -> str | None:
        settings = self._settings
        for app, slugs in self._functions.items():
            missing = sorted(slugs - functions.get(app, frozenset()))
            if missing:
                return f"does not have {', '.join(missing)}, which connect() was given"
        limit = settings.max_memory_bytes
        if limit is not None and self._started is not None and child.resident_bytes() > limit:
            used = child.resident_bytes()
            return f"uses {used} bytes before any work, and max_memory_bytes is {limit}"
        return None

    def _retire(self, child: ChildHandle) -> None:
        """Its successor is here: no new work, and its end when it has finished what it has."""
        self.serving.remove(child)
        if not child.in_flight:
            child.stop()

    def child_settled(self, child: ChildHandle) -> None:
        if child.ready and not child.in_flight and child not in self.serving:
            child.stop()

    def child_ended(self, child: ChildHandle) -> None:
        self._children.discard(child)
        if child in self.serving:
            self.serving.remove(child)
        if self.stopping:
            if not self._children:
                self._ended.set()
        elif not child.ready:
            self._start_failed(child.how_it_ended())
        elif not child.stopping:
            self._observe(
                ErrorOccurred(
                    "child_process_died",
                    f"child process {child.pid} {child.how_it_ended()}; {len(child.in_flight)} "
                    "request(s) in it are answered with a retryable error, and it is replaced",
                )
            )
            self._top_up()

    def expire(self, child: ChildHandle) -> None:
        """Replace it."""
        child.expiring = True
        self._top_up()

    # --- starting them ---------------------------------------------------------------------

    def _top_up(self) -> None:
        if self.stopping or self._retry is not None:
            return
        starting = sum(1 for child in self._children if not child.ready)
        missing = self._settings.processes - len(self.serving) - starting
        if missing == 0 and any(child.expiring for child in self.serving):
            missing = 1
        for _ in range(missing):
            settings = self._settings
            path = [each for each in sys.path if isinstance(each, str)]
            child = ChildHandle(
                self._loop,
                self._owner,
                wire.Configuration(settings.target, path, settings.stop_timeout),
            )
            self._children.add(child)
            launch = self._loop.create_task(self._launch(child))
            self._launches.add(launch)
            launch.add_done_callback(self._launches.discard)

    async def _launch(self, child: ChildHandle) -> None:
        try:
            await child.launch(_READY_TIMEOUT)
        except OSError as error:
            child.failure = f"could not be started: {error}"
            self.child_ended(child)

    def _start_failed(self, how: str) -> None:
        target = self._settings.target
        if self._started is not None:
            if not self._started.done():
                self._started.set_exception(
                    ConfigurationError(f"a child process for {target!r} {how}")
                )
            return
        if self._retry is not None:
            return
        self._failures += 1
        if self._failures >= _MOST_FAILURES and not self.serving:
            text = f"no child process for {target!r} can be started; the last one {how}"
            self.broken = ConfigurationError(text)
        delay = min(_FIRST_DELAY * 2 ** (self._failures - 1), _LONGEST_DELAY)
        self._retry = self._loop.call_later(delay, self._try_again)
        self._observe(
            ErrorOccurred(
                "child_process_died",
                f"a new child process {how}; the next one is started in {delay:g} s",
            )
        )

    def _try_again(self) -> None:
        self._retry = None
        self._top_up()

    # --- memory ----------------------------------------------------------------------------

    def _check_memory(self) -> None:
        limit = self._settings.max_memory_bytes
        assert limit is not None
        for child in tuple(self.serving):
            if not child.expiring and child.executions:
                self._check_memory_of(child, limit)
        self._memory_timer = self._loop.call_later(_MEMORY_INTERVAL, self._check_memory)

    def _check_memory_of(self, child: ChildHandle, limit: int) -> None:
        used = child.resident_bytes()
        text = f"child process {child.pid} uses {used / _MIB:.0f} MiB"
        if used > limit:
            self._observe(
                ErrorOccurred(
                    "child_process_memory", f"{text}, more than max_memory_bytes; it is replaced"
                )
            )
            self.expire(child)
        elif used > limit * _WARN_AT and not child.warned:
            child.warned = True
            text = f"{text}; above max_memory_bytes, {limit / _MIB:.0f} MiB, it is replaced"
            self._observe(ErrorOccurred("child_process_memory", text))
