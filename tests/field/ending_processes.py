"""Runs ``ending_programs.py`` in each form, as processes that a test signals and watches."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from weakref import WeakKeyDictionary

from inngest_connect.testing import EmbeddedGateway

FOLDER = Path(__file__).parent
LIMIT = 60.0
"""Seconds until a process that does not end is killed, and until one has started."""
_starts: WeakKeyDictionary[EmbeddedGateway, asyncio.Semaphore] = WeakKeyDictionary()
"""Few processes start concurrently: that needs a processor, and then they mostly wait."""

_PYTHON = [sys.executable, "ending_programs.py"]
_COMMAND_LINE = [sys.executable, "-m", "inngest_connect.cli", "run", "ending_programs:apps"]
_UVICORN = [sys.executable, "-m", "uvicorn", "--port", "0"]
_NAMES = [
    "goes on",
    "start",
    "run",
    "one loop",
    "async with",
    "another thread",
    "children",
    "uvloop",
]
FORMS = {
    **{form: [*_PYTHON, form] for form in _NAMES},
    "command line": _COMMAND_LINE,
    "command line, uvloop": [*_COMMAND_LINE, "--uvloop"],
    "command line, children": [*_COMMAND_LINE, "--processes", "2"],
    "uvicorn": [*_UVICORN, "ending_programs:web"],
    "uvicorn, start": [*_UVICORN, "ending_programs:web_with_start"],
}


def without_coverage() -> dict[str, str]:
    """The environment. Coverage's handler of SIGTERM sends it again, which ends the process."""
    return {name: value for name, value in os.environ.items() if "COVERAGE" not in name}


class Program:
    """One process. ``start`` returns when it is connected and all ``functions`` have begun."""

    def __init__(
        self,
        gateway: EmbeddedGateway,
        folder: Path,
        form: str,
        name: str,
        functions: list[str],
        *,
        covered: bool = True,
    ) -> None:
        self.app = f"{form}-{name}".replace(" ", "-").replace(",", "")
        self.form = form
        self.functions = functions
        self.running: asyncio.Future[list[object]]
        """What the functions return."""
        self._gateway = gateway
        self._covered = covered
        self._started, self._go, self._log = (
            folder / f"{self.app}.{suffix}" for suffix in ("started", "go", "log")
        )
        self._process: asyncio.subprocess.Process

    async def start(self, redirections: str = "", **environment: str) -> None:
        """``redirections`` are the shell's."""
        inherited = dict(os.environ) if self._covered else without_coverage()
        given = {
            "PYTHONPATH": str(FOLDER),
            "INNGEST_DEV": self._gateway.api_origin,
            "APP": self.app,
            "STARTED": str(self._started),
            "GO": str(self._go),
        }
        async with _starts.setdefault(self._gateway, asyncio.Semaphore(3)):
            with self._log.open("w") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *("sh", "-c", f'exec "$@" {redirections}', "sh"),
                    *FORMS[self.form],
                    cwd=FOLDER,
                    env={**inherited, **given, **environment},
                    stdout=log,
                    stderr=log,
                )
            async with asyncio.timeout(LIMIT):
                await self._gateway.store.until(lambda _: self.app in self._connected())
            self.running = asyncio.gather(*map(self._invoke, self.functions))
            await until(lambda: _lines(self._started) == len(self.functions))

    def signal(self, number: signal.Signals) -> bool:
        """Returns whether the process had not ended."""
        # Not the process's own method: it would take the exit code from the event loop.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)
        return self._process.returncode is None

    def go(self) -> None:
        """Let ``finishing`` return."""
        self._go.touch()

    def output(self) -> str:
        return self._log.read_text()

    async def code(self) -> int | None:
        """The exit code, None if the process had to be killed."""
        try:
            return await asyncio.wait_for(self._process.wait(), LIMIT)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            return None

    def request_ids(self) -> list[str]:
        slugs = {f"{self.app}-{function}" for function in self.functions}
        records = self._gateway.ledger.records.values()
        return [each.request_id for each in records if each.function_slug in slugs]

    async def forget(self) -> None:
        """Stop to wait for the functions."""
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    async def _invoke(self, function: str) -> object:
        return (await self._gateway.invoke(f"{self.app}-{function}")).output

    def _connected(self) -> set[str]:
        ready = self._gateway.store.ready_connections()
        return {app.app_name for each in ready if each.connect for app in each.connect.apps}


def _lines(file: Path) -> int:
    return file.read_text().count("\n") if file.exists() else 0


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
