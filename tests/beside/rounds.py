"""The same round in every situation, with a real gateway on loopback.

Connect, execute functions of each kind, lose the connection and come back, SIGTERM with work in
flight: the results of that work arrive, and the process ends with its exit code.
"""

import asyncio
from pathlib import Path
from typing import Final

from inngest_connect.testing import EmbeddedGateway
from tests.beside.program import DoesNotWork, Program
from tests.beside.situations import Situation

_OUTPUTS: Final = {"greet": "Hello, Ada", "order": [2, 4], "report": "on a thread"}
_IN_FLIGHT: Final = {"ship": "shipped", "pack": "packed"}
"""An async and a sync function that return when the test says so."""


async def play(situation: Situation, programs: Path, folder: Path) -> None:
    """Raises DoesNotWork, with the end of the output as a note."""
    async with EmbeddedGateway(host="::1" if situation.ipv6 else "127.0.0.1") as gateway:
        program = Program(situation, programs, folder, gateway.api_origin)
        try:
            await program.start()
            if situation.holds == "refused":
                await _refused(program, situation)
            elif situation.played == "tests":
                await _tests(program, situation)
            else:
                await _worker(program, situation, gateway)
        except DoesNotWork as error:
            error.add_note(program.output()[-8000:])
            raise
        finally:
            await program.kill()


async def _worker(program: Program, situation: Situation, gateway: EmbeddedGateway) -> None:
    await _connected(program, gateway, situation.workers)
    if situation.edited:
        before = _ready(gateway)
        await program.until("reaction to an edit", _edited(program, situation, gateway))
        await _connected(program, gateway, situation.workers, without=before)
    for name, output in _OUTPUTS.items():
        result = await program.until(f"result of {name}", _invoke(gateway, name))
        if result != output:
            raise DoesNotWork(f"{name} returned {result!r}")
    error = await program.until("result of decline", _invoke(gateway, "decline"))
    if not (isinstance(error, dict) and error.get("message") == "declined"):
        raise DoesNotWork(f"decline ended with {error!r}")

    before = _ready(gateway)
    for connection in gateway.gateways[0].connections:
        gateway.gateways[0].simulate_connection_drop(connection=connection)
    await _connected(program, gateway, situation.workers, without=before)
    if await program.until("result after the reconnect", _invoke(gateway, "greet")) != "Hello, Ada":
        raise DoesNotWork("greet failed after the reconnect")

    running = {name: asyncio.create_task(_invoke(gateway, name)) for name in _IN_FLIGHT}
    try:
        await program.until("acknowledgement", _acknowledged(gateway))
        program.terminate()
        paused = gateway.store.until(lambda _: not _ready(gateway))
        await program.until("reaction to SIGTERM", paused)
        program.go()
        code = await program.code()
        for name, output in _IN_FLIGHT.items():
            if not running[name].done():
                raise DoesNotWork(f"the result of {name}, in flight at SIGTERM, did not arrive")
            if (result := running[name].result()) != output:
                raise DoesNotWork(f"{name}, in flight at SIGTERM, returned {result!r}")
    finally:
        for each in running.values():
            each.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)
    _check_end(program, situation, code)


async def _tests(program: Program, situation: Situation) -> None:
    _check_end(program, situation, await program.code())


async def _refused(program: Program, situation: Situation) -> None:
    code = await program.code()
    if code == 0:
        raise DoesNotWork("ended with code 0, although it must be refused")
    if situation.error not in program.output():
        raise DoesNotWork(f"the error does not contain {situation.error!r}")


def _check_end(program: Program, situation: Situation, code: int) -> None:
    if code != situation.exit_code:
        raise DoesNotWork(f"ended with code {code} instead of {situation.exit_code}")
    if situation.says not in program.output():
        raise DoesNotWork(f"the output does not contain {situation.says!r}")


async def _edited(program: Program, situation: Situation, gateway: EmbeddedGateway) -> None:
    # Again and again: a reloader does not see what is changed before its first look.
    before = _ready(gateway)
    closed = asyncio.create_task(gateway.store.until(lambda _: not _ready(gateway) & before))
    try:
        while not closed.done():
            program.edit(situation.edited)
            await asyncio.wait([closed], timeout=3)
    finally:
        closed.cancel()


async def _invoke(gateway: EmbeddedGateway, name: str) -> object:
    result = await gateway.invoke(f"shop-{name}", {"data": {"name": "Ada"}})
    return result.output if result.status == "completed" else result.error


async def _connected(
    program: Program, gateway: EmbeddedGateway, count: int, without: frozenset[int] = frozenset()
) -> None:
    ready = gateway.store.until(lambda _: len(_ready(gateway) - without) >= count)
    await program.until("connection" if not without else "new connection", ready)


def _ready(gateway: EmbeddedGateway) -> frozenset[int]:
    return frozenset(c.number for c in gateway.store.ready_connections())


async def _acknowledged(gateway: EmbeddedGateway) -> None:
    records = gateway.ledger.records.values()
    slugs = {f"shop-{name}" for name in _IN_FLIGHT}
    await gateway.store.until(
        lambda _: {r.function_slug for r in records if r.acknowledged_by} >= slugs
    )
