"""LoopExecutor: runs functions on the caller's event loop, the default.

Async functions run there directly, sync functions in the SDK's thread pool. Requests cross to that
loop in batches and results cross back the same way: neither side pays one wake-up a message.
"""

import asyncio
import contextvars
import json
import traceback
from collections.abc import Callable

from ..core.events import ExecutionFinished
from ..core.messages import ExecutionResult
from ..protocol import connect_pb2 as pb
from ..transport.io_thread import HandOver
from .executor import Report, RunRequest

LOOP_GONE = "the event loop that start() ran on is closed, so no function can run"

Work = pb.GatewayExecutorRequestData | str
"""A request to run, or the id of one to cancel."""


class LoopExecutor:
    """Construct it on the caller's loop: functions see the context variables of that moment."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        run: RunRequest,
        can_cancel: Callable[[pb.GatewayExecutorRequestData], bool],
        report: Report,
        on_loop_gone: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._run_request = run
        self._can_cancel = can_cancel
        self._uncancellable: set[str] = set()
        self._report = report
        self._context = contextvars.copy_context()
        self._tasks: dict[str, asyncio.Task[ExecutionResult]] = {}
        self._work: HandOver[Work] = HandOver(loop, self._take, on_loop_gone)

    def submit(self, request: pb.GatewayExecutorRequestData) -> None:
        self._work.put(request)

    def cancel(self, request_id: str) -> None:
        self._work.put(request_id)

    def gone(self) -> str | None:
        return LOOP_GONE if self._loop.is_closed() else None

    @property
    def running(self) -> int:
        """Functions that have not ended, cancelled ones included."""
        return len(self._tasks)

    async def wait_stopped(self, timeout: float) -> None:
        """Call on the caller's loop: cancel what still runs and give it ``timeout`` seconds."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=timeout)

    def _take(self, work: Work) -> None:
        if isinstance(work, str):
            task = self._tasks.get(work)
            if task is not None and work not in self._uncancellable:
                task.cancel()
            return
        task = self._loop.create_task(self._run(work), context=self._context.copy())
        request_id = work.request_id
        self._tasks[request_id] = task
        if not self._can_cancel(work):
            # Cancelling would only stop to wait for the thread: it would run on, uncounted.
            self._uncancellable.add(request_id)
        # Not a ``finally`` in the coroutine: a task cancelled before its first step never gets
        # there, and its request would never end.
        task.add_done_callback(lambda ended: self._ended(request_id, ended))

    def _ended(self, request_id: str, task: "asyncio.Task[ExecutionResult]") -> None:
        del self._tasks[request_id]
        self._uncancellable.discard(request_id)
        result = None if task.cancelled() else task.result()
        self._report(ExecutionFinished(request_id, result))

    async def _run(self, request: pb.GatewayExecutorRequestData) -> ExecutionResult:
        try:
            return await self._run_request(request)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return _failure(error)  # the function raised it by itself
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a function is its failure
            return _failure(error)


def _failure(error: BaseException) -> ExecutionResult:
    """A retryable error in the shape of the SDK's own, for what the SDK let through."""
    body = {
        "code": "unknown",
        "message": str(error),
        "name": type(error).__name__,
        "stack": "".join(traceback.format_exception(error)),
    }
    return ExecutionResult(pb.SDKResponseStatus.ERROR, json.dumps(body).encode())
