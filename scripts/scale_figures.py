"""Figures of scale, measured on a worker in a separate process. ``make scale``.

Prints a table for docs/reliability.md and ends with 1 when a bound is not kept. The gateway, on
this side, keeps no messages and forgets its ledger, so that only the worker's memory counts.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import inngest

from inngest_connect import ConnectionState, FixedRetry, connect
from inngest_connect.testing import EmbeddedGateway, executor_request

AT_ONCE = 100
GROWTH_BOUND = 8_000_000
"""Bytes that may stay after warming up; allocators keep some."""
MEGABYTE = 1_000_000


def make_app(origin: str) -> tuple[inngest.Inngest, list[inngest.Function[Any]]]:
    client = inngest.Inngest(app_id="scale", api_base_url=origin, is_production=False)

    @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="x"), retries=0)
    async def fn(ctx: inngest.Context) -> str:
        return "done"

    return client, [fn]


async def serve(origin: str, connections: int) -> None:
    """The worker process: ``connections`` workers until SIGTERM or the parent's end."""
    app = make_app(origin)
    workers = [
        connect(
            [app],
            instance_id=f"w{n}",
            isolation="thread" if connections == 1 else "none",
            shutdown_signals=[],
            logger=False,
            retry=FixedRetry(0.0),
        )
        for n in range(connections)
    ]
    async with asyncio.TaskGroup() as tasks:
        begun = time.perf_counter()
        for worker in workers:
            tasks.create_task(worker.start())
        for worker in workers:
            await worker.wait_for_state(ConnectionState.ACTIVE)
        say(f"active {time.perf_counter() - begun:.3f}")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        for worker in workers:
            await worker.close()


class Worker:
    """The other process, as this one sees it."""

    def __init__(self, process: asyncio.subprocess.Process, seconds: float) -> None:
        self.pid = process.pid
        self.connecting = seconds

    @property
    def resident(self) -> int:
        statm = Path(f"/proc/{self.pid}/statm").read_text()
        return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))


@contextlib.asynccontextmanager
async def worker_process(origin: str, connections: int = 1) -> AsyncIterator[Worker]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        "--serve",
        origin,
        "--connections",
        str(connections),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        line = (await process.stdout.readline()).decode()
        yield Worker(process, float(line.split()[1]))
    finally:
        process.stdin.close()
        await process.wait()


async def execute(gateway: EmbeddedGateway, count: int) -> None:
    """``count`` executions, ``AT_ONCE`` at a time."""
    left = iter(range(count))

    async def user() -> None:
        for n in left:
            event = {"name": "x", "data": {"n": n}}
            await gateway.store.dispatch(executor_request("scale", "scale-fn", event))
            if n % 1000 == 0:
                gateway.ledger.forget_ended()

    await asyncio.gather(*(user() for _ in range(AT_ONCE)))
    gateway.ledger.forget_ended()


async def latency(gateway: EmbeddedGateway, count: int = 200) -> float:
    """Median seconds from dispatch to stored reply, one at a time."""
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        call = executor_request("scale", "scale-fn", {"name": "x", "data": {}})
        await gateway.store.dispatch(call)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


async def reconnect(gateway: EmbeddedGateway, times: int) -> None:
    for _ in range(times):
        (old,) = gateway.store.model.connections
        gateway.gateways[0].connection.drop()
        gateway.gateways[0].connections.clear()
        await gateway.store.until(
            lambda _, old=old: any(c.number != old for c in gateway.store.ready_connections())  # type: ignore[misc]
        )


async def measure(executions: int, reconnects: int, connections: int) -> bool:
    """Print the table; returns whether all bounds are kept."""
    kept = []
    async with (
        EmbeddedGateway(record=False) as gateway,
        worker_process(gateway.api_origin) as worker,
    ):
        await gateway.wait_for_worker()
        kept += await measure_executions(gateway, worker, executions)
        kept += await measure_reconnects(gateway, worker, reconnects)
    async with (
        EmbeddedGateway(record=False) as gateway,
        worker_process(gateway.api_origin, connections) as worker,
    ):
        await gateway.wait_for_worker(connections)
        name = f"{connections} connections in one process, all ACTIVE after"
        kept.append(row(name, worker.connecting, "s", 2.0 * max(connections / 100, 1)))
        await execute(gateway, connections)
        say(f"| memory of that process | {worker.resident / MEGABYTE:.0f} MB | |")
    return all(kept)


async def measure_executions(gateway: EmbeddedGateway, worker: Worker, count: int) -> list[bool]:
    kept = [row("connection", worker.connecting, "s", 2.0)]
    await execute(gateway, max(count // 5, 2000))
    kept.append(row("added per execution, median", await latency(gateway), "s", 0.1))
    before = worker.resident
    begun = time.perf_counter()
    await execute(gateway, count)
    seconds = time.perf_counter() - begun
    growth = (worker.resident - before) / MEGABYTE
    kept.append(row(f"growth over {count} executions", growth, "MB", GROWTH_BOUND / MEGABYTE))
    say(f"| executions per second, {AT_ONCE} in flight, with gateway | {count / seconds:.0f} | |")
    return kept


async def measure_reconnects(gateway: EmbeddedGateway, worker: Worker, count: int) -> list[bool]:
    await reconnect(gateway, max(count // 5, 20))
    before, descriptors = worker.resident, worker.descriptors
    await reconnect(gateway, count)
    growth = (worker.resident - before) / MEGABYTE
    more = float(worker.descriptors - descriptors)
    return [
        row(f"growth over {count} reconnects", growth, "MB", GROWTH_BOUND / MEGABYTE),
        row(f"file descriptors more after {count} reconnects", more, "", 3.0),
    ]


def row(name: str, value: float, unit: str, bound: float) -> bool:
    say(f"| {name} | {value:.4g} {unit} | below {bound:g} {unit} |")
    return value < bound


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--reconnects", type=int, default=1_000)
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, options.connections))
        return 0
    if not Path("/proc/self/statm").exists():
        say("memory of another process can only be measured where there is /proc")
        return 0
    return (
        0
        if asyncio.run(measure(options.executions, options.reconnects, options.connections))
        else 1
    )


if __name__ == "__main__":
    sys.exit(main())
