"""How a process ends: every form, with functions that end and functions that do not.

The table "How a process ends" in docs/operations.md, cell by cell. The processes of one test run
concurrently, because they mostly wait.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from inngest_connect.testing import EmbeddedGateway

pytestmark = pytest.mark.field
FOLDER = Path(__file__).parent
LIMIT = 60.0
"""Seconds until a process that does not end is killed, and what is left to start the others."""
_STARTS = 3
"""Processes that start at once."""

PYTHON = [sys.executable, "ending_programs.py"]
COMMAND_LINE = [sys.executable, "-m", "inngest_connect.cli", "run", "ending_programs:apps"]
FORMS = {
    "start": [*PYTHON, "start"],
    "run": [*PYTHON, "run"],
    "one loop": [*PYTHON, "none"],
    "async with": [*PYTHON, "async with"],
    "command line": COMMAND_LINE,
    "children": [*PYTHON, "children"],
    "command line, children": [*COMMAND_LINE, "--processes", "2"],
    "uvicorn": [sys.executable, "-m", "uvicorn", "ending_programs:web", "--port", "0"],
}
OURS = ["start", "run", "one loop", "command line", "children"]
"""Forms whose signal handlers are ours."""
TERM, INT = signal.SIGTERM, signal.SIGINT
FUNCTIONS = {
    "finishing": ["finishing"],
    "endless": ["plain", "thread", "to_thread", "stubborn"],
    "blocking": ["blocking"],
}
"""What runs at once in a process: one that blocks the event loop keeps others from starting."""

Cell = tuple[str, str, signal.Signals]
"""Form, key of FUNCTIONS and signal."""

FIRST_SIGNAL: dict[Cell, int] = {
    ("start", "finishing", TERM): 0,
    ("run", "finishing", INT): 0,
    ("one loop", "finishing", TERM): 0,
    ("async with", "finishing", TERM): 0,
    ("command line", "finishing", TERM): 0,
    ("command line, children", "finishing", INT): 0,
    ("uvicorn", "finishing", TERM): -15,
    ("uvicorn", "finishing", INT): 0,
}
"""Exit codes. The work is finished and its result delivered."""

SECOND_SIGNAL: dict[Cell, int] = {
    **{(form, "endless", TERM): 1 for form in OURS},
    **{(form, "blocking", INT): 1 for form in OURS},
    ("async with", "endless", INT): 1,
    ("async with", "finishing", INT): -2,
}
"""Exit codes. The work is abandoned and named, and the process ends within 15 s."""

SHUTDOWN_TIMEOUT: dict[Cell, int] = {
    **{(form, "endless", INT): 1 for form in OURS},
    **{(form, "blocking", TERM): 1 for form in OURS},
    ("command line, children", "endless", TERM): 1,
    ("async with", "endless", TERM): 1,
    ("uvicorn", "endless", TERM): -15,
}
"""As for the second signal, within 15 s after ``shutdown_timeout``."""


@dataclass(frozen=True)
class End:
    code: int | None
    """None if the process had to be killed."""
    seconds: float
    """Since the last signal."""
    output: str
    abandoned: bool
    """Whether the ids of all requests are in the output."""
    result: object


class Stage:
    def __init__(self, gateway: EmbeddedGateway, folder: Path) -> None:
        self._gateway = gateway
        self._folder = folder
        self._starting = asyncio.Semaphore(_STARTS)

    async def ends(self, cells: dict[Cell, int], how: str) -> dict[Cell, End]:
        ends = await asyncio.gather(*(self._end(*cell, how) for cell in cells))
        return dict(zip(cells, ends, strict=True))

    async def _end(self, form: str, kind: str, number: signal.Signals, how: str) -> End:
        app = f"{form}-{kind}-{number.name}".replace(" ", "-").replace(",", "")
        started, go = self._folder / f"{app}.started", self._folder / f"{app}.go"
        log = self._folder / f"{app}.log"
        environment = {
            **os.environ,
            "PYTHONPATH": str(FOLDER),
            "INNGEST_DEV": self._gateway.api_origin,
            "APP": app,
            "STARTED": str(started),
            "GO": str(go),
        }
        if how == "shutdown_timeout":
            environment["INNGEST_CONNECT_SHUTDOWN_TIMEOUT"] = "0.3"
        functions = FUNCTIONS[kind]
        async with self._starting:
            with log.open("w") as output:
                process = await asyncio.create_subprocess_exec(
                    *FORMS[form], cwd=FOLDER, env=environment, stdout=output, stderr=output
                )
            running = asyncio.gather(*(self._invoke(app, each) for each in functions))
            await _until(lambda: _lines(started) == len(functions))
        process.send_signal(number)
        if how == "second signal":
            await _until(lambda: "shutdown_waiting" in log.read_text() or kind == "blocking")
            # Signals of one number are not queued, and nothing shows that the first was handled.
            await asyncio.sleep(0.3 if kind == "blocking" else 0.0)
            process.send_signal(number)
        else:
            go.touch()
        signaled = time.monotonic()
        try:
            code: int | None = await asyncio.wait_for(process.wait(), LIMIT)
        except TimeoutError:
            process.kill()
            await process.wait()
            code = None
        took = time.monotonic() - signaled
        result = await running if kind == "finishing" and how == "first signal" else None
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        slugs = {f"{app}-{each}" for each in functions}
        records = self._gateway.ledger.records.values()
        ids = [each.request_id for each in records if each.function_slug in slugs]
        text = log.read_text()
        return End(code, took, text, all(each in text for each in ids), result)

    async def _invoke(self, app: str, function: str) -> object:
        await self._gateway.store.until(lambda _: app in self._apps())
        return (await self._gateway.invoke(f"{app}-{function}")).output

    def _apps(self) -> set[str]:
        ready = self._gateway.store.ready_connections()
        return {app.app_name for each in ready if each.connect for app in each.connect.apps}


def _lines(file: Path) -> int:
    return file.read_text().count("\n") if file.exists() else 0


async def _until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_after_the_first_signal_work_is_finished(tmp_path: Path) -> None:
    async with EmbeddedGateway() as gateway:
        ends = await Stage(gateway, tmp_path).ends(FIRST_SIGNAL, "first signal")

    assert {cell: end.code for cell, end in ends.items()} == FIRST_SIGNAL
    assert {cell: end.result for cell, end in ends.items()} == {c: ["finished"] for c in ends}
    assert [cell for cell, end in ends.items() if end.seconds > 10] == []


async def test_the_second_signal_ends_the_process_now(tmp_path: Path) -> None:
    async with EmbeddedGateway() as gateway:
        ends = await Stage(gateway, tmp_path).ends(SECOND_SIGNAL, "second signal")

    assert {cell: end.code for cell, end in ends.items()} == SECOND_SIGNAL
    assert [cell for cell, end in ends.items() if not end.abandoned] == []
    assert [cell for cell, end in ends.items() if end.seconds > 15] == []


async def test_after_shutdown_timeout_the_process_ends(tmp_path: Path) -> None:
    async with EmbeddedGateway() as gateway:
        ends = await Stage(gateway, tmp_path).ends(SHUTDOWN_TIMEOUT, "shutdown_timeout")

    assert {cell: end.code for cell, end in ends.items()} == SHUTDOWN_TIMEOUT
    assert [cell for cell, end in ends.items() if not end.abandoned] == []
    assert [cell for cell, end in ends.items() if end.seconds > 15.3] == []
