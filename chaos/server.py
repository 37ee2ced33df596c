"""The server process of a chaos run: API, gateways, fault proxies, traffic, and the ledger.

``python -m chaos.server SECONDS SEED`` prints the API's origin first and, when all runs have ended
after ``SECONDS`` of faults, one line of JSON. All faults but stopped processes happen here; the
controller stops and continues processes.
"""

import asyncio
import json
import random
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

from inngest_connect.testing.harness import ConnectionTestHarness

from .functions import APP, EXPECTED

USERS = 20
LEASE = 20.0
_CALM = 0.3
"""Seconds between two faults, on average."""


class ChaosServer:
    """The server of one chaos run, and its users."""

    def __init__(self, seconds: float, seed: int) -> None:
        self._seconds = seconds
        self._draw = random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self._harness = ConnectionTestHarness(
            gateways=2,
            lease=LEASE,
            extend_lease_interval="2s",
            heartbeat_interval="2s",
            handling_delay=0.01,
            drain_window=5.0,
            record=False,
        )
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM; SIGUSR1 writes what is waited for to stderr."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGUSR1, self._write_what_is_waited_for)
        async with self._harness as harness:
            _print({"origin": harness.api_origin})
            await harness.gateway.wait_for_worker(2)
            async with asyncio.TaskGroup() as tasks:
                ended = asyncio.Event()
                for number in range(USERS):
                    tasks.create_task(self._user(number, ended))
                await self._misbehave()
                await harness.heal_network_partition()
                ended.set()
            await harness.gateway.wait_until_idle()
            _print(self._summary())
            await self._stop.wait()  # workers close their connections first

    def _write_what_is_waited_for(self) -> None:
        model = self._harness.gateway.store.model
        for record in model.ledger.waiting():
            sys.stderr.write(f"waiting: {record}\n")
        for connection in model.connections.values():
            sys.stderr.write(f"connection: {connection}\n"[:500])
        for task in asyncio.all_tasks():
            task.print_stack(limit=2)

    async def _user(self, number: int, ended: asyncio.Event) -> None:
        draw = random.Random(number)
        while not ended.is_set():
            name = draw.choice(list(EXPECTED))
            n = draw.randrange(1000)
            event = {"data": {"n": n, "seconds": round(draw.random() * 3, 2)}}
            result = await self._harness.gateway.invoke(f"{APP}-{name}", event)
            right = result.status == "completed" and result.output == EXPECTED[name](n)
            self.runs["completed" if right else "wrong"] += 1

    def _summary(self) -> dict[str, object]:
        ledger = self._harness.ledger
        return {
            "runs": dict(self.runs),
            "requests": ledger.dispatched,
            "acknowledged": ledger.acknowledged,
            "replied": ledger.answered,
            "flushed": ledger.flushed,
            "unroutable": sum(1 for r in ledger.records.values() if r.outcome == "unroutable"),
            "lost": ledger.lost,
            "faults": dict(self.faults),
        }

    # --- faults --------------------------------------------------------------------------------

    async def _misbehave(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._seconds
        kinds: list[Callable[[], Awaitable[None]]] = [
            self._reset,
            self._drain,
            self._kill_gateway,
            self._black_hole,
            self._slow_network,
            self._refuse,
            self._api_error,
            self._api_away,
            self._malformed,
            self._close_code,
        ]
        while loop.time() < until:
            await asyncio.sleep(self._draw.expovariate(1 / _CALM))
            kind = self._draw.choice(kinds)
            self.faults[kind.__name__.removeprefix("_")] += 1
            await kind()
            if self._draw.random() < 0.5:
                await self._harness.heal_network_partition()
                self._harness.gateway.http.restore()
        self._harness.gateway.http.restore()

    async def _hold(self, longest: float = 2.0) -> None:
        await asyncio.sleep(self._draw.random() * longest)

    async def _reset(self) -> None:
        for proxy in self._harness.proxies:
            proxy.reset()

    async def _drain(self) -> None:
        await self._harness.gateway.add_gateway()
        await self._harness.gateway.drain(self._live())

    async def _kill_gateway(self) -> None:
        index = self._live()
        gateway = self._harness.gateways[index]
        await self._harness.gateway.add_gateway()
        self._harness.gateway.http.remove_gateway(gateway.name)
        await gateway.stop()

    def _live(self) -> int:
        # The position of a gateway that the API still names.
        named = {address.group for address in self._harness.gateway.http.gateways}
        live = [i for i, g in enumerate(self._harness.gateways) if g.name in named]
        return self._draw.choice(live)

    async def _black_hole(self) -> None:
        await self._harness.simulate_network_partition(how="black_hole")
        await self._hold(3.0)
        await self._harness.heal_network_partition()

    async def _slow_network(self) -> None:
        for proxy in self._harness.proxies:
            proxy.delay(self._draw.random() * 0.3)
        await self._hold()

    async def _refuse(self) -> None:
        await self._harness.simulate_network_partition()
        await self._hold()
        await self._harness.heal_network_partition()

    async def _api_error(self) -> None:
        http = self._harness.gateway.http
        status = self._draw.choice((401, 403, 429, 500, 502, 503))
        for endpoint in ("/v0/connect/start", "/v0/connect/flush"):
            http.simulate_server_error(
                times=self._draw.randrange(1, 4), status=status, endpoint=endpoint
            )

    async def _api_away(self) -> None:
        await self._harness.api_proxy.refuse()
        self._harness.api_proxy.reset()
        await self._hold()
        await self._harness.api_proxy.restore()

    async def _malformed(self) -> None:
        for gateway in self._harness.gateways:
            if any(c.is_open for c in gateway.connections):
                gateway.send_malformed(self._draw.choice(("truncated", "unknown kind", "garbage")))

    async def _close_code(self) -> None:
        for gateway in self._harness.gateways:
            if any(c.is_open for c in gateway.connections):
                # Not 1008: in a handshake it means a wrong configuration, and minutes of waiting.
                gateway.close_connection(self._draw.choice((1000, 1012, 1013)), "chaos")


def _print(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(ChaosServer(float(sys.argv[1]), int(sys.argv[2])).run())
