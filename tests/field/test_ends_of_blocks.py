"""A worker that dies inside ``async with`` cancels the block, and its error ends the program."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from inngest_connect.testing import MockHTTPServer

pytestmark = pytest.mark.field
LIMIT = 60.0

PROGRAM = """
import asyncio, os, sys
import inngest
from inngest_connect import connect

client = inngest.Inngest(app_id="app", is_production=False)


@client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="e"))
async def f(ctx):
    return 1


async def waits():
    await asyncio.sleep(600)


async def waits_in_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(600))
        group.create_task(asyncio.sleep(600))


async def waits_with_limit():
    async with asyncio.timeout(600):
        await asyncio.sleep(600)


async def swallows():
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        pass


async def fails():
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        raise ValueError("the block's own")


async def main():
    options = {"startup_timeout": 1.5} if os.environ["CAUSE"] == "StartupTimeout" else {}
    async with connect([(client, [f])], **options):
        print("entered")
        try:
            await globals()[sys.argv[1]]()
        finally:
            print("left")
    print("went on")


asyncio.run(main())
"""


async def _ended(program: Path, body: str, cause: str, origin: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        body,
        env={**os.environ, "INNGEST_DEV": origin, "CAUSE": cause},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), LIMIT)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode(), errors.decode()


@pytest.mark.parametrize("cause", ["AuthenticationError", "StartupTimeout"])
async def test_a_failure_after_an_outage_ends_the_block_and_the_program(
    cause: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    bodies = ["waits", "waits_in_group", "waits_with_limit", "swallows", "fails"]
    async with MockHTTPServer() as api:
        if cause == "AuthenticationError":
            api.simulate_server_error(times=len(bodies), status=503)  # the block is entered first
            api.simulate_auth_failure()
        else:
            api.simulate_server_error(status=503)
        ends = await asyncio.gather(*(_ended(program, b, cause, api.origin) for b in bodies))

    assert [(code, output) for code, output, _ in ends] == [(1, "entered\nleft\n")] * len(bodies)
    last_lines = [errors.strip().splitlines()[-1] for *_, errors in ends]
    assert [f"errors.{cause}:" in line for line in last_lines[:4]] == [True] * 4
    assert "ValueError: the block's own" in ends[4][2]
    assert f"The worker ended with {cause}" in last_lines[4]
