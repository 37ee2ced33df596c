"""``inngest-connect gateway``: the embedded gateway on ports of its own, for workers elsewhere."""

import asyncio
import contextlib
import signal
import sys
from dataclasses import dataclass

from ..testing import EmbeddedGateway, RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """Times in seconds; ``drain_every`` 0 never drains."""

    port: int
    gateway_port: int
    lease: float
    drain_every: float


def run_gateway(options: GatewayOptions) -> int:
    """Serve until a signal comes; returns the exit code."""
    try:
        return asyncio.run(_serve(options))
    except OSError as error:
        sys.stderr.write(
            f"inngest-connect gateway: cannot listen on port {options.port} or "
            f"{options.gateway_port}: {error.strerror}. Choose others with --port and "
            "--gateway-port, 0 for any.\n"
        )
        return 1


async def _serve(options: GatewayOptions) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    gateway = EmbeddedGateway(
        port=options.port,
        gateway_port=options.gateway_port,
        lease=options.lease,
        extend_lease_interval=f"{options.lease / 4:g}s",
        record=False,
        on_run=_tell,
    )
    async with gateway:
        _introduce(gateway)
        tasks = [asyncio.create_task(_tell_of_workers(gateway))]
        if options.drain_every:
            tasks.append(asyncio.create_task(_drain(gateway, options.drain_every)))
        await stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        ledger = gateway.ledger
        _say(f"requests {ledger.dispatched}, answered {ledger.answered}, lost {ledger.lost}")
    return 1 if ledger.lost else 0


def _introduce(gateway: EmbeddedGateway) -> None:
    origin = gateway.api_origin
    _say(f"API {origin}, gateway {gateway.gateways[0].url}")
    _say(f"workers:  INNGEST_DEV={origin} python your_worker.py")
    _say(f"a run:    curl -X POST {origin}/invoke/app-function -d '{{\"data\": {{}}}}'")
    _say(f'an event: curl -X POST {origin}/e/test -d \'{{"name": "shop/ordered"}}\'')
    _say("Nothing is stored, sleeps are skipped, crons do not run. Ctrl-C ends it.")


async def _tell_of_workers(gateway: EmbeddedGateway) -> None:
    known: dict[int, str] = {}
    while True:
        ready = {
            c.number: f"{c.instance} on {c.gateway}" for c in gateway.store.ready_connections()
        }
        for number in ready.keys() - known.keys():
            _say(f"worker ready: {ready[number]}")
        for number in known.keys() - ready.keys():
            _say(f"worker gone:  {known[number]}")
        known = ready
        seen = frozenset(ready)
        await gateway.store.until(
            lambda _, seen=seen: (  # type: ignore[misc]
                {c.number for c in gateway.store.ready_connections()} != seen
            )
        )


async def _drain(gateway: EmbeddedGateway, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        drained = await gateway.drain()
        _say(f"draining {drained.name}")


def _tell(result: RunResult) -> None:
    end = f"{result.status} after {result.requests} requests in {result.duration * 1000:.0f} ms"
    _say(f"run {result.run_id} of {result.function} {end}")


def _say(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
