"""The official Inngest server, as a process of its own or at an address.

``INNGEST_BIN`` is the server's program: it is started, stopped and restarted here. With
``INNGEST_DEV_URL`` a server that runs already is used, and what has to stop it is left out.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from typing import IO, Any

import httpx
import pytest

from inngest_connect.protocol import connect_pb2 as pb

URL, PROGRAM = "INNGEST_DEV_URL", "INNGEST_BIN"
ENDED = ("Completed", "Failed", "Cancelled")
STARTS_WITHIN = 60.0
ENDS_WITHIN = 240.0


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Server:
    """``url`` is the API's address; ``program`` is None for a server that is not ours."""

    def __init__(self, url: str, program: str | None = None) -> None:
        self.url = url
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by aclose()
        self._ports = free_ports(4) if program else []
        if program:
            self.url = f"http://127.0.0.1:{self._ports[0]}"
        self._directory = tempfile.TemporaryDirectory()
        self._http = httpx.AsyncClient(timeout=30.0)

    @property
    def is_ours(self) -> bool:
        return self._program is not None

    async def start(self) -> None:
        if self._program is None:
            return
        api, gateway, gateway_grpc, executor_grpc = map(str, self._ports)
        self._process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            [
                self._program, "dev", "--port", api, "--connect-gateway-port", gateway,
                "--connect-gateway-grpc-port", gateway_grpc,
                "--connect-executor-grpc-port", executor_grpc,
                "--no-discovery", "--no-poll", "--persist", "--sqlite-dir", self._directory.name,
            ],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            cwd=self._directory.name,
        )  # fmt: skip
        until = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < until:
            with contextlib.suppress(httpx.HTTPError):
                if (await self._http.get(f"{self.url}/health")).status_code == 200:
                    return
            await asyncio.sleep(0.2)
        raise AssertionError(f"the server did not start:\n{self.output()}")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, 60)
            self._process.kill()
            self._process.wait()
            self._process = None

    async def aclose(self) -> None:
        await self.stop()
        await self._http.aclose()
        self._output.close()
        self._directory.cleanup()

    def output(self) -> str:
        self._output.seek(0)
        return self._output.read()[-4000:].decode(errors="replace")

    async def send(self, name: str, data: dict[str, Any] | None = None) -> None:
        """Send an event; the server may take a moment until it knows a function for it."""
        answer = await self._http.post(
            f"{self.url}/e/test", json={"name": name, "data": data or {}}
        )
        answer.raise_for_status()

    async def run(self, run_id: str) -> dict[str, Any]:
        """Return a run when it has ended, looking by its id: lists are cached for 15 s."""
        until = time.monotonic() + ENDS_WITHIN
        while time.monotonic() < until:
            answer = await self._http.get(f"{self.url}/v1/runs/{run_id}")
            if answer.status_code == 200 and answer.json()["data"]["status"] in ENDED:
                found: dict[str, Any] = answer.json()["data"]
                return found
            await asyncio.sleep(0.5)
        raise AssertionError(f"run {run_id} does not end:\n{self.output()}")

    async def flush(self, reply: bytes) -> pb.FlushResponse:
        """Post a reply as a worker without a connection does."""
        answer = await self._http.post(
            f"{self.url}/v0/connect/flush",
            content=reply,
            headers={"content-type": "application/protobuf"},
        )
        answer.raise_for_status()
        return pb.FlushResponse.FromString(answer.content)


async def the_server() -> AsyncIterator[Server]:
    """What the fixtures yield; skips when there is none."""
    url, program = os.environ.get(URL), os.environ.get(PROGRAM)
    if not url and not program:
        pytest.skip(f"neither {PROGRAM} nor {URL} is set: no official server is asked")
    server = Server(url or "", program if not url else None)
    await server.start()
    try:
        yield server
    finally:
        await server.aclose()
