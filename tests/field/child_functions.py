"""Functions that harm the process that runs them; imported by child processes too."""

import asyncio
import ctypes
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

import inngest

from inngest_connect.protocol import connect_pb2 as pb

APP = "app"


def frame(kind: int, body: bytes) -> bytes:
    return struct.pack(">IB", len(body) + 1, kind) + body


def result(request_id: str, status: int = 1) -> bytes:
    message = pb.SDKResponse(request_id=request_id, body=b'"lie"')
    message.status = status  # type: ignore[assignment]
    return frame(5, message.SerializeToString())


def lie(name: str, own: str, other: str) -> bytes:
    lies = {
        "unknown status": lambda: result(own, 77),
        "negative status": lambda: result(own, -1),
        "unknown id": lambda: result(other or "nobody's"),
        "empty id": lambda: result(""),
        "twice": lambda: result(own) + result(own),
        "not a message": lambda: frame(5, b"\xff\xff\xff"),
        "ready again": lambda: frame(3, b"{}"),
        "failed": lambda: frame(4, b"no\x1b[31m"),
        "run": lambda: frame(1, b""),
        "cancel": lambda: frame(2, b""),
        "unknown kind": lambda: frame(99, b"x"),
        "too long": lambda: struct.pack(">IB", 2**31, 5),
        "no length": lambda: struct.pack(">IB", 0, 5),
        "garbage": lambda: b"GET / HTTP/1.1\r\n\r\n" * 1000,
        "notice of rubbish": lambda: frame(7, b"[" * 100_000),
        "notices without end": lambda: frame(7, b'{"request_id": "", "text": "x"}') * 1000,
    }
    return lies[name]()


LIES = [
    "unknown status",
    "negative status",
    "unknown id",
    "empty id",
    "twice",
    "not a message",
    "ready again",
    "failed",
    "run",
    "cancel",
    "unknown kind",
    "too long",
    "no length",
    "garbage",
    "notice of rubbish",
    "notices without end",
]


def write(data: bytes) -> None:
    while data:
        try:
            data = data[os.write(int(sys.argv[1]), data) :]
        except BlockingIOError:
            time.sleep(0.001)


def write_text(ctx: inngest.Context, text: str) -> None:
    Path(str(ctx.event.data["started"])).write_text(text)


def make(origin: str) -> list[Any]:
    client = inngest.Inngest(
        app_id=APP, api_base_url=origin, event_api_base_url=origin, is_production=False
    )
    functions: list[Any] = []

    def function(handler: Any) -> Any:
        trigger = inngest.TriggerEvent(event=handler.__name__)
        made = client.create_function(fn_id=handler.__name__, trigger=trigger, retries=0)(handler)
        functions.append(made)
        return handler

    @function
    async def pid(ctx: inngest.Context) -> int:
        return os.getpid()

    @function
    async def lies(ctx: inngest.Context) -> None:
        data = ctx.event.data
        await asyncio.to_thread(
            write, lie(str(data["name"]), str(ctx.request_id), str(data.get("other", "")))
        )
        await asyncio.Event().wait()

    @function
    async def hangs_up(ctx: inngest.Context) -> None:
        with socket.socket(fileno=os.dup(int(sys.argv[1]))) as connection:
            connection.shutdown(socket.SHUT_RDWR)
        time.sleep(600)  # noqa: ASYNC251 - so that the process does not notice

    @function
    async def takes_back(ctx: inngest.Context) -> None:
        await asyncio.to_thread(write, frame(6, str(ctx.request_id).encode()))
        await asyncio.Event().wait()

    @function
    async def waits(ctx: inngest.Context) -> int:
        write_text(ctx, str(ctx.request_id))
        release = str(ctx.event.data["release"])
        while not os.access(release, os.R_OK):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return os.getpid()

    @function
    async def blocks(ctx: inngest.Context) -> None:
        write_text(ctx, str(os.getpid()))
        how = ctx.event.data["how"]
        if how == "sleep":
            time.sleep(600)  # noqa: ASYNC251
        elif how == "native":
            ctypes.PyDLL(None).sleep(600)  # keeps the interpreter lock
        elif how == "lock":
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
        while True:
            pass

    @function
    async def forks(ctx: inngest.Context) -> int:
        forked = os.fork()
        return forked or os.getpid()

    @function
    def forks_sync(ctx: inngest.ContextSync) -> int:
        forked = os.fork()
        return forked or os.getpid()

    @function
    def leaves_process(ctx: inngest.ContextSync) -> int:
        forked = os.fork()
        if not forked:
            time.sleep(60)
            os._exit(0)
        return forked

    return [(client, functions)]


def apps() -> list[Any]:
    """For child processes."""
    return make(os.environ["CHILD_ORIGIN"])
