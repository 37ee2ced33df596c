"""Load: many runs at the same time, and how long they took."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from .embedded_gateway import EmbeddedGateway
from .run_driver import Event, RunResult


@dataclass(frozen=True, slots=True)
class Load:
    """What a load did. Times in seconds; ``latencies`` are of single requests, sorted."""

    results: list[RunResult] = field(repr=False)
    seconds: float
    latencies: list[float] = field(repr=False)

    @property
    def runs_per_second(self) -> float:
        """All runs, failed ones too, divided by the seconds."""
        return len(self.results) / self.seconds

    @property
    def failed(self) -> list[RunResult]:
        """The results of the runs that were not completed."""
        return [result for result in self.results if result.status != "completed"]


async def apply_load(
    gateway: EmbeddedGateway, function: Any, runs: int, at_once: int, event: Event | None
) -> Load:
    """Invoke a function ``runs`` times, ``at_once`` at a time."""
    known = set(gateway.ledger.records)
    left = iter(range(runs))
    results: list[RunResult] = []

    async def user() -> None:
        for _ in left:
            results.append(await gateway.invoke(function, event))

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as users:
        for _ in range(at_once):
            users.create_task(user())
    seconds = time.perf_counter() - begun
    latencies = sorted(
        record.answered_at - record.dispatched_at
        for request_id, record in gateway.ledger.records.items()
        if request_id not in known and record.answered_at is not None
    )
    return Load(results, seconds, latencies)
