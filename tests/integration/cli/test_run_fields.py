"""What functions log under ``inngest-connect run`` says which run it belongs to."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from inngest_connect.testing import GatewayThread
from tests.integration.cli.run_process import run_process, write_module

pytestmark = pytest.mark.integration
MODULE = """
import logging, os
import inngest

client = inngest.Inngest(app_id="app", api_base_url=os.environ["API"], is_production=False)

def function(name):
    return client.create_function(fn_id=name, trigger=inngest.TriggerEvent(event=name))

@function("loop")
async def loop(ctx):
    async def step():
        logging.getLogger("shop").info("in a step")
    logging.getLogger("shop").info("on the loop")
    await ctx.step.run("step", step)

@function("thread")
def thread(ctx):
    logging.getLogger("shop").info("in a thread")

logging.getLogger("shop").info("at import")
apps = [(client, [loop, thread])]
"""


@pytest.mark.parametrize("more", [(), ("--processes", "2")], ids=["in the worker", "in children"])
def test_each_line_of_a_function_has_its_run(tmp_path: Path, more: tuple[str, ...]) -> None:
    write_module(tmp_path, MODULE)
    arguments = ("worker:apps", "--log-format", "json", *more)
    with (
        GatewayThread() as thread,
        run_process(tmp_path, thread.api_origin, *arguments) as process,
    ):
        thread.call(lambda gateway: gateway.wait_for_worker()).result(60)
        runs = [
            thread.call(lambda gateway, name=name: gateway.invoke(name)).result(60).run_id
            for name in ("app-loop", "app-thread")
        ]
        process.send_signal(signal.SIGTERM)
        written, _ = process.communicate(timeout=60)

    lines = [json.loads(line) for line in written.splitlines()]
    said: dict[str, Any] = {each["event"]: each for each in lines if each["logger"] == "shop"}
    assert [said[text]["run_id"] for text in ("on the loop", "in a step", "in a thread")] == [
        runs[0], runs[0], runs[1],
    ]  # fmt: skip
    assert said["in a thread"]["function_slug"] == "app-thread"
    assert "run_id" not in said["at import"]
