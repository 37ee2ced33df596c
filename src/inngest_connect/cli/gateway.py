"""``inngest-connect gateway``: the embedded gateway on fixed ports, for other processes."""

import asyncio
import contextlib
import json
import signal
import sys
from typing import Any, Final

from ..core.wire.remote_text import clean
from ..testing import EmbeddedGateway, RunResult

_LONGEST_SHOWN: Final = 1000


def run_gateway(port: int, gateway_port: int, *, lease: float, drain_every: float) -> int:
    """Serve until a signal arrives; returns the exit code.

    Times are seconds; with ``drain_every`` 0 the gateway is never drained.
    """
    try:
        return asyncio.run(_serve(port, gateway_port, lease, drain_every))
    except OSError as error:
        sys.stderr.write(
            f"inngest-connect gateway: cannot listen on port {port} or {gateway_port}: "
            f"{error.strerror}. Choose others with --port and --gateway-port, 0 for any.\n"
        )
        return 1


async def _serve(port: int, gateway_port: int, lease: float, drain_every: float) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    gateway = EmbeddedGateway(
        port=port,
        gateway_port=gateway_port,
        lease=lease,
        extend_lease_interval=f"{lease / 4:g}s",
        record=False,
        on_run=_print_run,
        on_event=_print_event,
    )
    async with gateway:
        origin = gateway.api_origin
        _print(f"API {origin}, gateway {gateway.gateways[0].url}")
        _print(f"workers:  INNGEST_DEV={origin} python your_worker.py")
        _print(f"a run:    curl {origin}/invoke/app-function -d '{{\"data\": {{}}}}'")
        _print(f'an event: curl {origin}/e/test -d \'{{"name": "shop/ordered"}}\'')
        _print("Nothing is stored, sleeps are skipped, crons do not run. Ctrl-C ends it.")
        tasks = [asyncio.create_task(_print_workers(gateway))]
        if drain_every:
            tasks.append(asyncio.create_task(_drain(gateway, drain_every)))
        await stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        ledger = gateway.ledger
        _print(f"requests {ledger.dispatched}, answered {ledger.answered}, lost {ledger.lost}")
    return 1 if ledger.lost else 0


async def _print_workers(gateway: EmbeddedGateway) -> None:
    """One line for each worker that becomes ready or ends."""
    known: dict[int, str] = {}

    def ready() -> dict[int, str]:
        connections = gateway.store.ready_connections()
        return {each.number: f"{each.instance} on {each.gateway}" for each in connections}

    while True:
        await gateway.store.until(lambda _: ready().keys() != known.keys())
        now = ready()
        for number in now.keys() - known.keys():
            known[number] = now[number]
            _print(f"worker ready: {known[number]}")
            _print(f"  functions: {', '.join(map(clean, gateway.functions))}")
        for number in known.keys() - now.keys():
            _print(f"worker ended: {known.pop(number)}")


async def _drain(gateway: EmbeddedGateway, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        drained = await gateway.drain()
        _print(f"draining {drained.name}")


def _print_event(event: dict[str, Any], functions: list[str]) -> None:
    runs = f"runs {', '.join(functions)}" if functions else "triggers no function of these workers"
    _print(f"event {clean(str(event['name']))} {runs}")


def _print_run(result: RunResult) -> None:
    ended = f"{result.status} after {result.requests} request(s), {result.duration * 1000:.0f} ms"
    _print(f"run {result.run_id} of {result.function} {ended}")
    if result.status == "completed":
        _print(f"  output: {clean(json.dumps(result.output), _LONGEST_SHOWN)}")
    elif isinstance(result.error, dict):
        name, message = result.error.get("name", "Error"), result.error.get("message", "")
        _print(f"  error: {clean(f'{name}: {message}', _LONGEST_SHOWN)}")
    else:
        _print(f"  error: {clean(str(result.error), _LONGEST_SHOWN)}")


def _print(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
