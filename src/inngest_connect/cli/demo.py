"""``inngest-connect demo``: a gateway and a worker in one process, on real sockets."""

import asyncio
import contextlib
import json
import random
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

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

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as in shells (128 + SIGINT)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """``rate`` is runs per second; with ``json`` only a line of JSON is printed."""

    seconds: float
    rate: float
    seed: int
    json: bool


def run_demo(options: DemoOptions) -> int:
    """Run it and return the exit code."""
    return asyncio.run(_Demo(options).run())


class _Demo:
    def __init__(self, options: DemoOptions) -> None:
        self._options = options
        self._console = Console(stderr=True)
        self._intended = Intended()
        self._interrupted = asyncio.Event()
        self._runs: set[asyncio.Task[None]] = set()
        self._started = self._completed = self._wrong = self._executed = 0
        self._began = time.monotonic()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt)
        async with EmbeddedGateway(
            lease=LEASE_SECONDS,
            extend_lease_interval="300ms",
            heartbeat_interval="1s",
            record=False,
        ) as gateway:
            client = inngest.Inngest(
                app_id="demo",
                api_base_url=gateway.api_origin,
                event_api_base_url=gateway.api_origin,
                is_production=False,
                # The functions fail on purpose; the SDK would log each failure with its traceback.
                logger=silent_logger("demo").logger,
            )
            functions = demo_functions(client, self._intended)
            worker = connect(
                [(client, [each.function for each in functions.values()])],
                shutdown_signals=[],
                wait=True,
                logger=False,
                on={
                    "request_completed": self._count,
                    "state_change": lambda e: self._print(f"{e.previous.value} -> {e.state.value}"),
                    "draining": lambda e: self._print(f"{e.gateway_group} is closing; moving"),
                    "connected": lambda e: self._print(f"connected through {e.gateway_group}"),
                    "error": lambda e: self._print(f"{e.kind}: {e.message}"),
                },
            )
            self._print(f"API and gateway on {gateway.api_origin}; starting the worker")
            async with worker:
                self._print(f"worker is {worker.state.value}, connection {worker.connection_id}")
                progress = asyncio.create_task(self._progress(worker))
                try:
                    await self._send_traffic(gateway, functions)
                    if self._runs:
                        await asyncio.wait(self._runs)
                    acknowledged = gateway.ledger.acknowledged
                    self._start_run(gateway, functions["export"], {"number": -1})
                    await gateway.store.until(lambda it: it.ledger.acknowledged > acknowledged)
                    self._print("closing the worker with a long function in flight")
                    await worker.close(wait=True)
                    if self._runs:
                        await asyncio.wait(self._runs)
                finally:
                    progress.cancel()
                    await asyncio.wait([progress])
            return self._summarize(gateway, worker)

    def _interrupt(self) -> None:
        if self._interrupted.is_set():
            # The user insists: exit without the graceful part.
            raise KeyboardInterrupt
        self._interrupted.set()
        self._print("interrupted: no new runs, finishing what is in flight (Ctrl-C again to leave)")

    def _count(self, _: object) -> None:
        self._executed += 1

    async def _send_traffic(
        self, gateway: EmbeddedGateway, functions: dict[str, DemoFunction]
    ) -> None:
        """Start runs at the wanted rate; drain the gateway half-way."""
        loop = asyncio.get_running_loop()
        chance = random.Random(self._options.seed)  # noqa: S311 - chooses functions, no secrets
        begun, number, drained = loop.time(), 0, False
        names = list(functions)
        weights = [functions[name].weight for name in names]
        while not self._interrupted.is_set():
            # A busy machine looks late: what was due until the end is started all the same.
            elapsed = min(loop.time() - begun, self._options.seconds)
            if not drained and elapsed >= self._options.seconds / 2:
                drained = True
                self._print("draining the worker's gateway")
                await gateway.drain()
            while number < elapsed * self._options.rate:
                # Every function is started once before chance decides.
                name = names[number] if number < len(names) else chance.choices(names, weights)[0]
                self._start_run(gateway, functions[name], {"number": number})
                number += 1
            if elapsed >= self._options.seconds:
                return
            with contextlib.suppress(TimeoutError):
                pause = min(1 / self._options.rate, 0.1)
                await asyncio.wait_for(self._interrupted.wait(), pause)

    def _start_run(
        self, gateway: EmbeddedGateway, function: DemoFunction, data: dict[str, Any]
    ) -> None:
        async def run() -> None:
            result = await gateway.invoke(function.function, {"name": "demo", "data": data})
            if result.status == "completed" and result.output == function.expected(data):
                self._completed += 1
            else:
                self._wrong += 1
                self._print(
                    f"run {result.run_id} of {result.function}: {result.status} {result.error}"
                )

        self._started += 1
        task = asyncio.create_task(run())
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)

    def _print(self, text: str) -> None:
        if not self._options.json:
            at = time.monotonic() - self._began
            self._console.print(f"{at:6.2f} s  {text}", highlight=False, markup=False)

    async def _progress(self, worker: WebSocketWorkerConnection) -> None:
        """One line that is kept up to date in a terminal, one line a second elsewhere."""

        def line() -> str:
            state = worker.get_debug_state()
            elapsed = max(time.monotonic() - self._began, 0.001)
            return (
                f"{state.state.value}  in flight {len(state.in_flight)}  "
                f"executed {self._executed} ({self._executed / elapsed:.0f}/s)  "
                f"runs completed {self._completed} of {self._started}"
            )

        if self._options.json:
            return
        if not self._console.is_terminal:
            while True:
                await asyncio.sleep(1.0)
                self._print(line())
        with Live(console=self._console, refresh_per_second=8, transient=True) as live:
            while True:
                live.update(Text(line()))
                await asyncio.sleep(0.125)

    def _summarize(self, gateway: EmbeddedGateway, worker: WebSocketWorkerConnection) -> int:
        """Print the last line and return the exit code."""
        ledger = gateway.ledger
        unfinished = self._started - self._completed - self._wrong
        lost = ledger.lost + len(ledger.waiting()) + unfinished + self._wrong
        quick = [
            (seconds, 1)
            for seconds in sorted(
                record.answered_at - record.dispatched_at
                for record in ledger.records.values()
                if record.answered_at is not None and not record.function_slug.endswith("-export")
            )
        ]
        p50, p99 = percentile(quick, 0.50), percentile(quick, 0.99)
        summary = {
            "executed": self._executed,
            "completed": self._completed,
            "failed_as_intended": self._intended.failures,
            "lost": lost,
            "duplicates": ledger.duplicates,
            "p50_ms": p50 and round(p50 * 1000, 2),
            "p99_ms": p99 and round(p99 * 1000, 2),
            "states": ["CONNECTING", *(c.state.value for c in worker.get_state_history())],
        }
        if self._options.json:
            sys.stdout.write(json.dumps(summary) + "\n")
        else:
            sys.stdout.write(_in_words(summary))
        sys.stdout.flush()
        if lost or ledger.duplicates:
            return 1
        return INTERRUPTED if self._interrupted.is_set() else 0


def _in_words(summary: dict[str, Any]) -> str:
    good = not summary["lost"] and not summary["duplicates"]
    lines = [
        f"{summary['executed']} requests were executed: {summary['lost']} lost, "
        f"{summary['duplicates']} executed twice. {'All is well.' if good else 'THIS IS A BUG.'}",
        f"{summary['completed']} runs returned what they should; functions failed "
        f"{summary['failed_as_intended']} times on purpose, and were tried again.",
    ]
    if summary["p50_ms"] is not None:
        lines.append(
            f"From dispatch to stored reply: half within {summary['p50_ms']} ms, 99 % within "
            f"{summary['p99_ms']} ms (without 'export', which takes its time)."
        )
    lines.append(f"The worker was {', '.join(summary['states'])}.")
    return "\n".join(lines) + "\n"
