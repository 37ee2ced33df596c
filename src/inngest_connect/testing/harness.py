"""ConnectionTestHarness: gateways, API, workers, and a fault proxy before each of them.

    async with ConnectionTestHarness() as harness:
        client = harness.client("shop")
        ...
        worker = await harness.start_worker([(client, functions)])
        await harness.simulate_gateway_draining()
        harness.assert_external_state_remains(ConnectionState.ACTIVE)

Every connection of a worker, to the API and to each gateway, goes through a ``FaultProxy``.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..connection import WebSocketWorkerConnection
from ..core.retry import FixedRetry
from ..core.settings import Timing
from ..errors import NotConnectedError
from ..factory import connect
from ..sdk.apps import Apps
from ..state_machine import ConnectionState
from .embedded_gateway import EmbeddedGateway
from .fault_proxy import FaultProxy
from .memory import resident_bytes
from .model.ledger import Ledger
from .run_driver import Event, RunResult
from .websocket_server import MockWebSocketServer

if TYPE_CHECKING:
    import inngest

QUICK_TIMING = Timing(
    start_timeout=1.0,
    open_timeout=0.5,
    hello_timeout=0.5,
    ready_timeout=0.5,
    reply_ack_timeout=0.3,
    drain_ack_timeout=0.3,
    pause_delay=0.05,
    close_timeout=0.3,
    final_flush_timeout=0.5,
)
"""Time limits that let a test of failures end soon."""

Partition = Literal["reset", "black_hole"]

_WAKING = ("state_change", "draining", "connected", "disconnected", "reconnecting")


@dataclass(frozen=True, slots=True)
class Load:
    """What a load did. Times in seconds; ``latencies`` are of single requests, sorted."""

    results: list[RunResult] = field(repr=False)
    seconds: float
    latencies: list[float] = field(repr=False)

    @property
    def runs_per_second(self) -> float:
        return len(self.results) / self.seconds

    @property
    def failed(self) -> list[RunResult]:
        return [result for result in self.results if result.status != "completed"]


class _ProxiedGateway(EmbeddedGateway):
    """Names the proxy of each gateway instead of the gateway."""

    def __init__(self, proxies: list[FaultProxy], **options: Any) -> None:
        super().__init__(**options)
        self._proxies = proxies

    async def advertised_url(self, gateway: MockWebSocketServer) -> str:
        proxy = FaultProxy("127.0.0.1", gateway.port)
        await proxy.start()
        self._proxies.append(proxy)
        return f"ws://127.0.0.1:{proxy.port}/v0/connect"


class ConnectionTestHarness:
    """See the module. ``settings`` are those of ``EmbeddedGateway``."""

    def __init__(self, *, timing: Timing = QUICK_TIMING, **settings: Any) -> None:
        self.proxies: list[FaultProxy] = []
        """One for each gateway, in their order."""
        self.gateway = _ProxiedGateway(self.proxies, **settings)
        self.workers: list[WebSocketWorkerConnection] = []
        self._timing = timing
        self._stack = AsyncExitStack()
        self._api_proxy: FaultProxy | None = None
        self._started: list[asyncio.Task[None]] = []
        self._marks: dict[WebSocketWorkerConnection, float] = {}
        self._waiters: list[asyncio.Future[None]] = []

    # --- what there is -----------------------------------------------------------------------

    @property
    def api_proxy(self) -> FaultProxy:
        assert self._api_proxy is not None, "use the harness in 'async with'"
        return self._api_proxy

    @property
    def api_origin(self) -> str:
        return f"http://127.0.0.1:{self.api_proxy.port}"

    @property
    def gateways(self) -> list[MockWebSocketServer]:
        return self.gateway.gateways

    @property
    def ledger(self) -> Ledger:
        """What became of every request, executions included."""
        return self.gateway.ledger

    @property
    def worker(self) -> WebSocketWorkerConnection:
        """The worker that was started last."""
        assert self.workers, "start_worker() was not called"
        return self.workers[-1]

    def client(self, app_id: str = "app", **options: Any) -> "inngest.Inngest":
        """An ``inngest.Inngest`` that talks to this harness."""
        return self.gateway.client(app_id, api_origin=self.api_origin, **options)

    async def __aenter__(self) -> "ConnectionTestHarness":
        await self._stack.enter_async_context(self.gateway)
        self._stack.push_async_callback(self._stop_proxies)
        proxy = FaultProxy("127.0.0.1", self.gateway.http.port)
        self._api_proxy = await self._stack.enter_async_context(proxy)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all workers, then everything else."""
        try:
            await self.heal_network_partition()
            for worker in self.workers:
                await worker.close()
            await asyncio.gather(*self._started, return_exceptions=True)
        finally:
            await self._stack.aclose()

    async def _stop_proxies(self) -> None:
        for proxy in self.proxies:
            await proxy.stop()

    # --- workers -----------------------------------------------------------------------------

    def make_worker(self, apps: Apps, **options: Any) -> WebSocketWorkerConnection:
        """A worker that is not started, with quick limits unless ``options`` say otherwise.

        A test that fails must not wait for a function that it did not release, hence the
        ``shutdown_timeout`` of five seconds.
        """
        defaults: dict[str, Any] = {
            "timing": self._timing,
            "retry": FixedRetry(0.05),
            "shutdown_signals": [],
            "shutdown_timeout": 5.0,
        }
        worker = connect(apps, **{**defaults, **options})
        self.ledger.watch(worker)
        for name in _WAKING:
            worker.add_event_listener(name, self._wake)
        return worker

    async def start_worker(self, apps: Apps, **options: Any) -> WebSocketWorkerConnection:
        """Start a worker and wait until a gateway can send it requests."""
        worker = self.make_worker(apps, **options)
        self.workers.append(worker)
        started = asyncio.create_task(worker.start())
        self._started.append(started)
        active = asyncio.create_task(worker.wait_for_state(ConnectionState.ACTIVE))
        await asyncio.wait({started, active}, return_when=asyncio.FIRST_COMPLETED)
        active.cancel()
        (outcome,) = await asyncio.gather(active, return_exceptions=True)
        if outcome is not None:
            await started  # raises why
            raise NotConnectedError("the worker was closed before it became ACTIVE")
        self._marks[worker] = time.monotonic()
        connection_id = worker.connection_id
        await self.gateway.store.until(
            lambda _: any(
                c.connect is not None and c.connect.connection_id == connection_id
                for c in self.gateway.store.ready_connections()
            )
        )
        return worker

    # --- what can happen ---------------------------------------------------------------------

    async def simulate_gateway_draining(self, *, wait: bool = True) -> MockWebSocketServer:
        """Drain the newest gateway. Returns it once no worker has a connection to it.

        With ``wait`` False, returns when the drain has been announced.
        """
        drained = await self.gateway.drain()
        if wait:
            await self.gateway.store.until(
                lambda model: (
                    not any(c.gateway == drained.name for c in model.connections.values())
                    and len(self.gateway.store.ready_connections()) >= self._living()
                )
            )
        return drained

    def _living(self) -> int:
        return sum(1 for worker in self.workers if worker.state is not ConnectionState.CLOSED)

    async def simulate_network_partition(
        self, seconds: float | None = None, *, how: Partition = "reset"
    ) -> None:
        """Cut workers off from the API and all gateways.

        "reset" ends all connections and refuses new ones; "black_hole" keeps them and swallows
        what is sent. After ``seconds``, or with ``heal_network_partition``, it is over.
        """
        for proxy in (self.api_proxy, *self.proxies):
            if how == "black_hole":
                proxy.black_hole()
            else:
                await proxy.refuse()
                proxy.reset()
        if seconds is not None:
            await asyncio.sleep(seconds)
            await self.heal_network_partition()

    async def heal_network_partition(self) -> None:
        """End every fault of every proxy."""
        for proxy in (self.api_proxy, *self.proxies):
            await proxy.restore()

    async def simulate_high_load(
        self,
        function: Any,
        *,
        runs: int = 200,
        at_once: int = 20,
        event: Event | None = None,
    ) -> Load:
        """Invoke a function ``runs`` times, ``at_once`` at a time."""
        known = set(self.ledger.records)
        left = iter(range(runs))
        results: list[RunResult] = []

        async def user() -> None:
            for _ in left:
                results.append(await self.gateway.invoke(function, event))

        begun = time.perf_counter()
        async with asyncio.TaskGroup() as users:
            for _ in range(at_once):
                users.create_task(user())
        seconds = time.perf_counter() - begun
        records = [r for key, r in self.ledger.records.items() if key not in known]
        latencies = sorted(
            r.answered_at - r.dispatched_at for r in records if r.answered_at is not None
        )
        return Load(results, seconds, latencies)

    # --- states ------------------------------------------------------------------------------

    def assert_connection_state(
        self, expected: ConnectionState, worker: WebSocketWorkerConnection | None = None
    ) -> None:
        """The state inside, in which a drain is DRAINING_RECONNECTING."""
        state = (worker or self.worker).get_debug_state().state
        assert state is expected, f"the worker is {state.value}, not {expected.value}"

    def mark(self, worker: WebSocketWorkerConnection | None = None) -> None:
        """Let ``assert_external_state_remains`` count from now."""
        self._marks[worker or self.worker] = time.monotonic()

    def assert_external_state_remains(
        self, state: ConnectionState, worker: WebSocketWorkerConnection | None = None
    ) -> None:
        """The state outside has been nothing but ``state`` since ``start_worker`` or ``mark``.

        A worker remembers its last 50 changes; more than that between mark and call are not seen.
        """
        worker = worker or self.worker
        since = self._marks.get(worker, 0.0)
        visible = [_outside(c.state) for c in worker.get_state_history() if c.at > since]
        others = [seen.value for seen in (*visible, worker.state) if seen is not state]
        assert not others, f"the state was not {state.value} throughout: {', '.join(others)}"

    async def wait_for_state_transition(
        self,
        to: ConnectionState,
        worker: WebSocketWorkerConnection | None = None,
        timeout: float = 10.0,
    ) -> None:
        """Wait until the state inside becomes ``to``; one that it has now does not count.

        Raises TimeoutError that names the states that were seen instead.
        """
        worker = worker or self.worker
        before = worker.get_state_history()
        last = before[-1] if before else None

        def since() -> list[ConnectionState]:
            changes = worker.get_state_history()
            start = changes.index(last) + 1 if last in changes else 0
            return [change.state for change in changes[start:]]

        try:
            await self._until(lambda: to in since(), timeout)
        except TimeoutError:
            seen = ", ".join(state.value for state in since()) or "no change"
            text = f"the worker did not become {to.value} within {timeout:g} s: {seen}"
            raise TimeoutError(text) from None

    async def _until(self, condition: Callable[[], bool], timeout: float) -> None:
        async with asyncio.timeout(timeout):
            while not condition():
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                await waiter

    def _wake(self, _: object) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # --- figures -----------------------------------------------------------------------------

    async def measure_connection_time(self, apps: Apps, rounds: int = 5) -> float:
        """Seconds from ``start()`` to ACTIVE, the median of ``rounds`` workers one by one."""
        taken: list[float] = []
        for _ in range(rounds):
            worker = self.make_worker(apps)
            begun = time.perf_counter()
            started = asyncio.create_task(worker.start())
            await worker.wait_for_state(ConnectionState.ACTIVE)
            taken.append(time.perf_counter() - begun)
            await worker.close(wait=True)
            await started
        return statistics.median(taken)

    async def measure_throughput(
        self, function: Any, *, runs: int = 200, at_once: int = 20
    ) -> float:
        """Runs per second under a load of ``at_once``."""
        load = await self.simulate_high_load(function, runs=runs, at_once=at_once)
        return load.runs_per_second

    def measure_memory_usage(self) -> int:
        """Bytes of memory that this process has resident now."""
        return resident_bytes()

    def assert_nothing_lost(self) -> None:
        """Every acknowledged request was answered, no other was, and none was executed twice."""
        ledger = self.ledger
        unanswered = [r.request_id for r in ledger.waiting() if r.acknowledged_by]
        assert ledger.lost == 0, f"{ledger.lost} acknowledged requests were lost"
        assert ledger.duplicates == 0, f"{ledger.duplicates} requests were executed twice"
        assert ledger.unacknowledged_replies == 0, "a reply came without an acknowledgement"
        assert not unanswered, f"still without an answer: {', '.join(unanswered)}"


def _outside(state: ConnectionState) -> ConnectionState:
    draining = state is ConnectionState.DRAINING_RECONNECTING
    return ConnectionState.ACTIVE if draining else state
