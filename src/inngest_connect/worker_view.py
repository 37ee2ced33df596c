"""WorkerView: what can be read of a worker, and how its events are subscribed to.

The core belongs to the I/O loop. Reading its tables from other threads is safe because each read is
one atomic copy; nothing here writes to them.
"""

import enum
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .aio.clock import monotonic
from .aio.loop_watch import LoopWatch
from .aio.running_loop import running_loop
from .core.settings import WorkerIdentity
from .core.worker_core import WorkerCore
from .errors import LocalMistake, NotConnectedError
from .execution.executor import Executor
from .execution.green_threads import check_threads
from .observability.announcer import Announcer
from .observability.callbacks import Callback
from .observability.debug_state import DebugState, snapshot
from .observability.greeting import introduced
from .observability.health import BLOCKED_LIMIT, SILENCE_LIMIT, Health, judge
from .observability.listeners import EventListeners
from .observability.logger import ConnectLogger
from .observability.redaction import Redactor
from .observability.subscriptions import Where
from .options import ConnectOptions
from .sdk.adapter import SdkApp
from .sdk.apps import Apps, load_apps
from .sdk.client_settings import ClientSettings
from .sdk.identity import worker_identity
from .state_machine import ConnectionState, StateChange, connection_state
from .transport.environment import check_network
from .transport.signing_key import SigningKey
from .transport.urls import shown_url

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

    from .journal.writer import Journal
    from .observability.metrics import Metrics

jitter = random.SystemRandom().random
"""Not from the program's generator, which functions may seed: all workers of one seed would connect
again in the same instant."""


class WorkerView(EventListeners):
    """A worker that was configured: the base of ``WebSocketWorkerConnection``."""

    def __init__(self, apps: Apps, options: ConnectOptions) -> None:
        """Raises ConfigurationError for wrong apps or a wrong signing key."""
        shared, sdk_apps = load_apps(apps, options.api_origin)
        self._options = options
        check_threads(options.isolation)
        check_network(shared.api_origin, options.gateway_url)
        self._client = shared
        given = {
            "INNGEST_SIGNING_KEY": shared.signing_key,
            "INNGEST_SIGNING_KEY_FALLBACK": shared.signing_key_fallback,
        }
        # As in the official SDK, no key is sent in development mode: any text is accepted there.
        usable = given.items() if shared.is_production else ()
        self._keys = tuple(SigningKey(key, variable) for variable, key in usable if key)
        hashes = (secret for key in self._keys for secret in key.secrets())
        self._redactor = Redactor((*filter(None, given.values()), *hashes))
        self._sdk_apps = {app.identity.name: app for app in sdk_apps}
        self._announcer = Announcer(self._redactor, ConnectLogger(False))
        for name, callback in options.on.items():
            self._announcer.subscriptions.add(Where.APPLICATION_LOOP, callback, name)
        self._configure()
        self._journal: Journal | None = None
        self._executor: Executor | None = None
        self._io_watch: LoopWatch | None = None
        self._application_watch: LoopWatch | None = None
        self._started = False
        self._close_requests = 0
        self._forked = False
        self._metrics = self.create_metrics(options.meter_provider)
        self._announcer.use_metrics(self._metrics)

    def _configure(self) -> None:
        """Create what depends on the options."""
        options = self._options
        identity = worker_identity(
            tuple(self._sdk_apps.values()),
            instance_id=options.instance_id,
            max_worker_concurrency=options.max_worker_concurrency,
            environment=self._client.env,
        )
        context = {"instance_id": identity.instance_id}
        versions = {app.name: app.version for app in identity.apps if app.version}
        introduction = {"app_versions": versions} if versions else {}
        served = {app.name: tuple(app.function_slugs) for app in identity.apps}
        first = introduced(served, shown_url(self.api_origin))
        self._announcer.use_logger(
            ConnectLogger(options.logger, self._redactor, context, introduction, first)
        )
        self._core = WorkerCore(
            identity,
            options.core_settings(
                signing_keys=len(self._keys), api_origin=shown_url(self.api_origin)
            ),
            options.retry,
            jitter,
        )

    def reconfigure(self, **changes: Any) -> None:
        """Change options of ``connect()`` before the start; for tools that run others' workers.

        In place, so that listeners and references stay valid. Takes the options of
        ``ConnectOptions`` except the providers. Raises LocalMistake once started, and
        ConfigurationError for a wrong value.
        """
        if self._started:
            raise LocalMistake("the connection was started; reconfigure() it before that")
        self._options = self._options.changed(**changes)
        self._configure()

    # --- what can be read ------------------------------------------------------------------

    @property
    def connection_id(self) -> str | None:
        """The id of the connection that serves now, None without one."""
        current = self._core.connections.current
        return current.connection_id if current is not None else None

    def get_connection_id(self) -> str:
        """The id of the connection that serves now, else of the last one.

        Raises NotConnectedError when there was none yet.
        """
        connection_id = self.connection_id or self._core.connections.last_connection_id
        if not connection_id:
            raise NotConnectedError(
                f"there was no connection yet, in state {self.state.value}; "
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
        return self._client.api_origin

    @property
    def sdk_apps(self) -> dict[str, SdkApp]:
        """The apps by id; for executors that load them in another process."""
        return dict(self._sdk_apps)

    @property
    def functions(self) -> dict[str, tuple[str, ...]]:
        """App id to the ids of its functions, sorted."""
        apps = self._core.identity.apps
        return {app.name: tuple(sorted(app.function_slugs)) for app in apps}

    @property
    def configuration(self) -> tuple[ClientSettings, WorkerIdentity, ConnectOptions]:
        """What this worker connects with, signing keys included; for tools that examine it."""
        return self._client, self._core.identity, self._options

    @property
    def state(self) -> ConnectionState:
        """The state as users see it: a drain is ACTIVE, and it is CLOSING from ``close()`` on."""
        state = self._core.machine.external_state
        if self._close_requests and state is not ConnectionState.CLOSED:
            return ConnectionState.CLOSING
        return state

    def get_state(self) -> ConnectionState:
        """The same as ``state``, under the official SDK's name."""
        return self.state

    async def wait_for_state(self, state: ConnectionState | enum.Enum | str) -> None:
        """Wait until the state is, or was for a moment, ``state``.

        Takes the official SDK's ConnectionState and names such as "ACTIVE" too. Raises
        NotConnectedError when the connection closes first, LocalMistake for an unknown state.
        """
        running_loop()
        self._check_process()
        wanted = connection_state(state)
        await self._announcer.subscriptions.wait_for_state(wanted, lambda: self.state)

    def get_state_history(self) -> tuple[StateChange, ...]:
        """The last 50 changes of the inner state, oldest first; times are monotonic seconds."""
        return self._core.machine.history

    def get_debug_state(self) -> DebugState:
        """A snapshot for status pages and debugging. Holds no payload and no secret."""
        watches = self._io_watch, self._application_watch
        io_lag, application_lag = (0.0 if watch is None else watch.lag() for watch in watches)
        shown = self._redactor.id
        children = () if self._executor is None else self._executor.child_processes()
        state = snapshot(
            self._core, monotonic(), io_lag, application_lag, shown, self._journal, children
        )
        if self._announcer.dropped:
            state.counters["records_dropped"] = self._announcer.dropped
        return state

    def get_health(
        self, *, blocked_limit: float = BLOCKED_LIMIT, silence_limit: float = SILENCE_LIMIT
    ) -> Health:
        """Whether the process is live and ready, with reasons. Limits in seconds."""
        return judge(self.get_debug_state(), blocked_limit, silence_limit)

    def create_metrics(self, meter_provider: "MeterProvider | None") -> "Metrics":
        """This worker on another meter provider; for what exports its metrics separately."""
        # It brings OpenTelemetry, tens of milliseconds: paid by who creates a connection, not by
        # who imports the package, and not between start() and ACTIVE.
        from .observability.metrics import Metrics

        return Metrics(self._announcer.counts, self.get_debug_state, meter_provider)

    def write_log(self, call: Callable[[], None]) -> None:
        """Have ``call`` write to the log in its turn, on the thread of the log, which may block."""
        self._announcer.write(call)

    def redact(self, fields: dict[str, Any]) -> dict[str, Any]:
        """``fields`` without this worker's secrets, to be shown outside of its log."""
        return self._redactor.fields(fields)

    def add_observer(self, observer: Callback) -> Callable[[], None]:
        """Call ``observer``, a plain function, with every event, on a thread for observers.

        It shares that thread with the log. Returns a function that removes it. Raises
        ConfigurationError for an async function: use ``add_event_listener``.
        """
        return self._announcer.subscriptions.add(Where.OUTLET, observer)

    def add_counter(self, counter: Callback) -> Callable[[], None]:
        """As ``add_observer``, but ``counter`` is called where the event happens.

        For the status page and the live view: a counter that blocks delays heartbeats.
        """
        return self._announcer.subscriptions.add(Where.OBSERVING_THREAD, counter)

    def _check_process(self) -> None:
        if self._forked:
            raise LocalMistake(
                "this worker was started before the process was forked and belongs to the parent; "
                "create a new one with connect() in the child"
            )
