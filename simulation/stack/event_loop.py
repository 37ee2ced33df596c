"""VirtualLoop: an asyncio event loop whose clock is the simulation's, on a simulated thread."""

import asyncio
import contextvars
import heapq
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from .threads import FOREVER, Machine


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs its handles in asyncio's order; other threads may run between any two of them."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine
        machine.loops.append(self)
        self._ready: Any
        self._stopping: bool
        self._scheduled: list[Any]
        self._clock_resolution = 1e-9
        self._in_turn = 0
        self.errors: list[dict[str, Any]] = []
        """What was passed to the exception handler."""
        self.set_exception_handler(lambda _, context: self.errors.append(context))

    def time(self) -> float:
        """Virtual seconds."""
        return self._machine.monotonic()

    def due(self) -> float:
        """When the thread that runs this loop may continue."""
        if self._in_turn or self._ready or self._stopping:
            return 0.0
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        return scheduled[0]._when if scheduled else FOREVER

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """As in asyncio, for the loop's own thread only."""
        self._check_caller()
        return super().call_soon(callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """As in asyncio, for the loop's own thread only."""
        self._check_caller()
        return super().call_at(when, callback, *args, context=context)

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """As in asyncio. The wake-up of another thread gives the interpreter lock away."""
        handle = super().call_soon_threadsafe(callback, *args, context=context)
        if self._thread_id is not None and self._thread_id != id(self._machine.running):
            self._machine.preempt()
        return handle

    def _check_caller(self) -> None:
        if self._thread_id is not None and self._thread_id != id(self._machine.running):
            self._machine.violated("a loop is used by another thread than its own")

    def run_forever(self) -> None:
        """As in asyncio, but for the hooks of asynchronous generators, which are the process's."""
        self._check_closed()  # type: ignore[attr-defined]
        self._check_running()  # type: ignore[attr-defined]
        self._thread_id = id(self._machine.current())
        asyncio._set_running_loop(self)
        try:
            while True:
                self._run_once()
                if self._stopping:
                    break
        finally:
            self._stopping = False
            self._thread_id = None  # type: ignore[assignment]
            asyncio._set_running_loop(None)

    def _run_once(self) -> None:
        machine, ready = self._machine, self._ready
        if not (ready or self._stopping):
            machine.block(self)
        now = machine.monotonic() + self._clock_resolution
        while self._scheduled and self._scheduled[0]._when < now:
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False
            ready.append(handle)
        self._in_turn = len(ready)
        try:
            while self._in_turn:
                handle = ready.popleft()
                if not handle._cancelled:
                    machine.block(self)
                    handle._run()
                self._in_turn -= 1
        finally:
            self._in_turn = 0

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def _write_to_self(self) -> None:
        pass  # ``due`` looks at what is ready

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """Call ``func`` on a thread of its own."""
        answer = self.create_future()
        context = contextvars.copy_context()

        def call() -> None:
            try:
                result = context.run(func, *args)
            except BaseException as error:  # noqa: BLE001 - passed to whoever awaits it
                self._answer(answer.set_exception, answer, error)
            else:
                self._answer(answer.set_result, answer, result)

        self._machine.spawn(call, "asyncio_pool")
        return answer

    def _answer(
        self, set_it: Callable[[Any], None], answer: "asyncio.Future[Any]", value: Any
    ) -> None:
        def complete() -> None:
            if not answer.cancelled():
                set_it(value)

        if not self.is_closed():
            self.call_soon_threadsafe(complete)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing is pooled. ``asyncio.Runner`` calls it."""
