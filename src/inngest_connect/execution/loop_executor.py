"""LoopExecutor: runs functions on the caller's event loop, the default.

Async functions run there directly, sync functions in the SDK's thread pool. Requests cross to that
loop in batches and results cross back the same way: neither side pays one wake-up a message.
"""

import asyncio
import contextvars
import json
import os
import traceback
from collections import deque
from typing import Final

from ..aio.io_thread import HandOver
from ..aio.process_exit import release
from ..core.inputs import ExecutionFinished, FunctionMisbehaved
from ..core.wire.messages import ExecutionResult
from ..core.wire.user_text import class_name, error_message, guarded, is_a
from ..protocol import connect_pb2 as pb
from ..sdk.outputs import LONGEST_ERROR_TEXT
from .executor import LOOP_GONE, ExecutorPorts
from .user_exits import (
    EXITS,
    FunctionExited,
    Origin,
    current_function,
    describe_exit,
    guard_tasks,
    is_ctrl_c,
)

STARTS_PER_TURN: Final = 4
"""Functions started in one turn of the caller's loop. Starting a hundred at once makes them advance
in lockstep: all are late together, the objects of all are alive together, which costs the garbage
collector a third of the processor time, and nothing else on that loop gets a turn meanwhile.
"""

_FOREIGN_CANCEL_DELAY: Final = 0.1
"""Seconds until a task that somebody else cancelled is judged. When the application's loop ends, it
cancels the tasks of functions together with ``start()``, whose abort then arrives within that time.
"""

Work = pb.GatewayExecutorRequestData | str
"""A request to run, or the id of one to cancel."""


class LoopExecutor:
    """Construct it on the caller's loop: functions see the context variables of that moment."""

    def __init__(self, ports: ExecutorPorts) -> None:
        self._loop = ports.loop
        self._run_request = ports.run_request
        self._can_cancel = ports.can_cancel
        self._report = ports.report
        self._misbehaved = ports.misbehaved
        self._uncancellable: set[str] = set()
        self._cancelled: set[str] = set()
        """Running requests whose cancellation was asked for."""
        self._doubtful: dict[str, asyncio.TimerHandle] = {}
        """Requests whose tasks somebody else cancelled."""
        self._process = os.getpid()
        self._context = contextvars.copy_context()
        self._tasks: dict[str, asyncio.Task[ExecutionResult]] = {}
        self._waiting: deque[pb.GatewayExecutorRequestData] = deque()
        self._turn_planned = False
        self._work: HandOver[Work] = HandOver(
            ports.loop, self._take, ports.on_loop_gone, self._start_some
        )
        self._release_tasks = guard_tasks(ports.loop)

    async def start(self) -> None:
        """Nothing to get ready: the caller's loop runs."""

    def submit(self, request: pb.GatewayExecutorRequestData) -> None:
        self._work.add(request)

    def flush(self) -> None:
        # A turn that is planned takes what it finds, and a wake-up gives the interpreter lock away.
        if not self._turn_planned:
            self._work.wake()

    def cancel(self, request_id: str) -> None:
        self._work.put(request_id)

    def gone(self) -> str | None:
        return LOOP_GONE if self._loop.is_closed() else None

    async def stop(self) -> None:
        """Nothing runs on the I/O loop; ``wait_stopped`` is for the caller's."""

    @property
    def running(self) -> int:
        """Functions that have not ended, cancelled ones included."""
        return len(self._tasks) + len(self._waiting) + len(self._doubtful)

    async def wait_stopped(self, timeout: float) -> None:
        """Call on the caller's loop: cancel what still runs and give it ``timeout`` seconds."""
        for request in tuple(self._waiting):
            self._drop(request)
        self._cancelled.update(self._tasks)
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            tasks = list(self._tasks.values())
            try:
                await asyncio.wait(tasks, timeout=timeout)
            finally:
                # They swallow their cancellation, and asyncio.run would wait for them indefinitely.
                if left := [task for task in tasks if not task.done()]:
                    release(self._loop, left)
            await asyncio.sleep(0)  # the done-callbacks report in the next turn
        for request_id in tuple(self._doubtful):
            self._settle(request_id, None)
        self._release_tasks()

    def _take(self, work: Work) -> None:
        if isinstance(work, str):
            self._cancel(work)
        else:
            self._waiting.append(work)

    def _cancel(self, request_id: str) -> None:
        task = self._tasks.get(request_id)
        if task is not None:
            if request_id not in self._uncancellable:
                self._cancelled.add(request_id)
                task.cancel()
            return
        if request_id in self._doubtful:
            self._settle(request_id, None)
            return
        for request in self._waiting:
            if request.request_id == request_id:
                self._drop(request)
                return

    def _drop(self, request: pb.GatewayExecutorRequestData) -> None:
        """It was handed over and never started."""
        self._waiting.remove(request)
        self._report(ExecutionFinished(request.request_id, None))

    def _start_some(self) -> None:
        """Start what may start in this turn, and plan another for the rest."""
        if self._turn_planned:
            return
        for _ in range(min(len(self._waiting), STARTS_PER_TURN)):
            self._start(self._waiting.popleft())
        if self._waiting:
            self._turn_planned = True
            self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        # In this order: what is submitted after the first line wakes this loop by itself.
        self._turn_planned = False
        self._work.drain()

    def _start(self, request: pb.GatewayExecutorRequestData) -> None:
        request_id = request.request_id
        work = self._run(request)
        try:
            # The task copies the context in which it is created. Passing one would be simpler, but
            # not every task factory that a program installs takes it.
            task = self._context.run(self._loop.create_task, work)
        except BaseException as error:  # noqa: BLE001 - of the program's task factory
            work.close()
            self._report(ExecutionFinished(request_id, _failure(error)))
            return
        self._tasks[request_id] = task
        if not self._can_cancel(request):
            # Cancelling would only stop to wait for the thread: it would run on, uncounted.
            self._uncancellable.add(request_id)
        # Not a ``finally`` in the coroutine: a task cancelled before its first step never gets
        # there, and its request would never end.
        task.add_done_callback(lambda ended: self._ended(request_id, ended))

    def _ended(self, request_id: str, task: "asyncio.Task[ExecutionResult]") -> None:
        if os.getpid() != self._process:
            # The function forked and returned in both processes; only the first one answers.
            os._exit(1)
        del self._tasks[request_id]
        self._uncancellable.discard(request_id)
        if not task.cancelled() and task.exception() is None:
            self._cancelled.discard(request_id)
            self._report(ExecutionFinished(request_id, task.result()))
        elif request_id in self._cancelled or not task.cancelled():  # or Ctrl-C ends the program
            self._cancelled.discard(request_id)
            self._report(ExecutionFinished(request_id, None))
        else:
            self._doubtful[request_id] = self._loop.call_later(
                _FOREIGN_CANCEL_DELAY, self._settle, request_id, _CANCELLED_BY_USER_CODE
            )

    def _settle(self, request_id: str, result: ExecutionResult | None) -> None:
        self._doubtful.pop(request_id).cancel()
        self._report(ExecutionFinished(request_id, result))

    async def _run(self, request: pb.GatewayExecutorRequestData) -> ExecutionResult:
        def report(text: str) -> None:
            self._misbehaved(FunctionMisbehaved(request.request_id, text))

        current_function.set(Origin(request.function_slug, report))
        try:
            return await self._run_request(request)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return _failure(error)  # the function raised it by itself
        except FunctionExited as error:
            return _failure(error.__cause__ or error)
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            if is_a(error, *EXITS):
                report(f"function {request.function_slug!r} raised {describe_exit(error)}")
            return _failure(error)


def _failure(error: BaseException) -> ExecutionResult:
    """A retryable error in the shape of the SDK's own, for what the SDK let through.

    Nothing in here may raise, or an acknowledged request would never be answered: the ``__str__``
    of an exception is user code, and so are its notes, its causes and the name of its class.
    """
    message = error_message(error)[:LONGEST_ERROR_TEXT]
    stack = guarded(lambda: "".join(traceback.format_exception(error)), message)
    return _error("unknown", message, class_name(error), stack[:LONGEST_ERROR_TEXT])


def _error(code: str, message: str, name: str, stack: str) -> ExecutionResult:
    body = {"code": code, "message": message, "name": name, "stack": stack}
    return ExecutionResult(pb.SDKResponseStatus.ERROR, json.dumps(body).encode())


_CANCELLED_BY_USER_CODE: Final = _error(
    "unknown",
    "the function's task was cancelled by other code on its event loop",
    "CancelledError",
    "",
)
