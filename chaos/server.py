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
from typing import Final

from inngest_connect.protocol import FLUSH_PATH, START_PATH
from inngest_connect.testing import ConnectionTestHarness, MockWebSocketServer

from .functions import APP, EXPECTED

USERS: Final = 20
LEASE: Final = 20.0
_CALM: Final = 0.3
"""Seconds between two faults, on average."""
FAULTS: Final = (
    "reset", "drain", "kill_gateway", "black_hole", "slow_network", "refuse", "api_error",
    "api_away", "malformed", "close_code",
)  # fmt: skip


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
        loop, gateway = asyncio.get_running_loop(), self._harness.gateway
        until = loop.time() + self._seconds
        while loop.time() < until:
            await asyncio.sleep(self._draw.expovariate(1 / _CALM))
            fault = self._draw.choice(FAULTS)
            self.faults[fault] += 1
            await self._happen(fault)
            if self._draw.random() < 0.5:
                await self._harness.heal_network_partition()
                gateway.http.restore()
        gateway.http.restore()

    async def _happen(self, fault: str) -> None:
        harness, gateway, draw = self._harness, self._harness.gateway, self._draw
        match fault:
            case "reset":
                for proxy in harness.proxies:
                    proxy.reset()
            case "drain":
                await gateway.add_gateway()
                await gateway.drain(self._named_gateway())
            case "kill_gateway":
                killed = harness.gateways[self._named_gateway()]
                await gateway.add_gateway()
                gateway.http.remove_gateway(killed.name)
                await killed.stop()
            case "black_hole":
                await harness.simulate_network_partition(draw.random() * 3.0, how="black_hole")
            case "slow_network":
                for proxy in harness.proxies:
                    proxy.delay(draw.random() * 0.3)
                await asyncio.sleep(draw.random() * 2.0)
            case "refuse":
                await harness.simulate_network_partition(draw.random() * 2.0)
            case "api_error":
                status = draw.choice((401, 403, 429, 500, 502, 503))
                for endpoint in (START_PATH, FLUSH_PATH):
                    gateway.http.simulate_server_error(draw.randrange(1, 4), status, endpoint)
            case "api_away":
                await harness.api_proxy.refuse()
                harness.api_proxy.reset()
                await asyncio.sleep(draw.random() * 2.0)
                await harness.api_proxy.restore()
            case "malformed":
                for server in self._used_gateways():
                    server.send_malformed(draw.choice(("truncated", "unknown kind", "garbage")))
            case "close_code":
                # Not 1008: in a handshake it means a wrong configuration, and minutes of waiting.
                for server in self._used_gateways():
                    server.close_connection(draw.choice((1000, 1012, 1013)), "chaos")
            case _:
                raise ValueError(f"unknown fault {fault!r}")

    def _named_gateway(self) -> int:
        # The position of a gateway that the API still names.
        named = {address.group for address in self._harness.gateway.http.gateways}
        positions = [i for i, g in enumerate(self._harness.gateways) if g.name in named]
        return self._draw.choice(positions)

    def _used_gateways(self) -> list[MockWebSocketServer]:
        return [g for g in self._harness.gateways if any(c.is_open for c in g.connections)]


def _print(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(ChaosServer(float(sys.argv[1]), int(sys.argv[2])).run())
