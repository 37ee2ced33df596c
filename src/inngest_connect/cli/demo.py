"""``inngest-connect demo``: a gateway and a worker in one process, on real sockets."""

import asyncio
import json
import logging
import random
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

import inngest
from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..connection import WebSocketWorkerConnection
from ..factory import connect
from ..observability.package_logger import silent_logger
from ..observability.recent_activity import percentile
from ..testing import EmbeddedGateway
from .demo_functions import LEASE_SECONDS, DemoFunction, Intended, demo_functions

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it (128 + SIGINT)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """``rate`` is runs per second; ``quiet`` prints the last line only."""

    seconds: float
    rate: float
    seed: int
    quiet: bool


@dataclass(slots=True)
class Tally:
    """What the demo counts."""

    started: int = 0
    completed: int = 0
    executed: int = 0
    wrong: int = 0


def run_demo(options: DemoOptions) -> int:
    """Run it and return the exit code."""
    # The functions fail on purpose; the SDK would log each one with its traceback.
    quiet = silent_logger("demo").logger
    return asyncio.run(_Demo(options, quiet).run())


class _Demo:
    def __init__(self, options: DemoOptions, sdk_logger: logging.Logger) -> None:
        self._options = options
        self._sdk_logger = sdk_logger
        self._console = Console(stderr=True)
        self._tally = Tally()
        self._intended = Intended()
        self._random = random.Random(options.seed)  # noqa: S311 - chooses functions, no secrets
        self._interrupted = asyncio.Event()
        self._runs: set[asyncio.Task[None]] = set()
        self._began = time.monotonic()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt)
        gateway = EmbeddedGateway(
            lease=LEASE_SECONDS,
            extend_lease_interval="300ms",
            heartbeat_interval="1s",
            record=False,
        )
        async with gateway:
            worker, functions = self._worker(gateway)
            self._say(f"API and gateway on {gateway.api_origin}; starting the worker")
            async with worker:
                self._say(f"worker is {worker.state.value}, connection {worker.connection_id}")
                progress = asyncio.create_task(self._progress(worker))
                try:
                    await self._traffic(gateway, functions)
                    await self._finish(gateway, worker, functions)
                finally:
                    progress.cancel()
                    await asyncio.wait([progress])
            return self._summary(gateway, worker)

    def _interrupt(self) -> None:
        if self._interrupted.is_set():
            # The user insists: leave without the graceful part.
            raise KeyboardInterrupt
        self._interrupted.set()
        self._say("interrupted: no new runs, finishing what is in flight (Ctrl-C again to leave)")

    def _worker(
        self, gateway: EmbeddedGateway
    ) -> tuple[WebSocketWorkerConnection, dict[str, DemoFunction]]:
        client = inngest.Inngest(
            app_id="demo",
            api_base_url=gateway.api_origin,
            event_api_base_url=gateway.api_origin,
            is_production=False,
            logger=self._sdk_logger,
        )
        functions = demo_functions(client, self._intended)
        worker = connect(
            [(client, [each.function for each in functions.values()])],
            shutdown_signals=[],
            wait=True,
            logger=False,
            on={
                "request_completed": self._request_completed,
                "state_change": lambda e: self._say(f"{e.previous.value} -> {e.state.value}"),
                "draining": lambda e: self._say(f"{e.gateway_group} is closing; moving"),
                "connected": lambda e: self._say(f"connected through {e.gateway_group}"),
                "error": lambda e: self._say(f"{e.kind}: {e.message}"),
            },
        )
        return worker, functions

    def _request_completed(self, _: object) -> None:
        self._tally.executed += 1

    async def _traffic(self, gateway: EmbeddedGateway, functions: dict[str, DemoFunction]) -> None:
        """Start runs at the wanted rate; drain the gateway half-way."""
        loop = asyncio.get_running_loop()
        begun, number, drained = loop.time(), 0, False
        names = list(functions)
        weights = [functions[name].weight for name in names]
        while not self._interrupted.is_set():
            elapsed = loop.time() - begun
            if elapsed >= self._options.seconds:
                return
            if not drained and elapsed >= self._options.seconds / 2:
                drained = True
                self._say("draining the worker's gateway")
                await gateway.drain()
            while number < elapsed * self._options.rate:
                # Every function is started once before chance decides.
                chosen = names[number] if number < len(names) else None
                name = chosen or self._random.choices(names, weights)[0]
                self._start_run(gateway, functions[name], {"number": number})
                number += 1
            await self._sleep(1 / self._options.rate)

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._interrupted.wait(), min(seconds, 0.1))
        except TimeoutError:
            return

    def _start_run(
        self, gateway: EmbeddedGateway, function: DemoFunction, data: dict[str, Any]
    ) -> None:
        self._tally.started += 1
        run = asyncio.create_task(self._run(gateway, function, data))
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)

    async def _run(
        self, gateway: EmbeddedGateway, function: DemoFunction, data: dict[str, Any]
    ) -> None:
        result = await gateway.invoke(function.function, {"name": "demo", "data": data})
        if result.status == "completed" and result.output == function.expected(data):
            self._tally.completed += 1
        else:
            self._tally.wrong += 1
            self._say(f"run {result.run_id} of {result.function}: {result.status} {result.error}")

    async def _finish(
        self,
        gateway: EmbeddedGateway,
        worker: WebSocketWorkerConnection,
        functions: dict[str, DemoFunction],
    ) -> None:
        """Let the runs end, then close with one long function still in flight."""
        if self._runs:
            await asyncio.wait(self._runs)
        acknowledged = gateway.ledger.acknowledged
        self._start_run(gateway, functions["report"], {"number": -1})
        await gateway.store.until(lambda model: model.ledger.acknowledged > acknowledged)
        self._say("closing the worker with a long function in flight")
        await worker.close(wait=True)
        await asyncio.wait(self._runs) if self._runs else None

    # --- telling ---------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        if not self._options.quiet:
            at = time.monotonic() - self._began
            self._console.print(f"{at:6.2f} s  {text}", highlight=False, markup=False)

    async def _progress(self, worker: WebSocketWorkerConnection) -> None:
        """One line that is kept up to date in a terminal, one line a second elsewhere."""
        if self._options.quiet:
            return
        if not self._console.is_terminal:
            while True:
                await asyncio.sleep(1.0)
                self._say(self._line(worker))
        with Live(console=self._console, refresh_per_second=8, transient=True) as live:
            while True:
                live.update(Text(self._line(worker)))
                await asyncio.sleep(0.125)

    def _line(self, worker: WebSocketWorkerConnection) -> str:
        state = worker.get_debug_state()
        elapsed = max(time.monotonic() - self._began, 0.001)
        return (
            f"{state.state.value}  in flight {len(state.in_flight)}  "
            f"executed {self._tally.executed} ({self._tally.executed / elapsed:.0f}/s)  "
            f"runs completed {self._tally.completed} of {self._tally.started}"
        )

    def _summary(self, gateway: EmbeddedGateway, worker: WebSocketWorkerConnection) -> int:
        """Print the last line and return the exit code."""
        ledger, tally = gateway.ledger, self._tally
        unfinished = tally.started - tally.completed - tally.wrong
        lost = ledger.lost + len(ledger.waiting()) + unfinished + tally.wrong
        quick = sorted(
            record.answered_at - record.dispatched_at
            for record in ledger.records.values()
            if record.answered_at is not None and not record.function_slug.endswith("-report")
        )
        history = worker.get_state_history()
        summary = {
            "executed": tally.executed,
            "completed": tally.completed,
            "failed_as_intended": self._intended.failures,
            "lost": lost,
            "duplicates": ledger.duplicates,
            "p50_ms": _percentile(quick, 0.50),
            "p99_ms": _percentile(quick, 0.99),
            "states": ["CONNECTING", *(change.state.value for change in history)],
        }
        self._say("p50 and p99 are of requests from dispatch to stored reply, without 'report'")
        sys.stdout.write(json.dumps(summary) + "\n")
        sys.stdout.flush()
        if lost or ledger.duplicates:
            return 1
        return INTERRUPTED if self._interrupted.is_set() else 0


def _percentile(ordered: list[float], fraction: float) -> float | None:
    """In milliseconds; None for an empty list."""
    value = percentile(((each, 1) for each in ordered), fraction)
    return None if value is None else round(value * 1000, 2)
