"""User code that exits, stops its loop or cancels everything costs its own run, no other work."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import inngest_connect
from inngest_connect.testing import EmbeddedGateway, RunResult

pytestmark = pytest.mark.field
LIMIT = 20.0
SOURCE = str(Path(inngest_connect.__file__).parents[1])

FUNCTIONS = """
import asyncio, gc, logging, os, signal, sys, threading, time, inngest

client = inngest.Inngest(app_id="app", api_base_url=os.environ["ORIGIN"], is_production=False)
functions = []


def function(handler):
    options = {"fn_id": handler.__name__, "trigger": inngest.TriggerEvent(event="x"), "retries": 0}
    functions.append(client.create_function(**options)(handler))
    return handler


class OwnExit(SystemExit):
    pass


class OwnBase(BaseException):
    pass


async def leave(error=SystemExit(0)):
    raise error


def leave_now():
    raise SystemExit(0)


@function
async def other(ctx):
    # Nothing of it runs on this thread meanwhile: a signal handler that raises may raise anywhere.
    loop = asyncio.get_running_loop()
    go = loop.create_future()

    def watch():
        while not os.path.exists(os.environ["GO"]):
            time.sleep(0.01)
        loop.call_soon_threadsafe(go.set_result, None)

    threading.Thread(target=watch, daemon=True).start()
    open(os.environ["STARTED"], "w").close()
    await go
    return "finished"


@function
async def fine(ctx):
    return "fine"


@function
async def exits(ctx):
    sys.exit(0)


@function
async def exits_by_subclass(ctx):
    raise OwnExit(3)


@function
async def interrupts(ctx):
    raise KeyboardInterrupt


@function
async def closes_generator(ctx):
    raise GeneratorExit


@function
async def own_base(ctx):
    raise OwnBase("mine")


@function
async def exits_in_step(ctx):
    await ctx.step.run("step", leave)


@function
async def exits_in_parallel_step(ctx):
    await ctx.group.parallel((lambda: ctx.step.run("a", leave), lambda: ctx.step.run("b", leave)))


@function
async def exits_in_gathered_task(ctx):
    await asyncio.gather(leave(), asyncio.sleep(0))


@function
def sync_exits(ctx):
    sys.exit(0)


@function
def sync_interrupts(ctx):
    raise KeyboardInterrupt


@function
async def exits_in_background(ctx):
    task = asyncio.create_task(leave())
    await asyncio.sleep(0.05)
    return "went on"


@function
async def interrupts_in_background(ctx):
    task = asyncio.create_task(leave(KeyboardInterrupt()))
    await asyncio.sleep(0.05)
    return "went on"


@function
async def exits_in_thread(ctx):
    thread = threading.Thread(target=leave_now)
    thread.start()
    await asyncio.to_thread(thread.join)
    return "went on"


@function
async def exits_in_generator(ctx):
    async def numbers():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            sys.exit(0)
    generator = numbers()
    await anext(generator)
    del generator
    gc.collect()
    await asyncio.sleep(0.05)
    return "went on"


@function
async def exits_in_callback(ctx):
    asyncio.get_running_loop().call_soon(leave_now)
    await asyncio.sleep(0.05)
    return "went on"


@function
async def exits_in_timer(ctx):
    asyncio.get_running_loop().call_later(0.01, leave_now)
    await asyncio.sleep(0.05)
    return "went on"


@function
async def exits_in_done_callback(ctx):
    task = asyncio.create_task(asyncio.sleep(0))
    task.add_done_callback(lambda _: leave_now())
    await asyncio.sleep(0.05)
    return "went on"


@function
async def interrupts_in_callback(ctx):
    def interrupt():
        raise KeyboardInterrupt
    asyncio.get_running_loop().call_soon(interrupt)
    await asyncio.sleep(0.05)
    return "went on"


@function
async def interrupted_by_own_signal_handler(ctx):
    def handler(*_):
        raise TimeoutError("alarm")
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    await asyncio.sleep(0.2)
    return "went on"


@function
async def interrupted_often_by_own_signal_handler(ctx):
    def handler(*_):
        raise OwnBase("alarm")
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        await asyncio.sleep(0.2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "went on"


@function
async def stops_loop(ctx):
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.05)
    return "went on"


@function
async def closes_loop(ctx):
    asyncio.get_running_loop().close()


@function
async def closes_loop_in_callback(ctx):
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.close)
    await asyncio.sleep(0.05)
    return "went on"


@function
def sync_stops_loop(ctx):
    worker_loop.call_soon_threadsafe(worker_loop.stop)
    return "went on"


@function
async def remembers_loop(ctx):
    global worker_loop
    worker_loop = asyncio.get_running_loop()


@function
async def cancels_all_tasks(ctx):
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(0.05)


apps = [(client, functions)]
"""

PROGRAM = """
import asyncio, logging, sys
import user_functions
from inngest_connect import connect, process_executor

async def own_loop():
    async with connect(user_functions.apps, shutdown_signals=[]) as worker:
        await worker.closed()

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    how = sys.argv[1]
    if how == "own loop":
        asyncio.run(own_loop())
    elif how == "children":
        connect(user_functions.apps, executor=process_executor("user_functions:apps", 1)).run()
    elif how == "none":
        connect(user_functions.apps, isolation="none").run()
    else:
        connect(user_functions.apps).run()
"""


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another process."""
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Worker:
    """A worker in a separate process."""

    def __init__(self, folder: Path, gateway: EmbeddedGateway, *command: str) -> None:
        self.go, self.started = folder / "go", folder / "started"
        folder.joinpath("user_functions.py").write_text(FUNCTIONS)
        folder.joinpath("program.py").write_text(PROGRAM)
        self.log = folder / "log"
        self.gateway = gateway
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join((SOURCE, str(folder))),
                    "ORIGIN": gateway.api_origin,
                    "GO": str(self.go),
                    "STARTED": str(self.started),
                },
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def call(self, function: str) -> RunResult:
        return await asyncio.wait_for(self.gateway.invoke(f"app-{function}"), LIMIT)

    async def logged(self, text: str) -> bool:
        await until(lambda: text in self.log.read_text())
        return True

    async def code(self) -> int:
        return await asyncio.to_thread(self.process.wait, LIMIT)


@contextlib.asynccontextmanager
async def running(folder: Path, how: str) -> AsyncIterator[Worker]:
    async with EmbeddedGateway() as gateway:
        command = [sys.executable, "program.py", how]
        if how == "cli":
            command = [sys.executable, "-m", "inngest_connect.cli", "run", "user_functions:apps"]
        worker = Worker(folder, gateway, *command)
        try:
            await asyncio.wait_for(gateway.wait_for_worker(), LIMIT)
            yield worker
        finally:
            worker.process.kill()
            worker.process.wait()


FAILS = {
    "exits": "SystemExit",
    "exits_by_subclass": "OwnExit",
    "interrupts": "KeyboardInterrupt",
    "closes_generator": "GeneratorExit",
    "own_base": "OwnBase",
    "exits_in_step": "SystemExit",
    "exits_in_gathered_task": None,
    "exits_in_parallel_step": None,
    "sync_exits": "SystemExit",
    "sync_interrupts": "KeyboardInterrupt",
    "closes_loop": "RuntimeError",
}
GOES_ON = [
    "exits_in_background",
    "interrupts_in_background",
    "exits_in_thread",
    "exits_in_generator",
    "closes_loop_in_callback",
]
NEEDS_OUR_LOOP = [
    "exits_in_callback",
    "exits_in_timer",
    "exits_in_done_callback",
    "interrupts_in_callback",
    "interrupted_by_own_signal_handler",
    "interrupted_often_by_own_signal_handler",
    "stops_loop",
    "sync_stops_loop",
]


CUT_OFF = [
    ("own loop", "stops_loop"),
    ("own loop", "cancels_all_tasks"),
    ("none", "cancels_all_tasks"),
]


@pytest.mark.scenario("N")
@pytest.mark.parametrize("how", ["run", "none", "children", "cli", "own loop"])
async def test_exits_of_user_code_are_failures_of_their_runs(tmp_path: Path, how: str) -> None:
    goes_on = [*GOES_ON, *(NEEDS_OUR_LOOP if how != "own loop" else [])]
    async with running(tmp_path, how) as worker:
        other = asyncio.create_task(worker.call("other"))
        await until(worker.started.exists)
        await worker.call("remembers_loop")
        failed = {name: await worker.call(name) for name in FAILS}
        went_on = {name: await worker.call(name) for name in goes_on}
        worker.go.touch()
        finished = await other
        named = await worker.logged("function 'app-exits' raised SystemExit: 0 in exits (")
        code = worker.process.poll()

    assert {name: result.status for name, result in failed.items()} == dict.fromkeys(
        FAILS, "failed"
    )
    for name, error in FAILS.items():
        if error is not None:
            assert (failed[name].error or {})["name"] == error
    assert {name: result.output for name, result in went_on.items()} == dict.fromkeys(
        goes_on, "went on"
    )
    assert finished.error is None
    assert (finished.output, named, code) == ("finished", True, None)


@pytest.mark.scenario("N")
@pytest.mark.parametrize("how", ["run", "children", "cli"])
async def test_cancelling_all_tasks_fails_what_ran_and_nothing_else(
    tmp_path: Path, how: str
) -> None:
    async with running(tmp_path, how) as worker:
        other = asyncio.create_task(worker.call("other"))
        await until(worker.started.exists)
        cancelled = await worker.call("cancels_all_tasks")
        both = {cancelled.status, (await other).status}
        named = await worker.logged("the worker goes on")
        after = await worker.call("fine")
        code = worker.process.poll()

    assert both == {"failed"}
    assert (after.output, named, code) == ("fine", True, None)


@pytest.mark.parametrize(("how", "function"), CUT_OFF)
async def test_work_that_is_cut_off_with_the_loop_is_named(
    tmp_path: Path, how: str, function: str
) -> None:
    """Where user code runs the loop, or shares it with the connection, it can end both."""
    async with running(tmp_path, how) as worker:
        other = asyncio.create_task(worker.call("other"))
        await until(worker.started.exists)
        ending = asyncio.create_task(worker.call(function))
        code = await worker.code()
        ids = list(worker.gateway.ledger.records)
        log = worker.log.read_text()
        other.cancel()
        ending.cancel()

    assert code == 1
    assert [each for each in ids if each not in log] == []
    assert len(ids) == 2
