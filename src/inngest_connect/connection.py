"""WebSocketWorkerConnection: what a user holds. Coordination only.

Thread ownership: the public methods run on the caller's event loop (or, for ``close`` in a signal
handler, on the main thread); the core and all I/O live on the I/O loop and are reached only through
``Orchestrator.post``. Reading the core's tables from here is safe because each read is one atomic
copy; nothing here writes to them.
"""

import asyncio
import concurrent.futures
import gc
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .announcing import Announcer, Observer
from .apps import Apps, load_apps
from .core import events as ev
from .core.settings import WorkerIdentity
from .core.worker_core import WorkerCore
from .debug_state import DebugState, snapshot
from .errors import ConnectError, LocalMistake, NotConnectedError, WorkerCrashed
from .events import Callback
from .execution.executor import LOOP_GONE, Executor, ExecutorPorts
from .execution.loop_executor import LoopExecutor
from .execution.sdk_adapter import ClientSettings, SdkApp
from .execution.user_exits import run_to_end
from .health import BLOCKED_LIMIT, SILENCE_LIMIT, Health, judge
from .identity import worker_identity
from .observability.library_logs import off_this_thread
from .observability.logger import ConnectLogger
from .observability.loop_watch import LoopWatch
from .observability.redaction import Redactor
from .options import ConnectOptions
from .protocol import connect_pb2 as pb
from .shutdown_signals import shutdown_signals
from .state_machine import ConnectionState, StateChange
from .transport.api_client import ApiClient, SigningKey
from .transport.environment import check_network
from .transport.hook import Hook
from .transport.io_thread import IoThread
from .transport.urls import shown_url
from .waiting import until_done

if TYPE_CHECKING:
    from .orchestrator import Orchestrator

_EXIT_GRACE = 2.0
_CANCEL_GRACE = 5.0
"""Seconds that cancelled functions get to end before ``start()`` returns without them."""


class WebSocketWorkerConnection:
    """A worker's connection. Made by ``connect()``; used once."""

    def __init__(
        self,
        apps: Apps,
        options: ConnectOptions,
        *,
        on: dict[str, Callback] | None = None,
        logger: Any = None,
    ) -> None:
        """Raises ConfigurationError for wrong apps or a wrong signing key."""
        shared, sdk_apps = load_apps(apps)
        self._options = options
        check_network(shared.api_origin, options.gateway_url)
        given = (shared.signing_key, shared.signing_key_fallback)
        # The official SDK sends no key in development mode, and so do we: any text will do there.
        self._keys = _signing_keys(*given) if shared.is_production else ()
        self._redactor = Redactor(
            (*(key for key in given if key), *(s for key in self._keys for s in key.secrets()))
        )
        self._env = shared.env
        self._api_origin = shared.api_origin
        self._client = shared
        self._sdk_apps = {app.identity.name: app for app in sdk_apps}
        self._log_target = logger
        self._announcer = Announcer(ConnectLogger(False), self._redactor, on or {})
        self._configure()
        self._orchestrator: Orchestrator | None = None
        self._io_watch: LoopWatch | None = None
        self._caller_watch: LoopWatch | None = None
        self._started = False
        self._close_requests = 0
        self._closed: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._start_task: asyncio.Task[None] | None = None
        # These bring picows and OpenTelemetry, tens of milliseconds: paid by who makes a
        # connection, not by who imports the package, and not between start() and ACTIVE.
        from . import orchestrator
        from .observability.metrics import Metrics
        from .observability.tracing import Tracing

        self._make_orchestrator = orchestrator.Orchestrator
        self._tracing = Tracing(options.tracer_provider)
        self._metrics = Metrics(self.get_debug_state, options.meter_provider)
        self._announcer.add_counter(self._metrics.count)
        self._announcer.add_observer(self._metrics.record)

    def _configure(self) -> None:
        """Make what depends on the options."""
        options = self._options
        identity = worker_identity(tuple(self._sdk_apps.values()), options, self._env)
        self._announcer.logger = ConnectLogger(
            self._log_target,
            self._redactor,
            {"instance_id": identity.instance_id},
            _versions(identity),
        )
        self._core = WorkerCore(
            identity,
            options.core_settings(
                signing_keys=len(self._keys), api_origin=shown_url(self._api_origin)
            ),
            options.retry,
            random.random,
        )

    def reconfigure(self, **changes: Any) -> None:
        """Change options of ``connect()`` before the start; for tools that run others' workers.

        In place, so that listeners and whoever holds this connection stay with it. Takes the
        options of ``ConnectOptions`` but the providers. Raises LocalMistake once started, and
        ConfigurationError for a wrong value.
        """
        if self._started:
            raise LocalMistake("the connection was started; reconfigure() it before that")
        self._options = self._options.changed(**changes)
        self._configure()

    # --- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect, and run until closed.

        Raises AuthenticationError when no key is accepted on the first connection, StartupTimeout
        with ``startup_timeout``, WorkAbandoned after a forced stop that left work behind, and
        WorkerCrashed for a bug in the I/O loop. An outage raises nothing: it is waited out.
        """
        if self._started and self._closed.done() and self._orchestrator is None:
            return  # closed before it was started
        if self._started:
            raise LocalMistake("start() was called before; make a new connection with connect()")
        self._started = True
        loop = asyncio.get_running_loop()
        self._announcer.listen_on(loop)
        make_executor = self._options.executor or LoopExecutor
        executor = make_executor(self._executor_ports(loop))
        watch = self._caller_watch = LoopWatch(loop)
        watch.start()
        signals = self._options.shutdown_signals
        with shutdown_signals(signals, self._request_close, self._abort):
            try:
                if self._options.isolation == "none":
                    await self._run_here(loop, executor)
                else:
                    await self._run_on_thread(executor)
            finally:
                watch.stop()
                await executor.wait_stopped(_CANCEL_GRACE)
                await self._announcer.drained()

    def _executor_ports(self, loop: asyncio.AbstractEventLoop) -> ExecutorPorts:
        return ExecutorPorts(
            loop=loop,
            run_request=self._run_request,
            can_cancel=self._can_cancel,
            report=self._post,
            on_loop_gone=self._caller_loop_gone,
            observe=self._announcer.tell,
            functions={app.name: app.function_slugs for app in self._core.identity.apps},
            misbehaved=self._post,
        )

    async def _run_on_thread(self, executor: Executor) -> None:
        thread = IoThread("inngest-connect-io", self._end)
        self._orchestrator = self._orchestrator_on(thread.loop, executor)
        thread.start(self._orchestrate(self._orchestrator))
        self._repeat_close_requests()
        try:
            await self.closed()
        except asyncio.CancelledError:
            self._abort("start() was cancelled")
            await self.closed()
            raise
        finally:
            thread.join()
        self._closed.result()

    async def _run_here(self, loop: asyncio.AbstractEventLoop, executor: Executor) -> None:
        self._orchestrator = self._orchestrator_on(loop, executor)
        running = loop.create_task(self._orchestrate(self._orchestrator))
        self._repeat_close_requests()
        error: BaseException | None = None
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            self._abort("start() was cancelled")
            await asyncio.wait([running])
            raise
        except BaseException as caught:
            error = caught
            raise
        finally:
            self._end(error)

    async def _orchestrate(self, orchestrator: "Orchestrator") -> None:
        with off_this_thread(self._announcer.write):
            await orchestrator.run()

    def _orchestrator_on(
        self, loop: asyncio.AbstractEventLoop, executor: Executor
    ) -> "Orchestrator":
        def api() -> ApiClient:
            timeout = self._options.timing.start_timeout
            return ApiClient(self._api_origin, self._env, self._keys, timeout, self._redactor)

        rewrite = self._options.rewrite_gateway_endpoint
        hook = rewrite and Hook("rewrite_gateway_endpoint", rewrite, asyncio.get_running_loop())
        watch = self._io_watch = LoopWatch(loop)
        return self._make_orchestrator(
            self._core, self._options, api, executor, self._announcer.tell, loop, watch, hook
        )

    def _end(self, error: BaseException | None) -> None:
        """The worker has ended, wherever it ran: tell everybody who waits."""
        if error is not None and not isinstance(error, ConnectError | asyncio.CancelledError):
            crash = WorkerCrashed("the worker's I/O loop ended unexpectedly")
            crash.__cause__ = error
            error = crash
        if isinstance(error, WorkerCrashed):
            self._announcer.crashed(error)
        self._announcer.close()
        if not self._core.machine.is_closed():
            self._core.close_at_once(time.monotonic())
        if error is None or isinstance(error, asyncio.CancelledError):
            self._closed.set_result(None)
        else:
            self._closed.set_exception(error)
        self._announcer.waiters.wake(ConnectionState.CLOSED)
        self._metrics.close()  # last: whoever waits is told even if a crash left no snapshot

    async def close(self, *, wait: bool = False) -> None:
        """Shut down gracefully: no new work, work in flight is finished and delivered.

        With ``wait``, returns when the connection is CLOSED. May be called any number of times.
        """
        self._request_close()
        if not self._started:
            self._started = True
            self._end(None)
        if wait:
            await self.closed()

    async def closed(self) -> None:
        """Wait until the connection is CLOSED. Raises nothing; ``start()`` has the error."""
        await until_done(self._closed)

    def _request_close(self) -> None:
        """Safe in signal handlers and from any thread."""
        self._close_requests += 1
        self._post(ev.CloseRequested())

    def _repeat_close_requests(self) -> None:
        if self._close_requests:
            self._post(ev.CloseRequested())

    def _abort(self, reason: str) -> None:
        self._post(ev.AbortRequested(reason))

    def _caller_loop_gone(self) -> None:
        self._abort(LOOP_GONE)

    def _post(self, event: ev.Event) -> None:
        if self._orchestrator is not None:
            self._orchestrator.post(event)

    def run(self) -> None:
        """Start and block until closed, for programs without an event loop of their own.

        When work was abandoned, by a second signal or ``shutdown_timeout``, a function in a thread
        cannot keep the process alive: it exits with code 1 at the latest two seconds later.

        What has been imported by now is taken out of the garbage collector's sight (``gc.freeze``):
        scanning it stops everything, the connection included, for some 50 ms at a time.
        """
        gc.freeze()
        try:
            run_to_end(self.start(), self.report_misbehavior)
        finally:
            if self._core.shutdown.abandoned:
                exit_soon()

    def report_misbehavior(self, text: str) -> None:
        """Report that user code tried to end the loop; for tools that run the loop."""
        self._post(ev.FunctionMisbehaved("", text))

    async def __aenter__(self) -> "WebSocketWorkerConnection":
        """Start in the background and return once ACTIVE. Raises what ``start()`` raises."""
        self._start_task = asyncio.create_task(self.start())
        active = asyncio.create_task(self.wait_for_state(ConnectionState.ACTIVE))
        try:
            await asyncio.wait({self._start_task, active}, return_when=asyncio.FIRST_COMPLETED)
            if self._start_task.done():
                await self._start_task
                raise NotConnectedError("the connection was closed before it became ACTIVE")
        except BaseException:
            await _cancel(self._start_task)
            raise
        finally:
            await _cancel(active)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
        if self._start_task is not None:
            await self._start_task

    # --- what can be asked -----------------------------------------------------------------

    @property
    def connection_id(self) -> str | None:
        """The id of the connection that serves now, None without one."""
        current = self._core.connections.current
        return current.connection_id if current is not None else None

    def get_connection_id(self) -> str:
        """Like ``connection_id``, but raises NotConnectedError without a connection."""
        connection_id = self.connection_id
        if connection_id is None:
            raise NotConnectedError(
                f"there is no connection in state {self.state.value}; "
                "wait_for_state(ConnectionState.ACTIVE) first"
            )
        return connection_id

    @property
    def was_started(self) -> bool:
        """Whether ``start()`` or ``close()`` was called; either can be done only once."""
        return self._started

    @property
    def api_origin(self) -> str:
        """Where this worker asks for a gateway."""
        return self._api_origin

    @property
    def sdk_apps(self) -> dict[str, SdkApp]:
        """The apps by id, ready to run requests; for executors."""
        return dict(self._sdk_apps)

    @property
    def functions(self) -> dict[str, tuple[str, ...]]:
        """App id to the ids of its functions, sorted."""
        apps = self._core.identity.apps
        return {app.name: tuple(sorted(app.function_slugs)) for app in apps}

    @property
    def configuration(self) -> tuple[ClientSettings, WorkerIdentity, ConnectOptions]:
        """As what this worker would connect, signing keys included; for tools that examine it."""
        return self._client, self._core.identity, self._options

    @property
    def state(self) -> ConnectionState:
        """The state as seen outside: a drain is ACTIVE."""
        return self._core.machine.external_state

    def get_state(self) -> ConnectionState:
        """The same as ``state``, under the official SDK's name."""
        return self.state

    async def wait_for_state(self, state: ConnectionState) -> None:
        """Wait until the state is, or was for a moment, ``state``.

        Raises NotConnectedError when the connection closes first.
        """
        await self._announcer.waiters.wait_for(state, lambda: self.state)

    def get_state_history(self) -> tuple[StateChange, ...]:
        """The last 50 changes of the inner state, oldest first; times are monotonic seconds."""
        return self._core.machine.history

    def get_debug_state(self) -> DebugState:
        """A snapshot for people and status pages. Holds no payload and no secret."""
        lags = _lag(self._io_watch), _lag(self._caller_watch)
        state = snapshot(self._core, time.monotonic(), *lags, self._redactor.id)
        if self._announcer.dropped:
            state.counters["records_dropped"] = self._announcer.dropped
        return state

    def get_health(
        self, *, blocked_limit: float = BLOCKED_LIMIT, silence_limit: float = SILENCE_LIMIT
    ) -> Health:
        """Whether the process is live and ready, with reasons. Limits in seconds."""
        return judge(self.get_debug_state(), blocked_limit, silence_limit)

    def redact(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return ``fields`` without this worker's secrets, to be shown outside of its log."""
        return self._redactor.fields(fields)

    def add_observer(self, observer: Observer) -> Callable[[], None]:
        """Call ``observer``, a plain function, with every event, on a thread for observers.

        It shares that thread with the log. Returns a function that removes it. Raises
        ConfigurationError for an async function: use ``add_event_listener``.
        """
        return self._announcer.add_observer(observer)

    def add_counter(self, counter: Observer) -> Callable[[], None]:
        """For the status page and the live view: as ``add_observer``, on the thread that observes.

        ``counter`` must not block: it delays heartbeats.
        """
        return self._announcer.add_counter(counter)

    def add_event_listener(self, name: str, callback: Callback) -> Callable[[], None]:
        """Call ``callback`` with each event of that name, on the loop of ``start()``.

        It may be an async function, which gets the next event when it has returned. Returns a
        function that removes it. Raises ConfigurationError for an unknown name.
        """
        return self._announcer.listeners.add(name, callback)

    def remove_event_listener(self, name: str, callback: Callback) -> None:
        """Forget a callback; one that is not there is ignored."""
        self._announcer.listeners.remove(name, callback)

    # --- called on the caller's loop -------------------------------------------------------

    def _run_request(self, request: pb.GatewayExecutorRequestData) -> Coroutine[Any, Any, Any]:
        return self._tracing.around(request, self._sdk_apps[request.app_name].run(request))

    def _can_cancel(self, request: pb.GatewayExecutorRequestData) -> bool:
        return self._sdk_apps[request.app_name].is_async(request.function_slug)


def _versions(identity: WorkerIdentity) -> dict[str, Any]:
    """For the log, if any app has a version."""
    versions = {app.name: app.version for app in identity.apps if app.version}
    return {"app_versions": versions} if versions else {}


def _lag(watch: LoopWatch | None) -> float:
    return watch.lag() if watch is not None else 0.0


def exit_soon() -> None:
    """End the process with code 1 after two seconds, for when work was abandoned.

    The interpreter joins the SDK's pool threads at exit, however long their functions take.
    """
    timer = threading.Timer(_EXIT_GRACE, os._exit, args=(1,))
    timer.daemon = True
    timer.start()


def _signing_keys(*keys: str | None) -> tuple[SigningKey, ...]:
    variables = ("INNGEST_SIGNING_KEY", "INNGEST_SIGNING_KEY_FALLBACK")
    pairs = zip(keys, variables, strict=True)
    return tuple(SigningKey(key, variable) for key, variable in pairs if key)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
