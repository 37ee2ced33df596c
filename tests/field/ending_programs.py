"""Programs that run a worker, one for each form: ``ending_programs.py FORM``.

Their functions end only when it is said; the tests end the programs.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import inngest
from starlette.applications import Starlette

from inngest_connect import Timing, WorkAbandoned, connect, process_executor

client = inngest.Inngest(app_id=os.environ["APP"], is_production=False)
functions: list[inngest.Function[Any]] = []


def function(handler: Callable[..., Any]) -> None:
    options: Any = {"fn_id": handler.__name__, "trigger": inngest.TriggerEvent(event="e")}
    functions.append(client.create_function(**options, retries=0)(handler))


def started() -> None:
    with open(os.environ["STARTED"], "a") as file:
        file.write("started\n")


@function
async def finishing(ctx: inngest.Context) -> str:
    started()
    while not Path(os.environ["GO"]).exists():  # noqa: ASYNC110, ASYNC240 - made elsewhere
        await asyncio.sleep(0.02)
    return "finished"


@function
async def plain(ctx: inngest.Context) -> None:
    started()
    await asyncio.sleep(600)


@function
def thread(ctx: inngest.ContextSync) -> None:
    started()
    time.sleep(600)


@function
async def to_thread(ctx: inngest.Context) -> None:
    started()
    await asyncio.to_thread(time.sleep, 600)


@function
async def process(ctx: inngest.Context) -> None:
    """multiprocessing waits for the child when the interpreter ends."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,))
    child.start()
    started()
    while child.is_alive():  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.1)


@function
async def stubborn(ctx: inngest.Context) -> None:
    started()
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(600)


@function
async def blocking(ctx: inngest.Context) -> None:
    started()
    time.sleep(600)  # noqa: ASYNC251 - on purpose


apps = [(client, functions)]


async def with_used_pool() -> None:
    """The pool of ``asyncio.to_thread`` has threads before functions use it."""
    await asyncio.to_thread(time.sleep, 0.0)
    await connect(apps).start()


async def in_block() -> None:
    """The program ends at SIGTERM; Ctrl-C is left to ``asyncio.run``."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with connect(apps):
        await stop.wait()


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with connect(apps):
        yield


@contextlib.asynccontextmanager
async def starting(app: Starlette) -> AsyncIterator[None]:
    """As with the official worker. Its signal handlers replace the server's."""
    worker = connect(apps)
    running = asyncio.create_task(worker.start())
    yield
    await worker.close(wait=True)
    await running


web = Starlette(lifespan=lifespan)
web_with_start = Starlette(lifespan=starting)


if __name__ == "__main__":
    match sys.argv[1]:
        case "start":
            asyncio.run(with_used_pool())
        case "run":
            connect(apps).run()
        case "uvloop":
            import uvloop

            asyncio.Runner(loop_factory=uvloop.new_event_loop).run(connect(apps).start())
        case "one loop":
            timing = Timing(final_flush_timeout=0.5, close_timeout=0.5)
            connect(apps, isolation="none", timing=timing).run()
        case "goes on":
            ended = threading.Event()

            def serve() -> None:
                ended.wait()
                time.sleep(4)
                sys.stdout.write("the thread goes on\n")

            threading.Thread(target=serve).start()
            try:
                connect(apps).run()
            except WorkAbandoned as error:
                sys.excepthook(type(error), error, error.__traceback__)
            time.sleep(4)
            sys.stdout.write("the program goes on\n")
            ended.set()
        case "another thread":
            threading.Thread(target=connect(apps).run).start()
            while not Path(os.environ["GO"]).exists():
                time.sleep(0.02)
        case "async with":
            asyncio.run(in_block())
        case "children":
            executor = process_executor("ending_programs:apps", 1, stop_timeout=1)
            connect(apps, executor=executor).run()
