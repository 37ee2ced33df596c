"""The clock of the wall jumps: the time service corrects it, a virtual machine is moved."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import inngest_connect
from inngest_connect.protocol import START_PATH
from inngest_connect.testing import EmbeddedGateway

pytestmark = pytest.mark.field

WORKER = """
import asyncio, sys, time
right = time.time
def jumping():
    "An hour early and an hour late in turn, ten times a second."
    return right() + (3600 if int(time.monotonic() * 10) % 2 else -3600)
time.time = jumping

import inngest
from inngest_connect import connect

client = inngest.Inngest(app_id="app", api_base_url=sys.argv[1], is_production=False)

@client.create_function(fn_id="slow", trigger=inngest.TriggerEvent(event="x"), retries=0)
async def slow(ctx: inngest.Context) -> str:
    await asyncio.sleep(3)
    return "finished"

connect([(client, [slow])]).run()
"""


@pytest.mark.scenario("L")
async def test_a_jumping_wall_clock_costs_no_lease_and_no_connection() -> None:
    """A lease that is not extended in time is taken away; three of them pass here."""
    settings: dict[str, Any] = {"lease": 1.0, "lease_grace": 0.5, "extend_lease_interval": "100ms"}
    async with EmbeddedGateway(heartbeat_interval="200ms", **settings) as gateway:
        source = str(Path(inngest_connect.__file__).parents[1])
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WORKER,
            gateway.api_origin,
            env={**os.environ, "PYTHONPATH": source},
        )
        try:
            await gateway.wait_for_worker()
            result = await gateway.invoke("app-slow")
        finally:
            process.terminate()
            await process.wait()

    assert (result.status, result.output) == ("completed", "finished")
    assert (result.requests, result.lost) == (1, 0)
    assert len(gateway.http.get_request_history(START_PATH)) == 1
    assert process.returncode == 0
