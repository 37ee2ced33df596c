"""One window of load on one worker process, and its figures."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from .gateway import BenchGateway
from .process import WorkerProcess
from .scenarios import Scenario


@dataclass(frozen=True, slots=True)
class Measurement:
    """Times in seconds; ``processor`` is of the whole worker process, per request."""

    requests_per_second: float
    processor: float
    latency_p50: float
    latency_p99: float
    acknowledgement_p50: float
    acknowledgement_p99: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def measure(
    gateway: BenchGateway, worker: WorkerProcess, scenario: Scenario, seconds: float
) -> tuple[Measurement, list[float]]:
    """Returns the figures and every latency."""
    before = worker.processor_seconds()
    sample = await gateway.measure(
        scenario.slug,
        in_flight=scenario.in_flight,
        seconds=seconds,
        payload_bytes=scenario.payload_bytes,
    )
    spent = worker.processor_seconds() - before
    latencies, acknowledgements = sorted(sample.latencies), sorted(sample.acknowledgements)
    return (
        Measurement(
            sample.per_second,
            spent / sample.requests,
            percentile(latencies, 0.50),
            percentile(latencies, 0.99),
            percentile(acknowledgements, 0.50),
            percentile(acknowledgements, 0.99),
        ),
        latencies,
    )


async def handler_seconds(worker: WorkerProcess, scenario: Scenario, calls: int) -> float:
    """Processor seconds of one call of the SDK's handler alone, with the same number in flight."""
    worker.say(f"{scenario.slug} {calls} {scenario.in_flight} {scenario.payload_bytes}")
    return float(json.loads(await worker.line())["microseconds"]) / 1e6


def percentile(ordered: list[float], fraction: float) -> float:
    """Of sorted values; NaN without any."""
    if not ordered:
        return float("nan")
    return ordered[min(int(fraction * len(ordered)), len(ordered) - 1)]
