"""LoopExecutor: runs functions on the application's event loop. The default executor.

Async functions run there directly, sync functions in the SDK's thread pool. Requests cross to that
loop in batches, and results cross back the same way (``HandOver``).

Which thread does what: ``submit``, ``flush``, ``cancel``, ``failure``, ``start`` and ``stop`` are
called on the I/O thread and touch only ``_work``, whose methods suit any thread, and
``_turn_planned``, which they read. Everything else belongs to the application's event loop.

A request is in one place at a time: in ``_work`` until that loop receives it, in ``_waiting`` until
its turn, in ``_running`` while its task exists, and in ``_doubtful`` after a task was cancelled by
code that is not this executor. It leaves the last place with its ExecutionFinished.
"""

import asyncio
import contextvars
import os
import traceback
from typing import Final

from ..aio.hand_over import HandOver
from ..aio.process_exit import release
from ..core.inputs import AbortRequested, ExecutionFinished
from ..core.wire.messages import ExecutionResult, error_result
from ..core.wire.user_text import class_name, error_message, guarded, is_a
from ..observability.debug_state import ChildProcess
from ..protocol import connect_pb2 as pb
from ..sdk.outputs import LONGEST_ERROR_TEXT
from .executor import LOOP_CLOSED, ExecutorPorts, WaitingRequests
from .user_exits import EXITS, FunctionExited, Origin, current_function, guard_tasks, is_ctrl_c

STARTS_PER_TURN: Final = 4
"""Functions that start in one turn of the application's event loop. A hundred that start in one
turn advance in lockstep: all are late together, the objects of all are alive together, which costs
the garbage collector a third of the processor time, and nothing else on that loop runs meanwhile.
"""

_FOREIGN_CANCEL_DELAY: Final = 0.1
"""Seconds until a task that other code cancelled counts as failed. When the application's event
loop ends, it cancels the tasks of functions together with ``start()``; the abort that follows from
that arrives within this time, and then the functions are cancelled, not failed."""

Request = pb.GatewayExecutorRequestData
Task = asyncio.Task[ExecutionResult]


class LoopExecutor:
    """Create it on the application's event loop.

    Functions see the context variables of that moment.
    """

    def __init__(self, ports: ExecutorPorts) -> None:
        self._loop = ports.loop
        self._run_request = ports.run_request
        self._can_cancel = ports.can_cancel
        self._post = ports.post
        self._process = os.getpid()
        self._context = contextvars.copy_context()
        self._waiting = WaitingRequests(ports.post)
        self._running: dict[str, tuple[Request, Task]] = {}
        self._cancelled: set[str] = set()
        """Running requests that were cancelled from here."""
        self._doubtful: dict[str, asyncio.TimerHandle] = {}
        self._turn_planned = False
        """Whether ``_next_turn`` is scheduled, because not all of ``_waiting`` could start."""
        self._work: HandOver[Request | str] = HandOver(
            ports.loop,
            self._receive,
            on_closed=lambda: ports.post(AbortRequested(LOOP_CLOSED)),
            after=self._start_some,
        )
        """Requests to run, and the ids of requests to cancel."""
        self._release_tasks = guard_tasks(ports.loop)

    # --- on the I/O thread -----------------------------------------------------------------

    async def start(self) -> None:
        """Nothing to prepare: the application's event loop runs."""

    def submit(self, request: Request) -> None:
        """Add it to the batch."""
        self._work.add(request)

    def flush(self) -> None:
        """Wake the application's event loop for the batch, unless it has a turn planned."""
        # The planned turn clears the flag and then drains ``_work``. So if the flag is set here,
        # that drain is still to come and receives what was added before this line.
        if not self._turn_planned:
            self._work.wake()

    def cancel(self, request_id: str) -> None:
        """Ask that loop to cancel the request, wherever it is by then."""
        self._work.put(request_id)

    def failure(self) -> str | None:
        """Only a closed loop prevents functions from running."""
        return LOOP_CLOSED if self._loop.is_closed() else None

    def child_processes(self) -> tuple[ChildProcess, ...]:
        """None: functions run in this process."""
        return ()

    async def stop(self) -> None:
        """Nothing runs on the I/O loop; see ``wait_stopped``."""

    # --- on the application's event loop -----------------------------------------------------

    async def wait_stopped(self, timeout: float) -> None:
        """Post what did not start as cancelled, cancel the rest, and wait."""
        self._waiting.cancel()
        self._cancelled.update(self._running)
        if tasks := [task for _, task in self._running.values()]:
            for task in tasks:
                task.cancel()
            try:
                await asyncio.wait(tasks, timeout=timeout)
            finally:
                # They swallow their cancellation, and asyncio.run would wait for them indefinitely.
                if left := [task for task in tasks if not task.done()]:
                    release(self._loop, left)
            await asyncio.sleep(0)  # done-callbacks run in the next turn
        for request_id in tuple(self._doubtful):
            self._settle(request_id, None)
        self._release_tasks()

    def _receive(self, work: Request | str) -> None:
        if not isinstance(work, str):
            self._waiting.append(work)
        elif work in self._running:
            request, task = self._running[work]
            # For a sync function only the task could be cancelled, not the thread that it waits
            # for: the function would run on, unnoticed.
            if self._can_cancel(request):
                self._cancelled.add(work)
                task.cancel()
        elif work in self._doubtful:
            self._settle(work, None)
        else:
            self._waiting.cancel(work)

    def _start_some(self) -> None:
        """Start what may start in this turn, and plan another turn for the rest."""
        if self._turn_planned:
            return  # this batch came in the middle of a burst, which keeps its pace
        for _ in range(min(len(self._waiting), STARTS_PER_TURN)):
            self._start(self._waiting.popleft())
        if self._waiting:
            self._turn_planned = True
            self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        # In this order. What the I/O thread added before it read the flag as set is drained below;
        # for what it adds afterwards it reads the flag as cleared and wakes this loop.
        self._turn_planned = False
        self._work.drain()

    def _start(self, request: Request) -> None:
        request_id = request.request_id
        work = self._run(request)
        try:
            # The task copies the context in which it is created. Passing one would be simpler, but
            # not every task factory that a program installs accepts it.
            task = self._context.run(self._loop.create_task, work)
        except BaseException as error:  # noqa: BLE001 - of the program's task factory
            work.close()
            self._post(ExecutionFinished(request_id, _failure(error)))
            return
        self._running[request_id] = request, task
        # Not a ``finally`` in the coroutine: a task that is cancelled before its first step never
        # enters the coroutine, and its request would never end.
        task.add_done_callback(lambda ended: self._ended(request_id, ended))

    async def _run(self, request: Request) -> ExecutionResult:
        origin = Origin(request.request_id, request.run_id, request.function_slug, self._post)
        current_function.set(origin)
        try:
            return await self._run_request(request)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return _failure(error)  # the function raised it itself
        except FunctionExited as error:
            return _failure(error.__cause__ or error)
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            if is_a(error, *EXITS):
                origin.exited(error)
            return _failure(error)

    def _ended(self, request_id: str, task: Task) -> None:
        if os.getpid() != self._process:
            # The function forked and returned in both processes; only the first one answers.
            os._exit(1)
        del self._running[request_id]
        cancelled_here = request_id in self._cancelled
        self._cancelled.discard(request_id)
        if not task.cancelled() and task.exception() is None:
            self._post(ExecutionFinished(request_id, task.result()))
        elif cancelled_here or not task.cancelled():  # an exception: Ctrl-C ends the program
            self._post(ExecutionFinished(request_id, None))
        else:
            self._doubtful[request_id] = self._loop.call_later(
                _FOREIGN_CANCEL_DELAY, self._settle, request_id, _CANCELLED_BY_USER_CODE
            )

    def _settle(self, request_id: str, result: ExecutionResult | None) -> None:
        self._doubtful.pop(request_id).cancel()
        self._post(ExecutionFinished(request_id, result))


def _failure(error: BaseException) -> ExecutionResult:
    """A retryable error in the shape of the SDK's own, for what the SDK let through.

    Nothing in here may raise, or an acknowledged request would never be answered: the ``__str__``
    of an exception is user code, and so are its notes, its causes and the name of its class.
    """
    message = error_message(error)[:LONGEST_ERROR_TEXT]
    stack = guarded(lambda: "".join(traceback.format_exception(error)), message)
    stack = stack[:LONGEST_ERROR_TEXT]
    return error_result("unknown", message, name=class_name(error), stack=stack)


_CANCELLED_BY_USER_CODE: Final = error_result(
    "unknown",
    "the function's task was cancelled by other code on its event loop",
    name="CancelledError",
    stack="",
)
