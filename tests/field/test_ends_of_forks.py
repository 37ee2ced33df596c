"""A process that user code forks has nothing of the worker: no connection, no end to wait for."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from inngest_connect.testing import EmbeddedGateway
from tests.field.ending_processes import until

pytestmark = [
    pytest.mark.field,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

PROGRAM = """
import asyncio, multiprocessing, os, sys, time
import inngest
from inngest_connect import connect, process_executor

client = inngest.Inngest(app_id="app", is_production=False)
trigger = inngest.TriggerEvent(event="e")


def child():
    with open(os.environ["CHILDREN"], "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(120)


@client.create_function(fn_id="f", trigger=trigger, retries=0)
async def forks(ctx):
    if os.fork() == 0:
        child()
        os._exit(0)


@client.create_function(fn_id="g", trigger=trigger, retries=0)
def starts_process(ctx):
    multiprocessing.get_context("fork").Process(target=child, daemon=True).start()


@client.create_function(fn_id="h", trigger=trigger, retries=0)
async def waits_for_process(ctx):
    process = multiprocessing.get_context("fork").Process(target=abs, args=(1,))
    process.start()
    await asyncio.to_thread(process.join, 20)
    return process.exitcode


apps = [(client, [forks, starts_process, waits_for_process])]

if __name__ == "__main__":
    how = sys.argv[1]
    if how == "children":
        connect(apps, executor=process_executor("forking:apps", 1)).run()
    else:
        connect(apps, isolation=how).run()
"""


def _connected_sockets(process: int) -> set[str]:
    """The TCP connections that ``process`` has, by the addresses of both ends."""
    inodes = set()
    for file in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(file.readlink()).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"{row[1]} {row[2]}" for row in rows if row[9] in inodes and row[3] == "01"}


@pytest.mark.scenario("N")
@pytest.mark.parametrize("how", ["thread", "none", "children"])
async def test_a_forked_process_keeps_no_connection_open(how: str, tmp_path: Path) -> None:
    (tmp_path / "forking.py").write_text(PROGRAM)
    children = tmp_path / "children"
    async with EmbeddedGateway() as gateway:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "forking.py",
            how,
            cwd=tmp_path,
            env={**os.environ, "INNGEST_DEV": gateway.api_origin, "CHILDREN": str(children)},
        )
        pids: list[int] = []
        try:
            await asyncio.wait_for(gateway.wait_for_worker(), 30)
            results = [await asyncio.wait_for(gateway.invoke(f"app-{f}"), 30) for f in "fg"]
            await until(lambda: children.exists() and children.read_text().count("\n") == 2)
            pids = [int(pid) for pid in children.read_text().split()]
            ended = await asyncio.wait_for(gateway.invoke("app-h"), 30)
            kept = [_connected_sockets(pid) for pid in pids]
            own = _connected_sockets(process.pid)
            os.kill(process.pid, signal.SIGKILL)
            async with asyncio.timeout(30):
                await gateway.store.until(lambda _: not gateway.store.ready_connections())
        finally:
            for pid in (process.pid, *pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await process.wait()

    assert [result.status for result in results] == ["completed", "completed"]
    assert own
    assert ended.output == 0  # a child that ends does not wait for the parent's worker
    assert kept == [set(), set()]
