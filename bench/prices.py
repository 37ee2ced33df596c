"""What a worker is given, and what it costs: logger, metrics, spans, page, journal, processes.

Each variant is a worker process of its own, and windows of load alternate between them and the
worker that has nothing, so that the difference of one round is that of one moment.
"""

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import httpx

from .gateway import BenchGateway
from .measurement import Measurement, measure
from .peers import Peer
from .process import WorkerProcess, worker_process
from .scenarios import REFERENCE, Scenario

NOTHING: Final = "nothing"
VARIANTS: Final = {
    NOTHING: "nothing: `logger=False`, no OpenTelemetry provider",
    "logger": "the logger at INFO, as JSON",
    "debug": "the logger at DEBUG, as JSON",
    "metrics": "metrics, with OpenTelemetry's SDK",
    "spans": "spans, with OpenTelemetry's SDK and a batch processor",
    "page": "the status page, open in one browser",
    "journal": "the journal",
    "required": 'the journal, `journal_commit="required"`',
    "all": "logger at INFO, metrics, spans, page and journal together",
    "plain": "without the fast path to the SDK (`INNGEST_CONNECT_FAST_PATH=0`)",
    "unfrozen": "without `gc.freeze()`",
    "threshold": "`gc.set_threshold(20_000, 50, 100)`",
    "uvloop": "functions on uvloop",
    "uvloop-io": "the connection's thread on uvloop",
}
CHILDREN: Final = (0, 1, 2, 4)
WORK: Final = (
    Scenario("async", 100, 200),
    Scenario("work1", 100, 200),
    Scenario("work20", 20, 200),
)
"""A no-op, and functions that compute for 1 and for 20 ms."""


async def measure_prices(
    names: Sequence[str], rounds: int, seconds: float
) -> dict[str, list[Measurement]]:
    """The figures of each variant at 100 in flight, in rounds."""
    found: dict[str, list[Measurement]] = {name: [] for name in names}
    async with contextlib.AsyncExitStack() as stack:
        running = [await stack.enter_async_context(_variant(name)) for name in names]
        for peer in running:
            await measure(peer.gateway, peer.worker, REFERENCE, seconds / 2)
        for _ in range(rounds):
            for peer in running:
                one, _ = await measure(peer.gateway, peer.worker, REFERENCE, seconds)
                found[peer.name].append(one)
    return found


@contextlib.asynccontextmanager
async def _variant(name: str) -> AsyncIterator[Peer]:
    async with BenchGateway() as gateway, worker_process(name, gateway.http.origin) as worker:
        await gateway.wait_for_worker()
        if name not in ("page", "all"):
            yield Peer(name, gateway, worker)
            return
        reader = asyncio.create_task(_browser(await worker.line()))
        try:
            yield Peer(name, gateway, worker)
        finally:
            reader.cancel()
            await asyncio.wait([reader])


async def _browser(origin: str) -> None:
    """Asks for the state as often as the page does."""
    async with httpx.AsyncClient(base_url=origin.strip()) as client:
        while True:
            (await client.get("/state.json?brief")).raise_for_status()
            await asyncio.sleep(1.0)


def price_table(found: dict[str, list[Measurement]]) -> str:
    lines = [
        "",
        "| 100 in flight, beside each other | processor us/request (min-max) | more than nothing, "
        "us (min-max) | requests/s | latency ms p50 / p99 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, measured in found.items():
        spent = [m.processor * 1e6 for m in measured]
        pairs = zip(measured, found[NOTHING], strict=True)
        more = [(one.processor - bare.processor) * 1e6 for one, bare in pairs]
        rate = statistics.median(m.requests_per_second for m in measured)
        p50 = statistics.median(m.latency_p50 for m in measured) * 1e3
        p99 = statistics.median(m.latency_p99 for m in measured) * 1e3
        lines.append(
            f"| {VARIANTS[name]} | {_spread(spent)} | {_spread(more)} | {rate:,.0f} | "
            f"{p50:.1f} / {p99:.1f} |"
        )
    return "\n".join(lines)


async def measure_children(rounds: int, seconds: float) -> dict[str, dict[str, list[Any]]]:
    """By scenario and number of child processes: requests/s and the parent's us/request."""
    found: dict[str, dict[str, list[Any]]] = {}
    async with contextlib.AsyncExitStack() as stack:
        running: list[tuple[int, BenchGateway, WorkerProcess]] = []
        for count in CHILDREN:
            gateway = await stack.enter_async_context(BenchGateway())
            peer = "ours" if count == 0 else "children"
            worker = await stack.enter_async_context(
                worker_process(peer, gateway.http.origin, count)
            )
            await gateway.wait_for_worker()
            running.append((count, gateway, worker))
        for scenario in WORK:
            rows: dict[str, list[Any]] = {str(count): [] for count in CHILDREN}
            for _, gateway, worker in running:
                await measure(gateway, worker, scenario, seconds / 2)
            for _ in range(rounds):
                for count, gateway, worker in running:
                    one, _ = await measure(gateway, worker, scenario, seconds)
                    rows[str(count)].append((one.requests_per_second, one.processor * 1e6))
            found[scenario.name] = rows
    return found


def children_table(found: dict[str, dict[str, list[Any]]]) -> str:
    lines = [
        "",
        "| function | child processes | requests/s (min-max) | of none (min-max) | the worker's "
        "own process, us/request (min-max) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for scenario, rows in found.items():
        for count, measured in rows.items():
            rates = [rate for rate, _ in measured]
            ratios = [a / b for a, (b, _) in zip(rates, rows["0"], strict=True)]
            middle = statistics.median(rates)
            faster = statistics.median(ratios)
            lines.append(
                f"| {scenario} | {count if count != '0' else 'none'} | "
                f"{middle:,.0f} ({min(rates):,.0f}-{max(rates):,.0f}) | "
                f"{faster:.2f} ({min(ratios):.2f}-{max(ratios):.2f}) | "
                f"{_spread([spent for _, spent in measured])} |"
            )
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"
