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
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..connection import WebSocketWorkerConnection
from ..core.retry import FixedRetry
from ..core.settings import Timing
from ..errors import NotConnectedError
from ..factory import connect
from ..sdk.apps import Apps
from ..state_machine import ConnectionState
from .changes import Changes
from .fault_proxy import FaultProxy
from .load import Load, apply_load
from .model.ledger import Ledger
from .proxied_gateway import Partition, ProxiedGateway
from .run_driver import Event
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
"""Time limits in seconds with which a test of failures ends soon."""


class ConnectionTestHarness:
    """See the module. ``settings`` are those of ``EmbeddedGateway``."""

    def __init__(self, *, timing: Timing = QUICK_TIMING, **settings: Any) -> None:
        self.gateway = ProxiedGateway(**settings)
        self.gateways: list[MockWebSocketServer] = self.gateway.gateways
        """All gateways that were started, drained ones too."""
        self.proxies: list[FaultProxy] = self.gateway.proxies
        """The proxy before each gateway, in the order of the gateways."""
        self.ledger: Ledger = self.gateway.ledger
        """What happened to every request, executions included."""
        self.workers: list[WebSocketWorkerConnection] = []
        """The workers that ``start_worker`` started, in their order."""
        self._timing = timing
        self._started: list[asyncio.Task[None]] = []
        self._marks: dict[WebSocketWorkerConnection, float] = {}
        self._changes = Changes()

    @property
    def api_proxy(self) -> FaultProxy:
        """The proxy before the API."""
        return self.gateway.api_proxy

    @property
    def api_origin(self) -> str:
        """The address of the API for clients, which is that of its proxy."""
        return self.gateway.api_origin

    @property
    def worker(self) -> WebSocketWorkerConnection:
        """The worker that was started last."""
        assert self.workers, "start_worker() was not called"
        return self.workers[-1]

    def client(self, app_id: str = "app", **options: Any) -> "inngest.Inngest":
        """Return an ``inngest.Inngest`` for this harness, with that class's ``options``."""
        return self.gateway.client(app_id, **options)

    async def __aenter__(self) -> "ConnectionTestHarness":
        await self.gateway.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all workers, then everything else."""
        try:
            await self.heal_network_partition()
            for worker in self.workers:
                await worker.close()
            await asyncio.gather(*self._started, return_exceptions=True)
        finally:
            await self.gateway.stop()

    # --- workers -----------------------------------------------------------------------------

    def make_worker(self, apps: Apps, **options: Any) -> WebSocketWorkerConnection:
        """Return a worker that is not started, with quick limits unless ``options`` differ.

        Its ``shutdown_timeout`` is five seconds, because a test that fails must not wait for a
        function that it did not release.
        """
        defaults: dict[str, Any] = {
            "timing": self._timing,
            "retry": FixedRetry(0.05),
            "shutdown_signals": [],
            "shutdown_timeout": 5.0,
        }
        worker = connect(apps, **{**defaults, **options})
        self.ledger.watch(worker)
        worker.add_event_listener("state_change", self._changed)
        worker.add_event_listener("draining", self._changed)
        worker.add_event_listener("connected", self._changed)
        worker.add_event_listener("disconnected", self._changed)
        worker.add_event_listener("reconnecting", self._changed)
        return worker

    def _changed(self, _: object) -> None:
        self._changes.happened()

    async def start_worker(self, apps: Apps, **options: Any) -> WebSocketWorkerConnection:
        """Start a worker and wait until a gateway can send it requests.

        Raises what ``start()`` raises, or NotConnectedError when the worker closes first.
        """
        self.gateway.event_loop.check()
        worker = self.make_worker(apps, **options)
        self.workers.append(worker)
        self._started.append(await self._start(worker))
        self.mark(worker)
        store = self.gateway.store
        # The id is read anew each time, because a drain can replace the connection meanwhile.
        await store.until(
            lambda _: any(
                c.connect is not None and c.connect.connection_id == worker.connection_id
                for c in store.ready_connections()
            )
        )
        return worker

    async def _start(self, worker: WebSocketWorkerConnection) -> asyncio.Task[None]:
        # Returns the task of start() when the worker is ACTIVE; raises what start() raises.
        # start() can also raise without a change of the state, so both are waited for.
        started = asyncio.create_task(worker.start())
        active = asyncio.create_task(worker.wait_for_state(ConnectionState.ACTIVE))
        await asyncio.wait({started, active}, return_when=asyncio.FIRST_COMPLETED)
        active.cancel()
        (outcome,) = await asyncio.gather(active, return_exceptions=True)
        if outcome is not None:
            await started
            raise NotConnectedError("the worker was closed before it became ACTIVE")
        return started

    # --- what can happen ---------------------------------------------------------------------

    async def simulate_gateway_draining(self, *, wait: bool = True) -> MockWebSocketServer:
        """Drain the newest gateway. Returns it when no worker has a connection to it any more.

        With ``wait`` False, returns when the drain was announced.
        """
        drained = await self.gateway.drain()
        if wait:
            store = self.gateway.store
            await store.until(
                lambda model: (
                    not any(c.gateway == drained.name for c in model.connections.values())
                    and len(store.ready_connections())
                    >= sum(w.state is not ConnectionState.CLOSED for w in self.workers)
                )
            )
        return drained

    async def simulate_network_partition(
        self, seconds: float | None = None, *, how: Partition = "reset"
    ) -> None:
        """Cut workers off from the API and all gateways.

        "reset" ends all connections and refuses new ones; "black_hole" keeps them and swallows
        what is sent. It ends after ``seconds``, or with ``heal_network_partition``.
        """
        await self.gateway.cut_off(how)
        if seconds is not None:
            await asyncio.sleep(seconds)
            await self.heal_network_partition()

    async def heal_network_partition(self) -> None:
        """End every fault of every proxy."""
        await self.gateway.heal()

    async def simulate_high_load(
        self, function: Any, *, runs: int = 200, at_once: int = 20, event: Event | None = None
    ) -> Load:
        """Invoke a function ``runs`` times, ``at_once`` at a time."""
        return await apply_load(self.gateway, function, runs, at_once, event)

    # --- states ------------------------------------------------------------------------------

    def assert_connection_state(
        self, expected: ConnectionState, worker: WebSocketWorkerConnection | None = None
    ) -> None:
        """Check the internal state, which is DRAINING_RECONNECTING during a drain."""
        state = (worker or self.worker).get_debug_state().state
        assert state is expected, f"the worker is {state.value}, not {expected.value}"

    def mark(self, worker: WebSocketWorkerConnection | None = None) -> None:
        """Let ``assert_external_state_remains`` count from now."""
        self._marks[worker or self.worker] = time.monotonic()

    def assert_external_state_remains(
        self, state: ConnectionState, worker: WebSocketWorkerConnection | None = None
    ) -> None:
        """Check that ``worker.state`` has been ``state`` since ``start_worker`` or ``mark``.

        A worker remembers its last 50 changes; more than that since the mark are not seen.
        """
        worker = worker or self.worker
        since = self._marks.get(worker, 0.0)
        seen = [change.state for change in worker.get_state_history() if change.at > since]
        # Outside, a drain is ACTIVE.
        hidden = ConnectionState.DRAINING_RECONNECTING
        visible = [ConnectionState.ACTIVE if s is hidden else s for s in (*seen, worker.state)]
        others = ", ".join(s.value for s in visible if s is not state)
        assert not others, f"the state was not {state.value} throughout: {others}"

    async def wait_for_state_transition(
        self,
        to: ConnectionState,
        worker: WebSocketWorkerConnection | None = None,
        timeout: float = 10.0,
    ) -> None:
        """Wait until the internal state becomes ``to``; the present state does not count.

        Raises TimeoutError after ``timeout`` seconds; it names the states that were seen instead.
        """
        worker = worker or self.worker
        before = worker.get_state_history()
        last = before[-1] if before else None

        def since() -> list[ConnectionState]:
            changes = worker.get_state_history()
            start = changes.index(last) + 1 if last in changes else 0
            return [change.state for change in changes[start:]]

        try:
            await self._changes.until(lambda: to in since(), timeout)
        except TimeoutError:
            seen = ", ".join(state.value for state in since()) or "no change"
            text = f"the worker did not become {to.value} within {timeout:g} s: {seen}"
            raise TimeoutError(text) from None

    # --- figures -----------------------------------------------------------------------------

    async def measure_connection_time(self, apps: Apps, rounds: int = 5) -> float:
        """Seconds from ``start()`` to ACTIVE: the median of ``rounds`` workers, one by one."""
        taken: list[float] = []
        for _ in range(rounds):
            worker = self.make_worker(apps)
            begun = time.perf_counter()
            started = await self._start(worker)
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
        """Bytes that this process has resident; without /proc, the most that it ever had."""
        import resource  # not on every system

        statm = Path("/proc/self/statm")
        if statm.exists():
            return int(statm.read_text().split()[1]) * resource.getpagesize()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def assert_nothing_lost(self) -> None:
        """Check that every acknowledged request was answered, no other was, and none ran twice."""
        ledger = self.ledger
        unanswered = [r.request_id for r in ledger.waiting() if r.acknowledged_by]
        assert ledger.lost == 0, f"{ledger.lost} acknowledged requests were lost"
        assert ledger.duplicates == 0, f"{ledger.duplicates} requests were executed twice"
        assert ledger.unacknowledged_replies == 0, "a reply came without an acknowledgement"
        assert not unanswered, f"still without an answer: {', '.join(unanswered)}"
