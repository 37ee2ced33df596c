"""Fleet: thousands of real cores, gateways that only connect them, and one API, in virtual time.

One heap has everything that happens later. ``random`` decides everything else, so a seed has the
same figures in every process.
"""

import heapq
from collections.abc import Callable
from random import Random
from typing import Any, Final

from inngest_connect.core import inputs
from inngest_connect.core.retry import RetryStrategy, ScheduleRetry
from inngest_connect.protocol import CLOSE_ABNORMAL, CLOSE_GOING_AWAY, REASON_GATEWAY_CLOSING

from .gateway import Gateway
from .limited_api import LimitedApi, Overload
from .worker import FleetWorker

GATEWAYS: Final = 10

# Seconds until the API stops naming a gateway that died.
NOTICED_AFTER: Final = 5.0

# Seconds that a gateway waits for its workers when it closes. See docs/protocol.md#drain.
DRAIN_WINDOW: Final = 25.0

# Seconds over which the workers of a fleet that runs were started, and until all of their
# connections have lived. See docs/reliability.md#when-the-next-attempt-begins.
STARTED_WITHIN: Final = 10.0
LIVED_AFTER: Final = 40.0


class Fleet:
    """Times are virtual seconds. ``rate`` is how many calls a second the API serves."""

    def __init__(
        self,
        size: int,
        rate: float,
        overload: Overload,
        retry: RetryStrategy | None = None,
        seed: int = 1,
    ) -> None:
        self.now = 0.0
        self.rate = rate
        self.api = LimitedApi(overload)
        self.random = Random(seed)
        self.gateways: dict[str, Gateway] = {}
        self.recoveries: list[float] = []
        """Seconds that each recovery took, in their order."""
        self.lost_connections = 0
        """Connections that ended before another one served."""
        self.recovering = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._last = 0
        retry = retry or ScheduleRetry()
        self.workers = [
            FleetWorker(self, retry, Random(self.random.getrandbits(64))) for _ in range(size)
        ]
        for _ in range(GATEWAYS):
            self.add_gateway()

    # --- time ------------------------------------------------------------------------------------

    def at(self, time: float, action: Callable[..., None], *arguments: Any) -> None:
        """Call ``action`` at a time; calls for the same time keep their order."""
        self._last += 1
        heapq.heappush(self._heap, (time, self._last, action, arguments))

    def run_until(self, end: float) -> None:
        """Let everything happen that happens before ``end``."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] < end:
            self.now, _, action, arguments = pop(heap)
            action(*arguments)
        self.now = end

    def run_until_recovered(self, limit: float) -> None:
        """Run until no worker recovers any more, or for ``limit`` seconds."""
        end = self.now + limit
        while self.recovering and self.now < end:
            self.run_until(self.now + 1.0)

    # --- the workers -----------------------------------------------------------------------------

    def start(self, within: float) -> None:
        """Start every worker, within so many seconds."""
        for worker in self.workers:
            self.at(self.now + within * self.random.random(), worker.deliver, inputs.Started())

    def settle(self) -> None:
        """Start the workers of a fleet that runs, and limit the API from then on."""
        self.start(STARTED_WITHIN)
        self.run_until(self.now + LIVED_AFTER)
        self.api.limit(self.rate, self.now)

    def recovers(self, worker: FleetWorker, since: float) -> None:
        """Count how long this worker needs from ``since`` to its next connection."""
        if worker.recovers_since is None:
            self.recovering += 1
            worker.recovers_since = since

    def connected(self, worker: FleetWorker) -> None:
        """A worker has a new connection that serves."""
        if worker.recovers_since is not None:
            self.recoveries.append(self.now - worker.recovers_since)
            worker.recovers_since = None
            self.recovering -= 1

    # --- the gateways ----------------------------------------------------------------------------

    def add_gateway(self) -> Gateway:
        """A gateway that the API names from now on."""
        name = f"gateway-{len(self.gateways)}"
        self.gateways[name] = Gateway(name)
        return self.gateways[name]

    def choose(self, excluded: tuple[str, ...]) -> Gateway:
        """The gateway that the API names."""
        named = [gateway for gateway in self.gateways.values() if gateway.named]
        wanted = [gateway for gateway in named if gateway.name not in excluded]
        return self.random.choice(wanted or named)

    def kill(self, gateway: Gateway) -> None:
        """The process of a gateway dies: its kernel resets every connection."""
        gateway.alive = False
        self.at(self.now + NOTICED_AFTER, setattr, gateway, "named", False)
        self._close(gateway, CLOSE_ABNORMAL, "", self.now)

    def drain(self, gateway: Gateway) -> None:
        """A deployment replaces a gateway: the successor is there before it closes."""
        self.add_gateway()
        gateway.draining, gateway.named = True, False
        for worker in self.workers:
            if gateway in worker.sockets.values():
                self.recovers(worker, self.now)
                worker.drains(gateway)
        self.at(self.now + DRAIN_WINDOW, self._drained, gateway)

    def _drained(self, gateway: Gateway) -> None:
        gateway.alive = False
        self._close(gateway, CLOSE_GOING_AWAY, REASON_GATEWAY_CLOSING, self.now)

    def cut(self, since: float) -> None:
        """Every connection is lost, and the recoveries count from ``since``."""
        for gateway in self.gateways.values():
            self._close(gateway, CLOSE_ABNORMAL, "", since)

    def _close(self, gateway: Gateway, code: int, reason: str, since: float) -> None:
        for worker in self.workers:
            if gateway in worker.sockets.values():
                self.recovers(worker, since)
                worker.loses(gateway, code, reason)
