"""A worker with a journal is killed by SIGKILL, and the next one takes over at once.

    pip install "inngest-connect[cli,testing]"
    python examples/crash_recovery.py

Needs no server: it starts a gateway here and the worker as a process of its own. When the kill
comes, ``report`` is running, and ``charge`` has returned during an outage of the network, so that
its reply waits. It ends by itself. docs/journal.md says what a journal protects from.
"""

import asyncio
import contextlib
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import inngest

from inngest_connect import Recovered, connect
from inngest_connect.testing import ConnectionTestHarness

WORKER = "worker"
begun = time.monotonic()


def show(text: str) -> None:
    """A line with the time since the start."""
    print(f"{time.monotonic() - begun:5.1f} s  {text}", flush=True)


# --- the worker's process ------------------------------------------------------------------------


def run_worker(api_origin: str, journal: str) -> None:
    """Its lines on standard output tell the other process what it does."""
    client = inngest.Inngest(app_id="shop", is_production=False, api_base_url=api_origin)

    @client.create_function(fn_id="report", trigger=inngest.TriggerEvent(event="shop/month.ended"))
    async def report(ctx: inngest.Context) -> str:
        print(f"report begins, attempt {ctx.attempt + 1}", flush=True)
        await asyncio.sleep(60 if ctx.attempt == 0 else 1)  # the kill comes within the first
        return "a long table"

    @client.create_function(fn_id="charge", trigger=inngest.TriggerEvent(event="shop/ordered"))
    async def charge(ctx: inngest.Context) -> str:
        print(f"charge begins, attempt {ctx.attempt + 1}", flush=True)
        await asyncio.sleep(1)
        print("charge returns", flush=True)
        return "42 paid"

    def show_recovered(event: Recovered) -> None:
        print(f"recovered: {event.replies} reply, {event.requests} request", flush=True)

    connect(
        [(client, [report, charge])],
        journal=journal,
        on={"connected": lambda _: print("connected", flush=True), "recovered": show_recovered},
    ).run()


# --- this process --------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def worker_process(*arguments: str) -> AsyncIterator[Process]:
    """Starts this file as the worker, and ends it by SIGTERM unless it was killed."""
    command = [sys.executable, __file__, WORKER, *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def wait_for_lines(process: Process, *wanted: str) -> None:
    """Shows what the worker prints until each of the lines was among it."""
    missing = set(wanted)
    assert process.stdout is not None
    while missing:
        line = (await process.stdout.readline()).decode().strip()
        assert line, f"the worker ended before {missing}"
        show(f"worker {process.pid}: {line}")
        missing.discard(line)


async def journal_with_a_reply(path: Path) -> str:
    """What ``inngest-connect journal PATH`` prints, as soon as there is a reply in it."""
    command = [sys.executable, "-m", "inngest_connect.cli", "journal", str(path)]
    while True:
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
        table = (await process.communicate())[0].decode()
        assert process.returncode == 0, f"{path} cannot be read"
        if "a reply of" in table:
            return table


async def main(path: Path) -> None:
    """What happens, in its order."""
    # The leases last 120 s: without the journal, nothing would happen before their end. Retries
    # come after 1 s, as the worker asks for.
    async with ConnectionTestHarness(retry_delay=1.0) as harness:
        async with worker_process(harness.api_origin, str(path)) as worker:
            await wait_for_lines(worker, "connected")
            report = asyncio.create_task(harness.gateway.invoke("shop-report"))
            charge = asyncio.create_task(harness.gateway.invoke("shop-charge"))
            await wait_for_lines(worker, "report begins, attempt 1", "charge begins, attempt 1")
            show("the network fails")
            await harness.simulate_network_partition()
            await wait_for_lines(worker, "charge returns")
            print(await journal_with_a_reply(path))
            show(f"worker {worker.pid} is killed")
            worker.kill()
        await harness.heal_network_partition()

        restarted = time.monotonic()
        async with worker_process(harness.api_origin, str(path)) as worker:
            show(f"the network is back, and worker {worker.pid} starts")
            await wait_for_lines(worker, "report begins, attempt 2")
            until_retry = time.monotonic() - restarted
            for run in (await charge, await report):
                show(f"{run.function}: {run.status}, {run.output!r}, attempts: {run.attempts}")
            show(f"report began again {until_retry:.1f} s after the start of the second worker")
            harness.assert_nothing_lost()
            ledger = harness.ledger
            show(f"{ledger.answered} of {ledger.dispatched} requests answered, {ledger.lost} lost")


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        run_worker(*sys.argv[2:])
    else:
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(main(Path(directory) / "journal"))
