"""Orchestrator: carries out what the core decides, on the I/O loop. It decides nothing.

Sockets, HTTP calls, executors and users produce inputs; ``drive`` gives each to the ``WorkerCore``
and has its commands carried out in one ``match``; one timer serves every deadline. A request can be
followed through this file from top to bottom: frame -> input -> commands -> executor -> input ->
commands -> frame.

Turns. What arrives together is handled together: each input of a batch goes through ``_handle``,
which only queues what is to be written and executed, and after the last one ``_settle`` writes,
starts functions and arms the timer, once for all of them. So a hundred requests cost one write of a
hundred acknowledgements. An input that comes alone is a batch of one (``handle``).
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from .journal.writer import Journal

# A WebSocketManager ends each batch of these with a call of ``_settle``.
_IN_BATCHES = (inputs.MessageReceived, inputs.AcknowledgementsWritten, inputs.AcknowledgementFailed)


class Orchestrator:
    """Everything but ``post`` and ``drop`` belongs to the loop that ``run`` runs on."""

    def __init__(
        self,
        core: WorkerCore,
        options: ConnectOptions,
        api: Callable[[], ApiClient],
        executor: Executor,
        observe: Callable[[Event], None],
        loop: asyncio.AbstractEventLoop,
        watch: LoopWatch,
        rewrite: Hook | None = None,
        retry: Hook | None = None,
        journal: "Journal | None" = None,
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
        self._journal = journal
        self._inputs: HandOver[inputs.Input] = HandOver(loop, self._handle, after=self._settle)
        self._following: deque[inputs.Input] = deque()
        self._is_driving = False
        self._sockets: dict[int, WebSocketManager] = {}
        self._attempts: dict[int, asyncio.Task[None]] = {}
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._done: asyncio.Future[ConnectError | None] = loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None

    def post(self, input: inputs.Input) -> None:
        """Hand an input over, from any thread and from signal handlers."""
        self._inputs.put(input)

    def drop(self) -> None:
        """End without closing handshakes and last deliveries; from any thread."""

        def end() -> None:
            if not self._done.done():
                self._done.set_result(None)

        with contextlib.suppress(RuntimeError):  # the loop is closed, so the worker has ended
            self._loop.call_soon_threadsafe(end)

    async def run(self) -> None:
        """Run until the worker is CLOSED. Raises what ``start()`` has to raise."""
        self._api = self._make_api()
        self._watch.start()
        error = None
        try:
            # Child processes take seconds to start. A worker that is closed meanwhile does not wait
            # for them: ``_done`` is set by whatever ends it, and the start is cancelled.
            starting = self._loop.create_task(self._executor.start())
            either: set[asyncio.Future[Any]] = {starting, self._done}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                starting.cancel()
                await asyncio.wait([starting])
            if not starting.cancelled():
                starting.result()
            async with asyncio.TaskGroup() as self._group:
                self.handle(inputs.Started())
                if self._journal is not None:
                    self._journal.begin(self.post)
                error = await self._done
                # HTTP calls and dials that are left: their results are not needed any more.
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
            # From here on inputs are ignored: ``_handle`` looks at ``_done`` first.
            self._watch.stop()
            if not self._done.done():
                self._done.cancel()
            if self._timer is not None:
                self._timer.cancel()
            for socket in self._sockets.values():
                socket.abort()
            await self._api.aclose()
            await self._executor.stop()
        if error is not None:
            raise error

    # --- turns -----------------------------------------------------------------------------

    def handle(self, input: inputs.Input) -> None:
        """Give the core an input that comes alone, and settle."""
        self._handle(input)
        self._settle()

    def _handle(self, input: inputs.Input) -> None:
        if self._done.done():
            return
        if self._is_driving:
            # Carrying out a command has led to it: to abort a socket reports the acknowledgements
            # that it takes along. The commands before it are carried out first (``drive``).
            self._following.append(input)
            return
        self._is_driving = True
        try:
            drive(self._core, input, monotonic(), self._carry_out)
            while self._following:
                drive(self._core, self._following.popleft(), monotonic(), self._carry_out)
        except Exception as error:  # noqa: BLE001 - a bug must end the worker loudly
            self._crash(error)
        finally:
            self._is_driving = False

    def _settle(self) -> None:
        if self._done.done():
            return
        try:
            # Writing reports acknowledgements, which are inputs (``_socket_input``). A request
            # whose acknowledgement was written can be refused in the same turn, and its reply goes
            # over any socket: so all are written again until none has reported anything. Each
            # round only writes what the last one caused, so this ends.
            reported = True
            while reported:
                reported = False
                for socket in tuple(self._sockets.values()):
                    reported = socket.flush() or reported
            # After the writes, so that a function starts only when its acknowledgement is on the
            # way, and in one batch that wakes the application's event loop once.
            self._executor.flush()
            self._arm_timer()
        except Exception as error:  # noqa: BLE001 - as above
            self._crash(error)

    def _crash(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_result(_crashed(error))

    def _carry_out(self, command: do.Command) -> inputs.Input | None:
        """Returns the input that follows, where it is known immediately."""
        match command:  # the most frequent first: classes are compared one after the other
            case do.Send(generation, data):
                socket = self._sockets.get(generation)
                if socket is not None:
                    socket.send(data, reply_to=command.reply_to)
            case do.Acknowledge(generation, request_id, data):
                # AcknowledgementsWritten follows when the batch is settled and the kernel has it.
                socket = self._sockets.get(generation)
                if socket is None or not socket.send(data, acknowledges=request_id):
                    return inputs.AcknowledgementFailed(generation, request_id)
            case do.Execute(request):
                self._executor.submit(request)
            case Event():
                self._observe(command)
            case do.JournalRecord(request, reply):
                if self._journal is not None:
                    self._journal.record(request, reply)
            case do.JournalErase(request_id):
                if self._journal is not None:
                    self._journal.erase(request_id)
            case do.Withdraw(generation, request_id):
                if generation in self._sockets:
                    self._sockets[generation].withdraw(request_id)
            case do.Flush():
                self._spawn(self._flush(command))
            case do.CancelExecution(request_id):
                self._executor.cancel(request_id)
            case do.RequestStart():
                self._attempts[command.generation] = self._spawn(self._start(command))
            case do.AskRetryDelay():
                self._spawn(self._ask_retry_delay(command))
            case do.OpenSocket():
                self._attempts[command.generation] = self._spawn(self._open(command))
            case do.CloseSocket(generation, code, reason):
                if generation in self._sockets:
                    self._sockets[generation].close(code, reason)
            case do.AbortSocket(generation):
                attempt = self._attempts.pop(generation, None)
                # The task of an attempt can be what brought the input that ends it: it is at its
                # end then, and must not be cancelled while it runs this very code.
                if attempt is not None and attempt is not asyncio.current_task():
                    attempt.cancel()
                socket = self._sockets.pop(generation, None)
                if socket is not None:
                    socket.abort()
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
        generation, group = command.generation, ""
        answered: inputs.Input
        try:
            answer = await self._api.start(command.exclude_gateways, command.key)
            group = answer.gateway_group
            endpoint = await endpoint_to_dial(
                answer.gateway_endpoint,
                self._api.api_origin,
                gateway_url=self._options.gateway_url,
                rewrite=self._rewrite,
            )
        except ApiError as error:
            answered = inputs.StartFailed(
                generation, error.refusal, str(error), error.retry_after, offline=error.offline
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, only this attempt fails
            answered = inputs.StartFailed(generation, None, str(error), gateway_group=group)
        else:
            answered = inputs.StartSucceeded(
                generation,
                answer.connection_id,
                endpoint,
                group,
                answer.session_token,
                answer.sync_token,
            )
        # Before the input: the core's next command for this generation is another task.
        self._attempts.pop(generation, None)
        self.handle(answered)

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
        answered: inputs.Input = inputs.FlushSucceeded(command.request_id)
        try:
            await self._api.flush(command.request_id, command.payload, command.key)
        except ApiError as error:
            answered = inputs.FlushFailed(
                command.request_id, error.refusal, str(error), error.retry_after
            )
        self.handle(answered)

    # --- sockets ---------------------------------------------------------------------------

    async def _open(self, command: do.OpenSocket) -> None:
        assert self._api is not None
        generation = command.generation
        limit = self._options.max_message_bytes
        manager = WebSocketManager(generation, limit, self._socket_input, self._settle)
        self._sockets[generation] = manager
        try:
            proxy = proxy_for(command.url)
            encrypted = command.url.startswith("wss:")
            ssl_context = self._api.tls_context() if encrypted else None
        except Exception as error:  # noqa: BLE001 - what the environment names can change and break
            self._socket_input(inputs.SocketClosed(generation, 1006, "", str(error)))
            return
        await manager.run(
            command.url,
            timeout=self._options.timing.open_timeout,
            ssl_context=ssl_context,
            proxy=proxy,
        )

    def _socket_input(self, input: inputs.Input) -> None:
        """Called by a WebSocketManager, on this loop."""
        if isinstance(input, _IN_BATCHES):
            self._handle(input)  # ``_settle`` follows at the end of the batch
            return
        if isinstance(input, inputs.SocketClosed):
            self._sockets.pop(input.generation, None)
            self._attempts.pop(input.generation, None)
        self.handle(input)

    # --- time ------------------------------------------------------------------------------

    def _arm_timer(self) -> None:
        """One timer for every deadline of the worker.

        The loop's own clock can stop while the machine sleeps; the core then asks for its next
        turn soon enough (``core.connections.attempts``).
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
        # Always: an abort that took the place of the Tick would keep every deadline due, and the
        # worker would spin without ever being CLOSED.
        self.handle(inputs.Tick())


def _crashed(cause: BaseException) -> WorkerCrashed:
    if _out_of_memory(cause):
        error = WorkerCrashed(
            "this process has no memory left, so the worker's I/O loop failed; work in flight is "
            "run again by Inngest. Raise the memory limit, or lower max_worker_concurrency"
        )
    else:
        error = WorkerCrashed(
            f"the worker's I/O loop failed: {type(cause).__name__}. This is a bug in "
            "inngest-connect; work in flight is run again by Inngest. Please report the traceback "
            "below"
        )
    error.__cause__ = cause
    return error


def _out_of_memory(cause: BaseException) -> bool:
    if isinstance(cause, BaseExceptionGroup):
        return any(_out_of_memory(each) for each in cause.exceptions)
    return isinstance(cause, MemoryError)
