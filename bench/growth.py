"""What must not grow: cost with leases, connections and age; import and start; memory."""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from inngest_connect.core import inputs
from inngest_connect.core.commands import Send

from .gateway import BenchGateway
from .parts import core_messages, core_seconds, ready_core
from .process import WorkerProcess, worker_process

LEASES: Final = (1, 100, 1_000, 10_000)
QUEUES: Final = (10, 100, 1_000, 10_000)
PAYLOADS: Final = (200, 1_000, 10_000, 100_000, 1_000_000)
CONNECTIONS: Final = (1, 10, 100, 500)
AGE: Final = 100_000
QUEUED: Final = 10_000
Point = tuple[int, float]

_IMPORT: Final = """
import time, json, sys
import inngest
begun = time.perf_counter()
from inngest_connect import connect
seconds = time.perf_counter() - begun
unwanted = [m for m in sys.modules if m.startswith(
    ("inngest_connect.cli", "inngest_connect.status", "inngest_connect.testing"))]
print(json.dumps([seconds, unwanted]))
"""

_START: Final = """
import asyncio, json, sys, time
sys.path.insert(0, "bench")
from worker import make_app
from inngest_connect import ConnectionState, connect
async def main():
    worker = connect([make_app(sys.argv[1])], shutdown_signals=[])
    begun = time.perf_counter()
    task = asyncio.create_task(worker.start())
    await worker.wait_for_state(ConnectionState.ACTIVE)
    print(json.dumps(time.perf_counter() - begun))
    await worker.close()
    await task
asyncio.run(main())
"""


async def start_up(times: int) -> dict[str, Any]:
    """Milliseconds and megabytes: import, start to ACTIVE, memory at rest and in flight."""
    imports, starts = [], []
    await _python(_IMPORT)
    for _ in range(times):
        seconds, unwanted = json.loads(await _python(_IMPORT))
        assert not unwanted, unwanted
        imports.append(seconds * 1e3)
    async with BenchGateway() as gateway:
        for _ in range(times):
            starts.append(json.loads(await _python(_START, gateway.http.origin)) * 1e3)
    return {"import_ms": imports, "start_ms": starts, **await _memory()}


async def _python(code: str, *arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        # As in an installation: the first run compiles the modules.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
    )
    out, _ = await process.communicate()
    return out


async def _memory() -> dict[str, float]:
    async with worker_process("sdk") as sdk:
        await sdk.line()
        alone = sdk.resident_bytes()
    found = {"sdk_mb": alone / 1e6}
    for peer in ("ours", "official"):
        async with BenchGateway() as gateway, worker_process(peer, gateway.http.origin) as worker:
            await gateway.wait_for_worker()
            found[f"{peer}_beyond_mb"] = (worker.resident_bytes() - alone) / 1e6
    async with BenchGateway() as gateway, worker_process("limited", gateway.http.origin) as worker:
        await gateway.wait_for_worker()
        gateway.call("bench-wait", 100)
        await gateway.wait_for_acknowledgements(100)
        before = worker.resident_bytes()
        gateway.call("bench-wait", QUEUED)
        await gateway.wait_for_acknowledgements(100 + QUEUED)
        after = worker.resident_bytes()
        payload = len(gateway.payload)
        found["queued_request_bytes"] = (after - before) / QUEUED - payload
    return found


def start_table(found: dict[str, Any]) -> str:
    def middle(name: str) -> str:
        return f"{statistics.median(found[name]):.0f} ms (best {min(found[name]):.0f})"

    return "\n".join(
        (
            "",
            "| start and memory | |",
            "| --- | --- |",
            f"| import beyond inngest's own | {middle('import_ms')} |",
            f"| start() to ACTIVE | {middle('start_ms')} |",
            f"| memory at rest beyond the SDK's {found['sdk_mb']:.0f} MB | "
            f"{found['ours_beyond_mb']:.1f} MB (official {found['official_beyond_mb']:.1f} MB) |",
            "| memory of a queued request beyond its payload | "
            f"{found['queued_request_bytes']:.0f} bytes |",
        )
    )


async def measure_growth(say: Callable[[str], None]) -> dict[str, list[Point]]:
    """Processor microseconds per request while something grows."""
    found = {
        "requests in flight beside it": await _beside_leases(),
        "leases beside it, core alone": [
            (count, min(core_seconds(10, beside=count) for _ in range(5)) * 1e6) for count in LEASES
        ],
        "replies beside it that are not acknowledged, core alone": [
            (count, min(core_seconds(10, beside=count, answered=True) for _ in range(5)) * 1e6)
            for count in LEASES
        ],
        "requests queued for one slot": await _at_each("limited", QUEUES, "in_flight"),
        "bytes of payload": await _at_each("ours", PAYLOADS, "payload_bytes"),
        "connections in the process": await _connections(),
        "requests executed before": await _age(),
        "leases extended together: longest turn of the core, us": [
            (count, _longest_turn(count)) for count in LEASES
        ],
    }
    say("\n| growth | " + "processor us/request at |\n| --- | --- |")
    for name, points in found.items():
        say(f"| {name} | " + ", ".join(f"{n:,}: {value:.0f}" for n, value in points) + " |")
    return found


async def _cost(
    gateway: BenchGateway, worker: WorkerProcess, in_flight: int = 10, payload_bytes: int = 200
) -> float:
    """The best of three windows: it shows growth, and not another busy process."""
    costs = []
    for _ in range(3):
        before = worker.processor_seconds()
        sample = await gateway.measure(
            "bench-async", in_flight=in_flight, seconds=0.6, payload_bytes=payload_bytes
        )
        costs.append((worker.processor_seconds() - before) / sample.requests * 1e6)
    return min(costs)


async def _beside_leases() -> list[Point]:
    points = []
    for count in LEASES:
        async with BenchGateway() as gateway, worker_process("ours", gateway.http.origin) as worker:
            await gateway.wait_for_worker()
            gateway.call("bench-wait", count)
            await gateway.wait_for_acknowledgements(count)
            await _cost(gateway, worker)
            points.append((count, await _cost(gateway, worker)))
    return points


async def _at_each(peer: str, values: Sequence[int], argument: str) -> list[Point]:
    """The cost with each value as ``argument`` of ``_cost``, in one process."""
    points = []
    async with BenchGateway() as gateway, worker_process(peer, gateway.http.origin) as worker:
        await gateway.wait_for_worker()
        for value in values:
            points.append((value, await _cost(gateway, worker, **{argument: value})))
    return points


async def _connections() -> list[Point]:
    points = []
    for count in CONNECTIONS:
        async with (
            BenchGateway() as gateway,
            worker_process("none", gateway.http.origin, count) as worker,
        ):
            await gateway.wait_for_worker(count)
            await _cost(gateway, worker, 500)
            points.append((count, await _cost(gateway, worker, 500)))
    return points


async def _age() -> list[Point]:
    points = []
    async with BenchGateway() as gateway, worker_process("ours", gateway.http.origin) as worker:
        await gateway.wait_for_worker()
        for age in range(0, AGE, AGE // 10):
            before = worker.processor_seconds()
            sample = await gateway.measure("bench-async", in_flight=100, requests=AGE // 10)
            spent = worker.processor_seconds() - before
            points.append((age + AGE // 10, spent / sample.requests * 1e6))
    return points


def _longest_turn(count: int) -> float:
    """Microseconds that one turn of the core takes at most while ``count`` leases are extended."""
    core = ready_core()
    calls, _, ids = core_messages(count)
    for call, request_id in zip(calls, ids, strict=True):
        core.handle(inputs.MessageReceived(1, call), 1.0)
        core.handle(inputs.AcknowledgementsWritten(1, (request_id,)), 1.0)
    longest, extended, now = 0.0, 0, 1.0 + core.leases.interval
    while extended < count:
        begun = time.perf_counter()
        commands = core.handle(inputs.Tick(), now)
        longest = max(longest, time.perf_counter() - begun)
        sent = sum(isinstance(command, Send) for command in commands)
        if not sent:
            raise RuntimeError(f"only {extended} of {count} leases were extended")
        extended += sent
    return longest * 1e6
