"""A worker process: started, measured from outside, stopped."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
WORKER = Path(__file__).with_name("worker.py")
JAVASCRIPT = Path(__file__).with_name("javascript")
GO_WORKER = "BENCH_GO_WORKER"
"""The variable that names the program built from ``bench/go``."""


class WorkerProcess:
    """Another process, read from /proc."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._proc = Path(f"/proc/{process.pid}")

    def processor_seconds(self) -> float:
        """User and system time so far, of all threads; children that ended are included."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS

    def thread_seconds(self) -> dict[str, float]:
        """Processor time so far, by thread id; the first is the main thread."""
        threads = sorted((self._proc / "task").iterdir(), key=lambda path: int(path.name))
        return {
            path.name: int((path / "schedstat").read_text().split()[0]) / 1e9 for path in threads
        }

    def resident_bytes(self) -> int:
        return int((self._proc / "statm").read_text().split()[1]) * _PAGE

    async def line(self) -> str:
        """The next line that the process prints. Raises RuntimeError when it has ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the worker process ended; its error is above")
        return line.decode()

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")


@contextlib.asynccontextmanager
async def worker_process(peer: str, *arguments: object) -> AsyncIterator[WorkerProcess]:
    """Run ``bench/worker.py``; it ends when its standard input does."""
    process = await asyncio.create_subprocess_exec(
        *command(peer),
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        yield WorkerProcess(process)
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 15)
        except TimeoutError:
            process.kill()
            await process.wait()


def command(peer: str) -> list[str]:
    if peer == "javascript":
        return ["node", str(JAVASCRIPT / "worker.mjs")]
    if peer == "go":
        return [os.environ[GO_WORKER]]
    return [sys.executable, str(WORKER), peer]
