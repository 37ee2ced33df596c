"""One process of a situation, and what the test does to it."""

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.beside.environments import parts
from tests.beside.situations import FOLDER, Situation

LIMIT: Final = 60.0
"""Seconds for each thing that is waited for: a limit for hangs, which nothing decides."""
_BUILD_LIMIT: Final = 400.0

Result = TypeVar("Result")


class DoesNotWork(AssertionError):
    """What must hold does not; the text names no machine."""


class Program:
    """Runs in a copy of ``programs``, with the programs of an environment first in its path."""

    def __init__(self, situation: Situation, programs: Path, folder: Path, origin: str) -> None:
        self.folder = folder / "project"
        self._situation = situation
        self._log = folder / "output.log"
        inherited = ("LANG", "TMPDIR")
        self._environment = {
            **{name: os.environ[name] for name in inherited if name in os.environ},
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),  # where some of them write
            "INNGEST_DEV": origin,
            "GO": str(folder / "go"),
            **parts(programs),
            **situation.variables,
        }
        self._go = folder / "go"
        self._process: asyncio.subprocess.Process
        shutil.copytree(FOLDER / "programs", self.folder)

    async def start(self) -> None:
        if self._situation.build:
            code = await self._ended(await self._run(self._situation.build), _BUILD_LIMIT)
            if code:
                raise DoesNotWork(f"the build ended with code {code}")
        self._process = await self._run(self._situation.command)

    async def _run(self, command: str) -> asyncio.subprocess.Process:
        with self._log.open("a") as log:
            return await asyncio.create_subprocess_exec(
                *shlex.split(command),
                cwd=self.folder,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def until(self, what: str, awaited: Coroutine[Any, Any, Result]) -> Result:
        """Await something, unless the process ends before. ``what`` completes "no ..."."""
        waiting = asyncio.ensure_future(awaited)
        ended = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait([waiting, ended], timeout=LIMIT, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            if ended.done():
                raise DoesNotWork(f"ended with code {ended.result()}, no {what}")
            raise DoesNotWork(f"no {what} within {LIMIT:g} s")
        finally:
            for each in (waiting, ended):
                each.cancel()
            await asyncio.gather(waiting, ended, return_exceptions=True)

    def edit(self, file: str) -> None:
        with (self.folder / file).open("a") as source:
            source.write("\n# changed\n")

    def terminate(self) -> None:
        pid = self._process.pid
        if self._situation.signaled == "child":
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            pid = int(children[0])
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    def go(self) -> None:
        """Let the functions in flight return."""
        self._go.touch()

    def output(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def code(self) -> int:
        """The exit code. Raises DoesNotWork for a process that does not end."""
        return await self._ended(self._process, LIMIT)

    async def _ended(self, process: asyncio.subprocess.Process, limit: float) -> int:
        try:
            return await asyncio.wait_for(process.wait(), limit)
        except TimeoutError:
            raise DoesNotWork(f"did not end within {limit:g} s") from None

    async def kill(self) -> None:
        """End the process and what it has started."""
        if hasattr(self, "_process"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
