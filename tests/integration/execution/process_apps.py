"""Functions for executors, importable by child processes. Files show the test what happens."""
# ruff: noqa: ASYNC110, ASYNC240, ASYNC251 - these functions are bad on purpose, or wait for another process

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import inngest

APP = "app"
_KEPT: list[bytearray] = []

client = inngest.Inngest(
    app_id=APP,
    api_base_url=os.environ.get("TEST_API_ORIGIN", "http://127.0.0.1:1"),
    is_production=False,
)
functions: list[inngest.Function[Any]] = []


def function(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
    trigger = inngest.TriggerEvent(event=f"test/{handler.__name__}")
    make = client.create_function(fn_id=handler.__name__, trigger=trigger, retries=0)
    functions.append(make(handler))
    return handler


def apps() -> list[Any]:
    return [(client, functions)]


@function
async def echo(ctx: inngest.Context) -> Any:
    return dict(ctx.event.data)


@function
def echo_in_thread(ctx: inngest.ContextSync) -> Any:
    return dict(ctx.event.data)


@function
async def raises(ctx: inngest.Context) -> None:
    raise ValueError("no")


@function
def exits(ctx: inngest.ContextSync) -> None:
    raise SystemExit(3)


@function
async def waits(ctx: inngest.Context) -> str:
    """Touches ``started`` and waits for ``release``."""
    Path(str(ctx.event.data["started"])).touch()
    while not Path(str(ctx.event.data["release"])).exists():
        await asyncio.sleep(0.005)
    return "released"


@function
def waits_in_thread(ctx: inngest.ContextSync) -> str:
    Path(str(ctx.event.data["started"])).touch()
    while not Path(str(ctx.event.data["release"])).exists():
        time.sleep(0.005)
    return "released"


@function
async def pid(ctx: inngest.Context) -> int:
    return os.getpid()


@function
async def dies(ctx: inngest.Context) -> None:
    """After ``turns`` of the loop, in which others may end."""
    for _ in range(int(str(ctx.event.data.get("turns", 0)))):
        await asyncio.sleep(0)
    if ctx.event.data.get("code") is not None:
        os._exit(int(str(ctx.event.data["code"])))
    os.kill(os.getpid(), signal.SIGKILL)


@function
async def hogs(ctx: inngest.Context) -> int:
    """One call of C code that never gives the interpreter lock away."""
    Path(str(ctx.event.data["started"])).touch()
    return sum(range(int(str(ctx.event.data["n"]))))


@function
async def leaks(ctx: inngest.Context) -> int:
    _KEPT.append(bytearray(b"x" * int(str(ctx.event.data["bytes"]))))
    return os.getpid()


@function
async def babbles(ctx: inngest.Context) -> None:
    """Writes to the parent what is not a frame."""
    os.write(int(sys.argv[1]), bytes.fromhex(str(ctx.event.data["frame"])))
    await asyncio.Event().wait()


@function
def program(ctx: inngest.ContextSync) -> int:
    """How a program that sends itself SIGTERM fares."""
    return subprocess.run(["sh", "-c", "kill -TERM $$; exit 7"], check=False).returncode


@function
async def inheritable(ctx: inngest.Context) -> bool:
    """Whether programs get the socket to the parent."""
    return os.get_inheritable(int(sys.argv[1]))


@function
async def forks(ctx: inngest.Context) -> None:
    """Dies, and leaves a process that keeps every file descriptor."""
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    os._exit(4)


@function
async def finishes(ctx: inngest.Context) -> str:
    """Touches ``started``, and returns when it is cancelled."""
    Path(str(ctx.event.data["started"])).touch()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    return "finished"


@function
async def blocks(ctx: inngest.Context) -> None:
    """Blocks the event loop."""
    time.sleep(float(str(ctx.event.data["seconds"])))
