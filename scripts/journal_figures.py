"""What a journal costs, and what it saves. ``make journal-figures``; about five minutes.

(i) processor time of the worker process and latencies, with 100 requests of a no-op function in
flight, without a journal, with one, and with ``journal_commit="required"``; (ii) seconds from
SIGKILL until the second attempt of what ran begins, with the timings of the real server; (iii) how
long a result is younger than its copy on disk; (iv) the start with a large journal.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import inngest

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.gateway import BenchGateway
from bench.measurement import Measurement, measure, percentile
from bench.peers import machine
from bench.process import WorkerProcess
from bench.scenarios import REFERENCE
from inngest_connect import connect
from inngest_connect.aio.clock import monotonic
from inngest_connect.journal.file import JournalFile
from inngest_connect.journal.rows import Holder, Row
from inngest_connect.journal.writer import Journal
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import EmbeddedGateway, executor_request

NONE = "none"
WAYS = (NONE, "beside", "required")
MEGABYTE = 1_000_000


# --- the worker processes ------------------------------------------------------------------------


def serve(app: str, origin: str, path: str, commit: str) -> None:
    """A worker until its standard input ends."""
    client = inngest.Inngest(app_id=app, api_base_url=origin, is_production=False)
    trigger = inngest.TriggerEvent(event="x")

    @client.create_function(fn_id="async", trigger=trigger, retries=0)
    async def noop(ctx: inngest.Context) -> Any:
        return ctx.event.data["x"]

    @client.create_function(fn_id="long", trigger=trigger, retries=1)
    async def long(ctx: inngest.Context) -> str:
        say(f"started {ctx.attempt}")
        await asyncio.sleep(3600 if ctx.attempt == 0 else 0.0)
        return "done"

    async def run() -> None:
        options: dict[str, Any] = {}
        if commit != NONE:
            options = {"journal": path, "journal_commit": commit}
        functions: list[inngest.Function[Any]] = [noop, long]
        worker = connect(
            [(client, functions)], logger=False, shutdown_signals=[], shutdown_timeout=0.0,
            **options,
        )  # fmt: skip
        task = asyncio.create_task(worker.start())
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        task.cancel()
        os._exit(0)

    asyncio.run(run())


@contextlib.asynccontextmanager
async def worker_process(*arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--serve", *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


# --- (i) the cost --------------------------------------------------------------------------------


async def cost(folder: Path, rounds: int, seconds: float) -> None:
    say(f"\n100 in flight, {rounds} rounds of {seconds:g} s, medians (minimum-maximum)")
    say("| journal | processor us/request | more than without | p50 ms | p99 ms | requests/s |")
    say("| --- | --- | --- | --- | --- | --- |")
    async with contextlib.AsyncExitStack() as stack:
        peers: dict[str, tuple[BenchGateway, WorkerProcess]] = {}
        for way in WAYS:
            gateway = await stack.enter_async_context(BenchGateway())
            process = await stack.enter_async_context(
                worker_process("bench", gateway.http.origin, folder / way, way)
            )
            await gateway.wait_for_worker()
            peers[way] = gateway, WorkerProcess(process)
            await measure(*peers[way], REFERENCE, seconds)  # warms up
        found: dict[str, list[Measurement]] = {way: [] for way in WAYS}
        for number in range(rounds):
            # In turn from another one, so that none has the better moments of the machine.
            for way in (*WAYS[number % 3 :], *WAYS[: number % 3]):
                found[way].append((await measure(*peers[way], REFERENCE, seconds))[0])
    without = found[NONE]
    for way, measured in found.items():
        pairs = zip(measured, without, strict=True)
        more = [(one.processor - other.processor) * 1e6 for one, other in pairs]
        cells = (
            spread([m.processor * 1e6 for m in measured], 0),
            "" if way == NONE else spread(more, 0),
            spread([m.latency_p50 * 1e3 for m in measured], 1),
            spread([m.latency_p99 * 1e3 for m in measured], 1),
            spread([m.requests_per_second for m in measured], 0),
        )
        say(f"| {way} | {' | '.join(cells)} |")


def spread(values: list[float], digits: int) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


# --- (ii) what it saves --------------------------------------------------------------------------


async def second_attempt(folder: Path, way: str) -> float:
    """Seconds from SIGKILL to the second attempt's start, with an immediate restart."""
    path = folder / f"killed-{way}"
    async with EmbeddedGateway(retry_delay=1.0) as gateway:
        arguments = ("killed", gateway.api_origin, path, way)
        async with worker_process(*arguments) as first:
            run = asyncio.create_task(gateway.invoke("killed-long", {"data": {}}))
            assert await line(first) == "started 0"
            await asyncio.sleep(0.5)
            first.kill()
            begun = time.monotonic()
            async with worker_process(*arguments) as second:
                assert await line(second) == "started 1"
                seconds = time.monotonic() - begun
                await run
    return seconds


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 300)).decode().strip()


# --- (iii) the window ----------------------------------------------------------------------------


async def window(folder: Path, name: str, per_second: int, seconds: float) -> None:
    """From ``record`` with a reply to the end of its transaction, at so many requests a second."""
    recorded: dict[str, float] = {}
    taken: list[float] = []

    class Watched(JournalFile):
        def write(self, changes: Any) -> None:
            super().write(changes)
            now = monotonic()
            for key, row in changes.items():
                if row is not None and row.reply is not None and key in recorded:
                    taken.append(now - recorded.pop(key))

    path = folder / f"window-{per_second}"
    journal = Journal(str(path), "normal", "beside", "figures", lambda _: None)
    journal._file = Watched(path, "normal", Holder("here", os.getpid(), "figures", time.time()))
    await journal.open()
    journal.begin(lambda _: None)
    begun, sent = monotonic(), 0
    reply = b"x" * 300
    while (now := monotonic() - begun) < seconds:
        while sent < now * per_second:
            request = a_request(f"r{sent:025d}")
            journal.record(request, None)
            recorded[request.request_id] = monotonic()
            journal.record(request, reply)
            sent += 1
            if sent > 50:
                journal.erase(f"r{sent - 50:025d}")
        await asyncio.sleep(0.001)
    journal.close()
    await journal.closed()
    ordered = sorted(each * 1e3 for each in taken)
    middle, late = percentile(ordered, 0.5), percentile(ordered, 0.99)
    say(f"| {name}: a result is on disk after, median and p99 | {middle:.1f} ms, {late:.1f} ms |")


def a_request(request_id: str) -> pb.GatewayExecutorRequestData:
    event = {"name": "x", "data": {"x": "x" * 200}}
    return executor_request("app", "app-fn", event, request_id=request_id)


# --- (iv) the start with a large journal ---------------------------------------------------------


def large_start(folder: Path, megabytes: int) -> None:
    path, reply = folder / "large", os.urandom(100_000)
    rows = {f"r{n:025d}": Row(a_request(f"r{n:025d}"), 1.0, reply) for n in range(megabytes * 10)}
    file = JournalFile(path, "normal", Holder("here", 1, "figures", 1.0))
    file.open()
    file.replace(rows)
    file.close()
    begun = time.monotonic()
    file.open()
    took = time.monotonic() - begun
    file.close()
    name = f"opening a journal with {len(rows)} replies, {megabytes} MB together"
    say(f"| {name} | {took:.2f} s |")


async def run(options: argparse.Namespace) -> None:
    say(json.dumps(machine()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await cost(folder, options.rounds, options.seconds)
        say("\n| figure | value |\n| --- | --- |")
        for number in range(options.kills):
            seconds = await second_attempt(folder, "beside")
            title = f"from SIGKILL to the second attempt, with a journal, {number + 1}"
            say(f"| {title} | {seconds:.1f} s |")
        if not options.quick:
            seconds = await second_attempt(folder, NONE)
            say(f"| from SIGKILL to the second attempt, without a journal | {seconds:.1f} s |")
        await window(folder, "10 requests a second", 10, 10.0)
        await window(folder, "1000 requests a second", 1000, 5.0)
        large_start(folder, options.megabytes)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a window of load")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=500, help="of the large journal")
    parser.add_argument("--quick", action="store_true", help="without waiting for a lease")
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve)
        return 0
    if not Path("/proc/self/stat").exists():
        say("the processor time of another process can only be read where there is /proc")
        return 0
    asyncio.run(run(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
