"""What functions change of their process harms neither the connection nor other functions."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import inngest_connect
from inngest_connect import (
    ConfigurationError,
    Reconnecting,
    ScheduleRetry,
    connect,
    process_executor,
)
from inngest_connect.execution import green_threads
from inngest_connect.testing import EmbeddedGateway
from tests.errors.faulty import faulty
from tests.integration.demo_apps import make_app

pytestmark = pytest.mark.field
LIMIT = 20.0
SOURCE = str(Path(inngest_connect.__file__).parents[1])

FUNCTIONS = """
import asyncio, atexit, faulthandler, gc, logging, os, random, signal, socket, sys, tempfile
import threading, time, warnings
import inngest

client = inngest.Inngest(
    app_id="app", api_base_url=os.environ["ORIGIN"], event_api_base_url=os.environ["ORIGIN"],
    is_production=False,
)
functions = []


def function(handler):
    options = {"fn_id": handler.__name__, "trigger": inngest.TriggerEvent(event="x"), "retries": 0}
    functions.append(client.create_function(**options)(handler))
    return handler


def leave(*_, **__):
    raise SystemExit(3)


class Bad(logging.Handler):
    emit = leave


class Blocked(logging.Handler):
    def emit(self, record):
        if threading.current_thread().name.startswith("inngest-connect"):
            time.sleep(3600)


def no_folder():
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def factory_without_context(loop, work):
    return asyncio.Task(work, loop=loop)


def own_factory():
    asyncio.get_running_loop().set_task_factory(factory_without_context)


CHANGES = {
    "logs much": lambda: [logging.getLogger("inngest_connect").warning("x") for _ in range(9000)],
    "shuts logging down": logging.shutdown,
    "replaces log handlers": lambda: setattr(logging.getLogger(), "handlers", [Bad()]),
    "breaks log records": lambda: logging.setLogRecordFactory(leave),
    "blocks the log": lambda: setattr(logging.getLogger(), "handlers", [Blocked()]),
    "disables logging": lambda: logging.disable(logging.CRITICAL),
    "closes stdout": lambda: sys.stdout.close(),
    "closes stderr": lambda: sys.stderr.close(),
    "has no stderr": lambda: setattr(sys, "stderr", None),
    "closes descriptors": lambda: os.closerange(0, 3),
    "has no folder": no_folder,
    "turns warnings into errors": lambda: warnings.simplefilter("error"),
    "lowers the recursion limit": lambda: sys.setrecursionlimit(150),
    "stops the collector": gc.disable,
    "replaces hooks": lambda: [
        setattr(sys, "excepthook", leave), setattr(sys, "unraisablehook", leave),
        setattr(threading, "excepthook", leave),
    ],
    "seeds the generator": lambda: random.seed(0),
    "breaks the generator": lambda: setattr(random, "random", leave),
    "limits sockets": lambda: socket.setdefaulttimeout(0.000001),
    "clears the environment": os.environ.clear,
    "blocks signals": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]),
    "exits at exit": lambda: atexit.register(leave),
    "has no current loop": lambda: asyncio.set_event_loop(None),
}
OF_THE_LOOP = {
    "debugs the loop": lambda: asyncio.get_running_loop().set_debug(True),
    "handles errors of the loop": lambda: asyncio.get_running_loop().set_exception_handler(leave),
    "creates tasks itself": own_factory,
}


@function
async def changes(ctx):
    {**CHANGES, **OF_THE_LOOP}[ctx.event.data["name"]]()
    await asyncio.sleep(0)
    return "changed"


@function
def changes_sync(ctx):
    CHANGES[ctx.event.data["name"]]()
    return "changed"


@function
async def fine(ctx):
    await asyncio.create_task(asyncio.sleep(0))
    return "fine"


@function
async def refuses_tasks(ctx):
    asyncio.get_running_loop().set_task_factory(leave)
    return "changed"


@function
async def allows_tasks(ctx):
    return "allowed"


apps = [(client, functions)]
"""
PROGRAM = """
import logging, sys
import user_functions
from inngest_connect import connect, process_executor

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    options = {}
    if sys.argv[1] == "children":
        options["executor"] = process_executor("user_functions:apps", 1)
    elif sys.argv[1] == "none":
        options["isolation"] = "none"
    connect(user_functions.apps, **options).run()
"""
NAMES = [
    line.split('"')[1]
    for line in FUNCTIONS.partition("CHANGES = {")[2].splitlines()
    if line.startswith('    "')
]


def start(folder: Path, origin: str, how: str) -> "subprocess.Popen[bytes]":
    folder.joinpath("user_functions.py").write_text(FUNCTIONS)
    folder.joinpath("program.py").write_text(PROGRAM)
    command = [sys.executable, "program.py", how]
    if how == "cli":
        command = [sys.executable, "-m", "inngest_connect.cli", "run", "user_functions:apps"]
    with folder.joinpath("log").open("w") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join((SOURCE, str(folder))),
                "ORIGIN": origin,
            },
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


@pytest.mark.parametrize("how", ["run", "none", "children", "cli"])
async def test_one_change_after_another_leaves_the_worker_serving(tmp_path: Path, how: str) -> None:
    async with EmbeddedGateway() as gateway:
        process = start(tmp_path, gateway.api_origin, how)
        try:
            await asyncio.wait_for(gateway.wait_for_worker(), LIMIT)

            async def call(function: str, name: str = "") -> Any:
                event = {"data": {"name": name}}
                result = await asyncio.wait_for(gateway.invoke(f"app-{function}", event), LIMIT)
                return result.output

            changed, served = {}, {}
            for name in NAMES:
                changed[name] = await call("changes", name)
                if name not in NAMES[-3:]:  # those of the loop
                    changed[f"{name}, in a thread"] = await call("changes_sync", name)
                served[name] = await call("fine")
            # The connection is made again in that process.
            await gateway.drain()
            again = await call("fine")
            process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(process.wait, LIMIT)
        finally:
            process.kill()
            process.wait()

    assert len(NAMES) > 20
    assert changed == dict.fromkeys(changed, "changed")
    assert served == dict.fromkeys(served, "fine")
    assert (again, code) == ("fine", 0)


async def test_a_task_factory_that_raises_is_an_error_reply(tmp_path: Path) -> None:
    async with EmbeddedGateway() as gateway:
        process = start(tmp_path, gateway.api_origin, "run")
        try:
            await asyncio.wait_for(gateway.wait_for_worker(), LIMIT)
            await asyncio.wait_for(gateway.invoke("app-refuses_tasks"), LIMIT)
            refused = await asyncio.wait_for(gateway.invoke("app-allows_tasks"), LIMIT)
        finally:
            process.kill()
            process.wait()

    assert refused.status == "failed"
    assert (refused.error or {})["name"] == "SystemExit"


async def test_functions_that_seed_the_generator_do_not_take_the_jitter() -> None:
    delays: list[float] = []
    for _ in range(2):
        seen: list[Reconnecting] = []
        async with faulty() as it:
            it.gateway.http.simulate_server_error(times=1)
            random.seed(0)
            async with it.worker(retry=ScheduleRetry(), on={"reconnecting": seen.append}):
                await asyncio.sleep(0)
        delays.append(seen[0].delay)

    assert delays[0] != delays[1]


def patched(name: str) -> Any:
    function = types.FunctionType((lambda *_: None).__code__, {})
    function.__module__ = name
    return function


@pytest.mark.parametrize(
    ("library", "isolation", "remedy"),
    [
        ("gevent.thread", "thread", 'isolation="none"'),
        ("eventlet.green.thread", "thread", "a separate process"),
        ("eventlet.green.thread", "none", "a separate process"),
    ],
)
@pytest.mark.parametrize("primitive", ["_thread.start_new_thread", "select.select"])
def test_a_process_of_green_threads_is_recognized(
    library: str, isolation: Any, remedy: str, primitive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app("http://127.0.0.1:9")
    monkeypatch.setattr(primitive, patched(library))

    with pytest.raises(ConfigurationError) as raised:
        connect([app.pair], isolation=isolation)

    assert library.partition(".")[0] in str(raised.value)
    assert remedy in str(raised.value)


def patch_with_gevent(monkeypatch: pytest.MonkeyPatch, *, early: bool, select: bool) -> None:
    monkeypatch.setattr("_thread.start_new_thread", patched("gevent.thread"))
    if select:
        monkeypatch.setattr("select.select", patched("gevent.select"))
    if early:
        monkeypatch.setattr(green_threads, "_at_import", "gevent")


def test_green_threads_of_gevent_suit_one_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app("http://127.0.0.1:9")
    patch_with_gevent(monkeypatch, early=True, select=True)

    connect([app.pair], isolation="none")


@pytest.mark.parametrize(
    ("early", "select", "reason"),
    [(False, True, "patch first"), (True, False, "and not select")],
)
def test_green_threads_that_nothing_would_run_are_refused(
    early: bool, select: bool, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app("http://127.0.0.1:9")
    patch_with_gevent(monkeypatch, early=early, select=select)

    with pytest.raises(ConfigurationError, match=f"gevent has replaced the threads.* {reason}"):
        connect([app.pair], isolation="none")


async def test_threads_that_are_replaced_before_the_start_are_recognized(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = connect([make_app("http://127.0.0.1:9").pair], isolation="none")
    patch_with_gevent(monkeypatch, early=False, select=True)

    with pytest.raises(ConfigurationError, match="after inngest_connect was imported"):
        await worker.start()


def test_a_frozen_program_starts_no_child_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)

    with pytest.raises(ConfigurationError, match="this program is frozen"):
        process_executor("user_functions:apps", 1)
