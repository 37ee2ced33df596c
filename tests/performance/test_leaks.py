"""What a worker keeps of each execution and of each connection, to the byte.

Resident memory is too coarse: allocators keep megabytes, and a leak of 200 bytes an execution hides
in them. The worker's process traces its allocations instead.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from inngest_connect.testing import EmbeddedGateway, executor_request

pytestmark = [pytest.mark.performance, pytest.mark.timeout(600)]

WORKER = """
import asyncio, gc, random, sys, tracemalloc
import inngest
random.SystemRandom.random = lambda self: 0.0  # no jitter: reconnects follow one another
from inngest_connect import FixedRetry, connect
from inngest_connect.core.requests import answered_requests
answered_requests.REPEAT_WINDOW = 0.0  # for 150 s they are kept on purpose, and until the next tick
always = property(lambda self: float("inf"), lambda self, at: None)
answered_requests.AnsweredRequests._read_until = always

client = inngest.Inngest(app_id="app", api_base_url=sys.argv[1], is_production=False)

@client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="x"), retries=0)
async def fn(ctx: inngest.Context) -> str:
    return "done"

async def main():
    async with connect([(client, [fn])], shutdown_signals=[], retry=FixedRetry(0.0), logger=False):
        tracemalloc.start()
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            await asyncio.sleep(0.2)
            gc.collect()
            print(tracemalloc.get_traced_memory()[0], flush=True)

asyncio.run(main())
"""


@dataclass
class TracedWorker:
    gateway: EmbeddedGateway
    process: asyncio.subprocess.Process

    async def traced_bytes(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        return int(await self.process.stdout.readline())

    async def execute(self, count: int) -> None:
        left = iter(range(count))

        async def user() -> None:
            for n in left:
                event = {"name": "x", "data": {"n": n}}
                await self.gateway.store.dispatch(executor_request("app", "app-fn", event))

        await asyncio.gather(*(user() for _ in range(20)))

    async def reconnect(self, count: int) -> None:
        for _ in range(count):
            (old,) = self.gateway.store.model.connections
            self.gateway.gateways[0].connection.drop()
            await self.gateway.store.until(
                lambda _, old=old: any(
                    c.number != old for c in self.gateway.store.ready_connections()
                )
            )


@contextlib.asynccontextmanager
async def traced_worker() -> AsyncIterator[TracedWorker]:
    async with EmbeddedGateway(record=False) as gateway:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WORKER,
            gateway.api_origin,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # What coverage keeps would be measured too.
            env={name: value for name, value in os.environ.items() if "COVERAGE" not in name},
        )
        assert process.stdin is not None
        try:
            connected = asyncio.create_task(gateway.wait_for_worker())
            ended = asyncio.create_task(process.wait())
            await asyncio.wait({connected, ended}, return_when=asyncio.FIRST_COMPLETED)
            assert not ended.done(), "the worker's program has failed, see standard error"
            ended.cancel()
            yield TracedWorker(gateway, process)
        finally:
            process.stdin.close()
            await process.wait()


@pytest.mark.scenario("V")
async def test_an_execution_leaves_nothing_behind() -> None:
    """Measured: 8 bytes. What a worker keeps by design is bounded and warmed up."""
    async with traced_worker() as worker:
        await worker.execute(1_500)
        before = await worker.traced_bytes()
        await worker.execute(1_500)
        growth = await worker.traced_bytes() - before

    assert growth / 1_500 < 100


@pytest.mark.scenario("V")
async def test_a_reconnect_leaves_nothing_behind() -> None:
    """Measured: 55 bytes over 720. Histories of 50 and 100 entries are full after warming up.

    What is traced goes up and down by 20 kB in a few dozen reconnects, because asyncio collects the
    timers that were cancelled; hence so many.
    """
    async with traced_worker() as worker:
        await worker.reconnect(110)
        before = await worker.traced_bytes()
        await worker.reconnect(240)
        growth = await worker.traced_bytes() - before

    assert growth / 240 < 500
