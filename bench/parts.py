"""Where the processor time of a request goes: handler, application's thread, I/O thread.

The core's share is measured by giving it the inputs of requests, without anything around it; the
I/O thread spends the rest on sockets, wake-ups and the orchestrator.
"""

import statistics
import time
from typing import Any, Final

from inngest_connect import ScheduleRetry
from inngest_connect.core import inputs
from inngest_connect.core.settings import AppIdentity, CoreSettings, WorkerIdentity
from inngest_connect.core.wire.messages import ExecutionResult, envelope
from inngest_connect.core.worker_core import WorkerCore
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import executor_request

from .gateway import BenchGateway
from .measurement import handler_seconds
from .process import worker_process
from .scenarios import REFERENCE, Scenario

K = pb.GatewayMessageType
ONE_AT_A_TIME: Final = Scenario("async", 1, 200)


async def measure_parts(rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Microseconds per request by part, medians, for 100 and for one in flight."""
    found: dict[str, dict[str, float]] = {}
    async with (
        BenchGateway() as gateway,
        worker_process("ours", gateway.http.origin) as ours,
        worker_process("handler") as handler,
    ):
        await gateway.wait_for_worker()
        for scenario in (REFERENCE, ONE_AT_A_TIME):
            taken: dict[str, list[float]] = {
                part: [] for part in ("handler", "caller", "core", "connection")
            }
            await gateway.measure(scenario.slug, in_flight=scenario.in_flight, seconds=seconds)
            for _ in range(rounds):
                before = ours.thread_seconds()
                sample = await gateway.measure(
                    scenario.slug, in_flight=scenario.in_flight, seconds=seconds
                )
                after = ours.thread_seconds()
                each = {t: (after[t] - before.get(t, 0.0)) / sample.requests for t in after}
                main = next(iter(after))
                taken["handler"].append(await handler_seconds(handler, scenario, 2000))
                taken["caller"].append(each.pop(main))
                taken["core"].append(core_seconds(scenario.in_flight))
                taken["connection"].append(sum(each.values()))
            median = {part: statistics.median(values) * 1e6 for part, values in taken.items()}
            found[scenario.name] = {
                "the SDK's handler": median["handler"],
                "application's thread, rest": max(median["caller"] - median["handler"], 0.0),
                "core": median["core"],
                "connection's thread, rest": max(median["connection"] - median["core"], 0.0),
            }
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    parts = list(next(iter(found.values())))
    lines = ["", "| processor us/request | " + " | ".join(parts) + " |"]
    lines.append("| --- |" + " --- |" * len(parts))
    for name, values in found.items():
        lines.append(f"| {name} | " + " | ".join(f"{values[p]:.0f}" for p in parts) + " |")
    return "\n".join(lines)


async def measure_paths(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Microseconds of the handler part by path, in alternate rounds; see ``sdk/fast_path.py``."""
    found: dict[str, dict[str, list[float]]] = {}
    async with worker_process("handler") as fast, worker_process("plain-handler") as plain:
        for scenario in (REFERENCE, ONE_AT_A_TIME):
            taken = found[scenario.name] = {"fast path": [], "plain path": []}
            for _ in range(rounds):
                for path, worker in zip(taken, (fast, plain), strict=True):
                    taken[path].append(await handler_seconds(worker, scenario, 2000) * 1e6)
    return found


def paths_table(found: dict[str, dict[str, list[float]]]) -> str:
    lines = [
        "",
        "| the SDK's handler, us/request | fast path | plain path |",
        "| --- | --- | --- |",
    ]
    for name, taken in found.items():
        ranges = (f"{min(values):.0f}-{max(values):.0f}" for values in taken.values())
        lines.append(f"| {name} | " + " | ".join(ranges) + " |")
    return "\n".join(lines)


def core_seconds(
    in_flight: int, requests: int = 2000, beside: int = 0, *, answered: bool = False
) -> float:
    """Seconds of the core for one request, with so many in flight, and so many others leased.

    The others run, or they are ``answered`` and their replies are not acknowledged.
    """
    core = ready_core()
    calls, acks, ids = core_messages(beside + requests)
    result = ExecutionResult(pb.SDKResponseStatus.DONE, b'"done"')
    for n in range(requests, requests + beside):
        core.handle(inputs.MessageReceived(1, calls[n]), 1.0)
        core.handle(inputs.AcknowledgementsWritten(1, (ids[n],)), 1.0)
        if answered:
            core.handle(inputs.ExecutionFinished(ids[n], result), 1.0)
    begun = time.process_time()
    for first in range(0, requests, in_flight):
        wave = range(first, min(first + in_flight, requests))
        for n in wave:
            core.handle(inputs.MessageReceived(1, calls[n]), 1.0)
            core.handle(inputs.AcknowledgementsWritten(1, (ids[n],)), 1.0)
        for n in wave:
            core.handle(inputs.ExecutionFinished(ids[n], result), 1.0)
        for n in wave:
            core.handle(inputs.MessageReceived(1, acks[n]), 1.0)
        core.next_deadline()
    return (time.process_time() - begun) / requests


def ready_core() -> WorkerCore:
    app = AppIdentity("bench", b"[]", frozenset(["bench-async"]))
    identity = WorkerIdentity(
        instance_id="i",
        apps=(app,),
        capabilities=b"{}",
        sdk_language="py",
        sdk_version="1",
        framework="connect",
    )
    core = WorkerCore(identity, CoreSettings(), ScheduleRetry(), lambda: 0.5)
    core.handle(inputs.Started(), 0.0)
    core.handle(inputs.StartSucceeded(1, "c", "ws://gateway", "group", "token", "token"), 0.0)
    core.handle(inputs.SocketOpened(1), 0.0)
    core.handle(inputs.MessageReceived(1, b""), 0.0)
    # Leases are due before a silent gateway is considered dead.
    ready_data = pb.GatewayConnectionReadyData(extend_lease_interval="5s").SerializeToString()
    ready = envelope(K.GATEWAY_CONNECTION_READY, ready_data)
    core.handle(inputs.MessageReceived(1, ready), 0.0)
    return core


def core_messages(count: int) -> tuple[list[bytes], list[bytes], list[str]]:
    event: dict[str, Any] = {"name": "bench", "data": {"x": "x" * 200}}
    call = executor_request("bench", "bench-async", event, lease_id="01J0000000000000000000000A")
    ids = [f"r{n:025d}" for n in range(count)]
    calls, acks = [], []
    for request_id in ids:
        call.request_id = request_id
        calls.append(envelope(K.GATEWAY_EXECUTOR_REQUEST, call.SerializeToString()))
        ack = pb.WorkerReplyAckData(request_id=request_id)
        acks.append(envelope(K.WORKER_REPLY_ACK, ack.SerializeToString()))
    return calls, acks, ids
