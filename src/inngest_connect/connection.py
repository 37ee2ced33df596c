"""WebSocketWorkerConnection: what a user holds, from its start to its end. Coordination only.

Thread ownership: the public methods run on the application's event loop (or, for ``close`` in a
signal handler, on the main thread); the core and all I/O run on the I/O loop and are reached only
through ``Orchestrator.post``.
"""

import asyncio
import concurrent.futures
import contextlib
import gc
import os
import signal
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .aio.clock import check_time, monotonic
from .aio.guarded_block import GuardedBlock
from .aio.hook import Hook
from .aio.loop_watch import LoopWatch
from .aio.process_exit import RETURN_GRACE, ExitLimit, close_at_exit, end_despite_functions, release
from .aio.running_loop import running_loop
from .aio.shutdown_signals import shutdown_signals
from .aio.waiters import block_until_ended, until_ended
from .core import inputs
from .core.events import ErrorOccurred
from .core.retry import is_own
from .core.wire.remote_text import shortened_id
from .errors import ConnectError, LocalMistake, WorkerCrashed
from .execution.blocked_loop import BlockedLoop, look_on_a_tick, looking_thread
from .execution.context import ExecutionContexts
from .execution.executor import Executor, ExecutorPorts, create_executor
from .execution.green_threads import check_threads
from .execution.loop_executor import LoopExecutor
from .execution.user_exits import current_function, run_to_end
from .host import Host
from .observability.library_logs import off_this_thread
from .options import ConnectOptions, default_instance_id
from .protocol import connect_pb2 as pb
from .sdk.apps import Apps
from .state_machine import ConnectionState
from .worker_view import WorkerView, jitter

if TYPE_CHECKING:
    from .journal.writer import Journal
    from .orchestrator import Orchestrator
    from .transport.api_client import ApiClient

_CANCEL_GRACE = 5.0
"""Seconds that cancelled functions get to end before ``start()`` returns without them."""

_connections: "weakref.WeakSet[WebSocketWorkerConnection]" = weakref.WeakSet()


def _after_fork() -> None:
    for connection in tuple(_connections):
        connection.forked()


os.register_at_fork(after_in_child=_after_fork)


class WebSocketWorkerConnection(WorkerView):
    """A worker, as ``connect()`` returns it. It runs once."""

    def __init__(self, apps: Apps, options: ConnectOptions) -> None:
        """Raises ConfigurationError for wrong apps or a wrong signing key."""
        super().__init__(apps, options)
        self._host: Host | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._blocked_loop: BlockedLoop
        self._contexts: ExecutionContexts
        self._has_signals = False
        self._closed: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._never_started = False
        self._has_default_id = options.instance_id == default_instance_id()
        self._block: GuardedBlock | None = None
        _connections.add(self)
        # Imported here, as the metrics are: they bring picows, httpcore and OpenTelemetry, tens of
        # milliseconds that only a program with a worker pays, before ``start()`` and not during it.
        from . import orchestrator
        from .observability.tracing import Tracing
        from .transport.api_client import ApiClient

        self._make_orchestrator = orchestrator.Orchestrator
        self._make_api = ApiClient
        self._tracing = Tracing(options.tracer_provider, self.report_misbehavior)

    async def start(self) -> None:
        """Connect, and run until closed.

        Raises AuthenticationError when no key is accepted on the first connection, StartupTimeout
        with ``startup_timeout``, WorkAbandoned when work was left behind by ``shutdown_timeout`` or
        a second signal, and WorkerCrashed for a bug in the I/O loop or when it cannot be started.
        LocalMistake when the worker was started or closed before: it runs once.
        An outage raises nothing: the worker waits until it ends.
        """
        await self._start(self._options.shutdown_signals)

    async def _start(self, signals: Sequence[signal.Signals]) -> None:
        loop = running_loop()
        check_time(loop)
        check_threads(self._options.isolation)
        self._check_unused()
        # Whatever raises before this line leaves a worker that was not started, and can be closed.
        at_exit = contextlib.ExitStack()
        at_exit.callback(close_at_exit(self, lambda: self._close_at_exit(loop)))
        self._started, self._loop = True, loop
        threads_before = threading.enumerate()
        on_thread = self._options.isolation != "none"
        with (
            at_exit,
            ExitLimit(self._left_behind, always=False) as limit,
            shutdown_signals(
                signals,
                lambda: self._close_by_signal(limit),
                lambda reason: self._abort_by_signal(limit, reason),
                wakeup=on_thread,
            ) as self._has_signals,
            self._ended_whatever_is_raised(),
        ):
            self._announcer.listen_on(loop)
            self._contexts = ExecutionContexts(self._options.execution_context)
            factory = self._options.executor or LoopExecutor
            executor = self._executor = create_executor(
                factory,
                ExecutorPorts(
                    loop=loop,
                    run_request=self._run_request,
                    can_cancel=self._can_cancel,
                    post=self._post,
                    observe=self._announcer.publish,
                    functions={app.name: app.function_slugs for app in self._core.identity.apps},
                    execution_context=self._options.execution_context,
                ),
            )
            try:
                journal = self._journal = await self._open_journal()
            except BaseException:
                await executor.wait_stopped(0.0)  # it has changed the event loop
                raise
            host = self._host = Host(
                lambda on: self._orchestrator_on(on, executor, journal),
                self._orchestrate,
                self._end,
                self._closed,
            )
            watch = self._application_watch = LoopWatch(loop)
            watch.start()
            self._blocked_loop = BlockedLoop(watch, threading.get_ident(), self._announcer.publish)
            # With a thread of its own the connection looks (``_orchestrator_on``).
            looking = contextlib.nullcontext() if on_thread else looking_thread(self._blocked_loop)
            try:
                with looking:
                    await host.run(on_thread=on_thread, begun=self._repeat_close_requests)
            finally:
                watch.stop()
                ends = [executor.wait_stopped(_CANCEL_GRACE), self._announcer.drained()]
                if journal is not None:
                    journal.close()
                    ends.append(journal.closed())
                try:
                    # Together, or two at their limits would take as long as ``RETURN_GRACE``.
                    await asyncio.gather(*ends)
                finally:
                    if self._core.shutdown.abandoned:
                        release(loop, ())
                        end_despite_functions(loop, threads_before)

    async def _open_journal(self) -> "Journal | None":
        options = self._options
        if options.journal is None:
            return None
        from .journal.writer import Journal  # which brings sqlite3

        journal = Journal(
            options.journal,
            options.journal_sync,
            options.journal_commit,
            options.instance_id,
            self._announcer.publish,
        )
        await journal.open()
        return journal

    # A signal asks the process to end, also when a function blocks the application's event loop.
    # Then nothing here runs on that loop any more, and the thread of ``limit`` ends the process.
    # Both handlers run on the main thread or on the I/O thread, and may be called again.

    def _close_by_signal(self, limit: ExitLimit) -> None:
        self._request_close()
        if self._options.shutdown_timeout is not None:
            limit.within(self._options.shutdown_timeout + self._longest_end())
        self._closed.add_done_callback(lambda _: limit.within(RETURN_GRACE))

    def _abort_by_signal(self, limit: ExitLimit, reason: str) -> None:
        self._post(inputs.AbortRequested(reason))
        limit.within(self._longest_end())

    def _longest_end(self) -> float:
        timing = self._options.timing
        return timing.final_flush_timeout + timing.close_timeout + RETURN_GRACE

    def _left_behind(self) -> Sequence[str]:
        return self._core.shutdown.abandoned or self._core.requests.unfinished_ids()

    def _close_at_exit(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the main thread at its end: the functions need the thread pools that close next."""
        text = "the main thread has ended; the worker closes"
        if left := self._core.requests.unfinished_ids():
            text += f", and {len(left)} request(s) are not finished: "
            text += ", ".join(map(shortened_id, left))
        self.report_misbehavior(text)
        self._request_close()
        # A loop that does not run can finish nothing: the worker is lost with its program.
        concurrent.futures.wait([self._closed], None if loop.is_running() else 2.0)
        if not self._closed.done() and (lost := self._left_behind()):
            text = "the process ends, and its event loop does not run; not finished: "
            text += ", ".join(map(shortened_id, lost))
            self._announcer.publish(ErrorOccurred("shutdown_forced", text))

    def forked(self) -> None:
        """In a forked child: the connection belongs to the parent, and stays open there."""
        if self._started:
            self._forked = True
            if self._host is not None:
                self._host.abandon_descriptors()
        elif self._has_default_id:
            self.reconfigure(instance_id=default_instance_id())

    @contextlib.contextmanager
    def _ended_whatever_is_raised(self) -> Iterator[None]:
        """A worker that cannot even be started is CLOSED too: ``closed()`` must return."""
        try:
            yield
        except BaseException as error:
            if not self._closed.done():
                self._end(error)
            raise

    async def _orchestrate(self, orchestrator: "Orchestrator") -> None:
        with off_this_thread(self._announcer.write):
            await orchestrator.run()

    def _orchestrator_on(
        self, loop: asyncio.AbstractEventLoop, executor: Executor, journal: "Journal | None"
    ) -> "Orchestrator":
        def api() -> "ApiClient":
            timeout = self._options.timing.start_timeout
            return self._make_api(
                self.api_origin, self._client.env, self._keys, timeout, self._redactor
            )

        def ask(failures: int) -> float:
            return strategy.delay(failures, jitter)

        # Code of the user is called on its own loop or on a thread, never on ``loop``.
        users_loop, strategy = asyncio.get_running_loop(), self._options.retry
        rewrite = self._options.rewrite_gateway_endpoint
        watch = self._io_watch = LoopWatch(loop)
        if loop is not users_loop:
            watch.on_tick = look_on_a_tick(self._blocked_loop, self._announcer.publish)
        return self._make_orchestrator(
            self._core,
            self._options,
            api,
            executor,
            self._announcer.publish,
            loop,
            watch,
            rewrite and Hook("rewrite_gateway_endpoint", rewrite, users_loop),
            None if is_own(strategy) else Hook("retry", ask, users_loop),
            journal,
        )

    def _end(self, error: BaseException | None) -> None:
        """The worker has ended, on whichever thread it ran: wake everything that waits for it."""
        if error is not None and not isinstance(error, ConnectError | asyncio.CancelledError):
            crash = WorkerCrashed("the worker's I/O loop ended unexpectedly")
            crash.__cause__ = error
            error = crash
        if isinstance(error, WorkerCrashed):
            self._announcer.crashed(error)
        self._announcer.close()
        if not self._core.machine.is_closed():
            self._core.close_immediately(monotonic())
        if self._closed.done():
            return
        if error is None or isinstance(error, asyncio.CancelledError):
            self._closed.set_result(None)
        else:
            self._closed.set_exception(error)
        self._announcer.ended()
        # Last: it takes a snapshot, which a crash can make impossible, and waiters come first.
        self._metrics.close()

    async def close(self, *, wait: bool = False) -> None:
        """Shut down gracefully: no new work, work in flight is finished and delivered.

        The state is CLOSING afterwards, and CLOSED later; with ``wait``, this returns when it is.
        May be called any number of times.
        """
        running_loop()
        self._check_process()
        self._request_close()
        if not self._started:
            # A task that was created for start() has its first turn now. So
            # ``create_task(start())`` followed by ``close()`` is a shutdown, and not the start of a
            # closed worker.
            await asyncio.sleep(0)
        self._end_unless_started()
        if wait:
            await self.closed()

    def close_sync(self, timeout: float | None = None) -> bool:
        """``close()`` for code that has no event loop, from any thread and in signal handlers.

        Waits until CLOSED, for ``timeout`` seconds at most, and returns whether it is; 0 does not
        wait. Raises LocalMistake, with the shutdown begun, where it would wait for itself: on the
        thread of the event loop of ``start()``, and in a function without ``timeout``; and when
        that loop does not run.
        """
        self._check_process()
        self._request_close()
        self._end_unless_started()
        origin = current_function.get()
        if timeout is None and origin and origin.request_id in self._core.requests.unfinished_ids():
            raise LocalMistake(
                f"the function {origin.function!r} calls close_sync(), which would wait for the "
                "end of this function: close_sync(0) begins the shutdown and returns"
            )
        return block_until_ended(self._closed, self._loop, timeout)

    def _end_unless_started(self) -> None:
        if not self._started:
            self._started = self._never_started = True
            self._end(None)

    async def closed(self) -> None:
        """Wait until the connection is CLOSED, on any event loop. ``start()`` has the error.

        Raises LocalMistake when the event loop of ``start()`` does not run.
        """
        running_loop()
        self._check_process()
        await until_ended(self._closed, self._loop)

    def _check_unused(self) -> None:
        self._check_process()
        if not self._started:
            return
        if self._never_started:
            what = "this worker was closed before it was started"
        elif self._core.machine.is_closed():
            what = "this worker has run and is closed"
        else:
            what = "this worker was started already and is still running"
        raise LocalMistake(f"{what}; a worker runs once: create a new one with connect()")

    def _request_close(self) -> None:
        """Safe in signal handlers and from any thread."""
        self._close_requests += 1
        self._post(inputs.CloseRequested(self._has_signals))

    def _repeat_close_requests(self) -> None:
        # One that came before there was anything to post it to. It may be posted twice.
        if self._close_requests:
            self._post(inputs.CloseRequested(self._has_signals))

    def _post(self, input: inputs.Input) -> None:
        if self._host is not None:
            self._host.post(input)

    def run(self, *, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
        """Start and block until closed, for programs without an event loop.

        Raises what ``start()`` raises. Whatever functions do, the process leaves this call within
        seven seconds after CLOSED, if need be by ending with code 1; after it has returned, threads
        of abandoned functions cannot keep the process alive beyond the end of the main thread.
        ``loop_factory`` creates the event loop, as in ``asyncio.Runner``.

        What has been imported by now is excluded from garbage collection (``gc.freeze``): to scan
        it stops everything, the connection included, for some 50 ms at a time.
        """
        gc.freeze()
        with ExitLimit(self._left_behind, always=True) as limit:
            self._closed.add_done_callback(lambda _: limit.within(RETURN_GRACE))
            run_to_end(self.start(), self.report_misbehavior, loop_factory)

    def report_misbehavior(self, text: str) -> None:
        """Report that user code tried to end the loop; for tools that run the loop."""
        self._post(inputs.FunctionMisbehaved("", text))

    async def __aenter__(self) -> "WebSocketWorkerConnection":
        """Start in the background, without signal handlers: those belong to the program.

        Returns immediately, or once ACTIVE with ``connect(..., wait=True)``, and then raises what
        ``start()`` raises. A worker that fails later cancels the body, and the error of the worker
        is raised at its end, as ``asyncio.TaskGroup`` does.
        """
        running_loop()
        self._check_unused()
        block = self._block = GuardedBlock(lambda: self._close_requests > 0)
        ready = self.wait_for_state(ConnectionState.ACTIVE) if self._options.wait else None
        await block.enter(self._start(()), ready)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._block is not None
        await self._block.leave(error, self.close)

    # --- called on the application's event loop ----------------------------------------------

    def _run_request(self, request: pb.GatewayExecutorRequestData) -> Coroutine[Any, Any, Any]:
        running = self._sdk_apps[request.app_name].run(request)
        return self._tracing.around(request, self._contexts.around(running))

    def _can_cancel(self, request: pb.GatewayExecutorRequestData) -> bool:
        return self._sdk_apps[request.app_name].is_async(request.function_slug)
