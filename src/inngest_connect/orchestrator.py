"""Orchestrator: carries out what the core decides, on the I/O loop. It has no opinion.

Sockets, HTTP calls, executors and users become events; ``WorkerCore.handle`` turns each into
commands; one ``match`` carries them out; one timer is armed. A request can be followed through this
file from top to bottom: frame -> event -> commands -> executor -> event -> commands -> frame.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from .aio.clock import monotonic
from .aio.hand_over import HandOver
from .aio.hook import Hook, HookFailed
from .aio.loop_watch import LoopWatch
from .core import commands as do
from .core import inputs
from .core.drive import drive
from .core.events import Event
from .core.wire.remote_text import shortened_id
from .core.worker_core import WorkerCore
from .errors import ConnectError, WorkerCrashed
from .execution.executor import Executor
from .options import ConnectOptions
from .transport.api_client import ApiClient, ApiError
from .transport.environment import proxy_for
from .transport.gateway_endpoint import endpoint_to_dial
from .transport.websocket_manager import WebSocketManager

Observe = Callable[[Event], None]
_IN_BATCHES = (inputs.MessageReceived, inputs.AcknowledgementWritten, inputs.AcknowledgementFailed)


class Orchestrator:
    """Everything but ``post`` belongs to the loop that ``run`` runs on."""

    def __init__(
        self,
        core: WorkerCore,
        options: ConnectOptions,
        api: Callable[[], ApiClient],
        executor: Executor,
        observe: Observe,
        loop: asyncio.AbstractEventLoop,
        watch: LoopWatch,
        rewrite: Hook | None = None,
        retry: Hook | None = None,
    ) -> None:
        self._core = core
        self._options = options
        self._make_api = api
        self._api: ApiClient | None = None
        self._executor = executor
        self._observe = observe
        self._loop = loop
        self._watch = watch
        self._rewrite = rewrite
        self._retry = retry
        self._events: HandOver[inputs.Input] = HandOver(loop, self._handle, after=self._settle)
        self._sockets: dict[int, WebSocketManager] = {}
        self._attempts: dict[int, asyncio.Task[None]] = {}
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._done: asyncio.Future[ConnectError | None] = loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None

    def post(self, event: inputs.Input) -> None:
        """Report an event from any thread."""
        self._events.put(event)

    def drop(self) -> None:
        """End without closing handshakes and last deliveries; from any thread."""

        def end() -> None:
            if not self._done.done():
                self._done.set_result(None)

        with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended
            self._loop.call_soon_threadsafe(end)

    async def run(self) -> None:
        """Run until the worker is CLOSED. Raises what ``start()`` has to raise."""
        self._api = self._make_api()
        self._watch.start()
        error = None
        try:
            await self._start_executor()
            async with asyncio.TaskGroup() as self._group:
                self.handle(inputs.Started())
                error = await self._done
                for task in self._tasks:
                    task.cancel()
        except ExceptionGroup as group:
            error = _crashed(group)
        except asyncio.CancelledError:
            # This package never cancels this task: other code on the same loop did, and nothing
            # could be closed. The requests get no reply from this worker.
            if not self._core.finished:
                left = ", ".join(map(shortened_id, self._core.requests.unfinished_ids())) or "none"
                raise WorkerCrashed(
                    "other code on the event loop cancelled the worker's own tasks, which "
                    'isolation="thread" would prevent; requests that were not finished, which '
                    f"Inngest runs again: {left}"
                ) from None
            raise
        finally:
            self._end()
            await self._api.aclose()
            await self._executor.stop()
        if error is not None:
            raise error

    async def _start_executor(self) -> None:
        """Returns early when the worker is closed meanwhile."""
        starting = self._loop.create_task(self._executor.start())
        either: set[asyncio.Future[Any]] = {starting, self._done}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            starting.cancel()
            await asyncio.wait([starting])
        if not starting.cancelled():
            starting.result()

    def _end(self) -> None:
        self._watch.stop()
        if not self._done.done():
            self._done.cancel()
        if self._timer is not None:
            self._timer.cancel()
        for socket in self._sockets.values():
            socket.abort()

    def handle(self, event: inputs.Input) -> None:
        """Give the core an event, carry out what it answers, and settle."""
        self._handle(event)
        self._settle()

    def _settle(self) -> None:
        """What need not be done for each of the events that came together, but once after them."""
        if self._done.done():
            return
        try:
            # A request whose acknowledgement was written may be refused in the same turn, and its
            # reply goes over any socket: hence again, until no acknowledgement was reported.
            reported = True
            while reported:
                reported = False
                for socket in tuple(self._sockets.values()):
                    reported = socket.flush() or reported
            self._executor.flush()
            self._arm_timer()
        except Exception as error:  # noqa: BLE001 - as above
            self._crash(error)

    def _handle(self, event: inputs.Input) -> None:
        if self._done.done():
            return
        try:
            drive(self._core, event, monotonic(), self._carry_out)
        except Exception as error:  # noqa: BLE001 - a bug must end the worker loudly
            self._crash(error)

    def _crash(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_result(_crashed(error))

    def _carry_out(self, command: do.Command) -> inputs.Input | None:
        """Returns the event that reports on the command, if it is known at once."""
        match command:
            case do.Send(generation, data):
                socket = self._sockets.get(generation)
                if socket is not None:
                    socket.send(data, reply_to=command.reply_to)
            case do.Withdraw(generation, request_id):
                if generation in self._sockets:
                    self._sockets[generation].withdraw(request_id)
            case do.Acknowledge(generation, request_id, data):
                # AcknowledgementWritten follows when the batch is settled and the kernel has it.
                socket = self._sockets.get(generation)
                if socket is None or not socket.send(data, acknowledges=request_id):
                    return inputs.AcknowledgementFailed(generation, request_id)
            case do.Execute(request):
                self._executor.submit(request)
            case Event():
                self._observe(command)
            case do.Flush():
                self._spawn(self._flush(command))
            case do.CancelExecution(request_id):
                self._executor.cancel(request_id)
            case do.RequestStart():
                task = self._spawn(self._start(command))
                self._attempts[command.generation] = task
            case do.AskRetryDelay():
                self._spawn(self._ask_retry_delay(command))
            case do.OpenSocket():
                task = self._spawn(self._open(command))
                self._attempts[command.generation] = task
            case do.CloseSocket(generation, code, reason):
                if generation in self._sockets:
                    self._sockets[generation].close(code, reason)
            case do.AbortSocket(generation):
                self._abort(generation)
            case do.Finished(error):
                if not self._done.done():
                    self._done.set_result(error)
        return None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- the API ---------------------------------------------------------------------------

    async def _start(self, command: do.RequestStart) -> None:
        assert self._api is not None
        generation = command.generation
        group = ""
        try:
            answer = await self._api.start(command.exclude_gateways, command.key)
            group = answer.gateway_group
            endpoint = await self._endpoint(answer.gateway_endpoint)
        except ApiError as error:
            failed = inputs.StartFailed(
                generation,
                error.refusal,
                str(error),
                error.retry_after,
                offline=error.offline,
            )
            self._attempt_ended(generation, failed)
        except Exception as error:  # noqa: BLE001 - whatever it is, only this attempt fails
            failed = inputs.StartFailed(generation, None, str(error), gateway_group=group)
            self._attempt_ended(generation, failed)
        else:
            succeeded = inputs.StartSucceeded(
                generation,
                answer.connection_id,
                endpoint,
                group,
                answer.session_token,
                answer.sync_token,
            )
            self._attempt_ended(generation, succeeded)

    def _attempt_ended(self, generation: int, event: inputs.Input) -> None:
        self._attempts.pop(generation, None)
        self.handle(event)

    async def _endpoint(self, named: str) -> str:
        assert self._api is not None
        return await endpoint_to_dial(
            named,
            self._api.api_origin,
            gateway_url=self._options.gateway_url,
            rewrite=self._rewrite,
        )

    async def _ask_retry_delay(self, command: do.AskRetryDelay) -> None:
        assert self._retry is not None
        delay, problem = None, None
        try:
            delay = await self._retry.call(command.failures)
        except HookFailed as error:
            problem = str(error)
        self.handle(inputs.RetryDelayAnswered(command.question, delay, problem))

    async def _flush(self, command: do.Flush) -> None:
        assert self._api is not None
        try:
            await self._api.flush(command.request_id, command.payload, command.key)
        except ApiError as error:
            self.handle(
                inputs.FlushFailed(command.request_id, error.refusal, str(error), error.retry_after)
            )
        else:
            self.handle(inputs.FlushSucceeded(command.request_id))

    # --- sockets ---------------------------------------------------------------------------

    async def _open(self, command: do.OpenSocket) -> None:
        assert self._api is not None
        generation = command.generation
        limit = self._options.max_message_bytes
        manager = WebSocketManager(generation, limit, self._socket_event, self._settle)
        self._sockets[generation] = manager
        try:
            proxy = proxy_for(command.url)
            encrypted = command.url.startswith("wss:")
            ssl_context = self._api.tls_context() if encrypted else None
        except Exception as error:  # noqa: BLE001 - what the environment names can change and break
            self._socket_event(inputs.SocketClosed(generation, 1006, "", str(error)))
            return
        await manager.run(
            command.url,
            timeout=self._options.timing.open_timeout,
            ssl_context=ssl_context,
            proxy=proxy,
        )

    def _socket_event(self, event: inputs.Input) -> None:
        if isinstance(event, _IN_BATCHES):
            self._handle(event)  # its batch is settled together
            return
        if isinstance(event, inputs.SocketClosed):
            self._sockets.pop(event.generation, None)
            self._attempts.pop(event.generation, None)
        self.handle(event)

    def _abort(self, generation: int) -> None:
        attempt = self._attempts.pop(generation, None)
        if attempt is not None and attempt is not asyncio.current_task():
            attempt.cancel()
        socket = self._sockets.pop(generation, None)
        if socket is not None:
            socket.abort()

    # --- time ------------------------------------------------------------------------------

    def _arm_timer(self) -> None:
        """One timer for every deadline of the worker.

        The loop's own clock may stand still while the machine sleeps; the core then asks for its
        next turn soon enough (``attempts``).
        """
        deadline = self._core.next_deadline()
        if deadline is None or (self._timer_at is not None and self._timer_at <= deadline):
            return  # a timer that fires early costs less than moving it with every message
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_later(max(deadline - monotonic(), 0.0), self._tick)

    def _tick(self) -> None:
        self._timer = self._timer_at = None
        failure = self._executor.failure()
        if failure is not None:
            self._handle(inputs.AbortRequested(failure))
        # Before the core judges who is silent: a busy line is not.
        for generation, socket in tuple(self._sockets.items()):
            self._handle(inputs.LineObserved(generation, socket.progress()))
        # Always: an abort that took the place of the tick would keep every deadline due, and the
        # worker would spin without ever being CLOSED.
        self.handle(inputs.Tick())


def _crashed(cause: BaseException) -> WorkerCrashed:
    text = (
        f"the worker's I/O loop failed: {type(cause).__name__}. This is a bug in inngest-connect; "
        "work in flight is run again by Inngest. Please report the traceback below"
    )
    if _out_of_memory(cause):
        text = (
            "this process has no memory left, so the worker's I/O loop failed; work in flight is "
            "run again by Inngest. Raise the memory limit, or lower max_worker_concurrency"
        )
    error = WorkerCrashed(text)
    error.__cause__ = cause
    return error


def _out_of_memory(cause: BaseException) -> bool:
    if isinstance(cause, BaseExceptionGroup):
        return any(_out_of_memory(each) for each in cause.exceptions)
    return isinstance(cause, MemoryError)
