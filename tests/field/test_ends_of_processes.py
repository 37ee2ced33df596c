"""How a process ends: every form, with functions that end and functions that do not.

The table "How a process ends" in docs/operations.md, cell by cell. The processes of one test run
concurrently, because they mostly wait.
"""

import asyncio
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from inngest_connect.testing import EmbeddedGateway
from tests.field.ending_processes import Program, until

pytestmark = pytest.mark.field
OURS = ["start", "run", "one loop", "command line", "children"]
"""Forms whose signal handlers are ours."""
TERM, INT = signal.SIGTERM, signal.SIGINT
FUNCTIONS = {
    "finishing": ["finishing"],
    "endless": ["plain", "thread", "to_thread", "stubborn"],
    "blocking": ["blocking"],
    "process": ["process"],
}
"""Run concurrently in one process: one that blocks the event loop keeps others from starting."""

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
    ("uvicorn, start", "finishing", TERM): -15,
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
    ("start", "process", TERM): 1,
    ("command line, children", "endless", TERM): 1,
    ("async with", "endless", TERM): 1,
    ("uvicorn", "endless", TERM): -15,
    ("uvicorn, start", "endless", TERM): -15,
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


async def _ends(cells: dict[Cell, int], how: str, folder: Path) -> dict[Cell, End]:
    async with EmbeddedGateway() as gateway:
        ends = await asyncio.gather(*(_end(gateway, folder, *cell, how) for cell in cells))
    return dict(zip(cells, ends, strict=True))


async def _end(
    gateway: EmbeddedGateway, folder: Path, form: str, kind: str, number: signal.Signals, how: str
) -> End:
    program = Program(gateway, folder, form, f"{kind}-{number.name}", FUNCTIONS[kind])
    limit = {"INNGEST_CONNECT_SHUTDOWN_TIMEOUT": "0.3"} if how == "shutdown_timeout" else {}
    await program.start(**limit)
    program.signal(number)
    if how == "second signal":
        await until(lambda: "shutdown_waiting" in program.output() or kind == "blocking")
        # Signals of one number are not queued, and nothing shows that the first was handled.
        await asyncio.sleep(0.3 if kind == "blocking" else 0.0)
        program.signal(number)
    else:
        program.go()
    signaled = time.monotonic()
    code = await program.code()
    took = time.monotonic() - signaled
    result = await program.running if how == "first signal" else None
    await program.forget()
    text = program.output()
    return End(code, took, text, all(each in text for each in program.request_ids()), result)


async def test_after_the_first_signal_work_is_finished(tmp_path: Path) -> None:
    ends = await _ends(FIRST_SIGNAL, "first signal", tmp_path)

    assert {cell: end.code for cell, end in ends.items()} == FIRST_SIGNAL
    assert {cell: end.result for cell, end in ends.items()} == {c: ["finished"] for c in ends}
    assert [cell for cell, end in ends.items() if end.seconds > 10] == []


@pytest.mark.scenario("T")
async def test_the_second_signal_ends_the_process_now(tmp_path: Path) -> None:
    ends = await _ends(SECOND_SIGNAL, "second signal", tmp_path)

    assert {cell: end.code for cell, end in ends.items()} == SECOND_SIGNAL
    assert {f for (f, *_), end in ends.items() if "A second signal" in end.output} == {*OURS}
    assert [cell for cell, end in ends.items() if not end.abandoned] == []
    assert [cell for cell, end in ends.items() if end.seconds > 15] == []


async def test_after_shutdown_timeout_the_process_ends(tmp_path: Path) -> None:
    ends = await _ends(SHUTDOWN_TIMEOUT, "shutdown_timeout", tmp_path)

    assert {cell: end.code for cell, end in ends.items()} == SHUTDOWN_TIMEOUT
    assert [cell for cell, end in ends.items() if not end.abandoned] == []
    assert [cell for cell, end in ends.items() if end.seconds > 15.3] == []


@pytest.mark.scenario("Z")
async def test_a_worker_on_another_thread_ends_with_the_main_thread(tmp_path: Path) -> None:
    async def end(gateway: EmbeddedGateway, kind: str) -> tuple[int | None, bool]:
        program = Program(gateway, tmp_path, "another thread", kind, FUNCTIONS[kind])
        await program.start(INNGEST_CONNECT_SHUTDOWN_TIMEOUT="0.3")
        program.go()
        code = await program.code()
        await program.forget()
        return code, all(each in program.output() for each in program.request_ids())

    async with EmbeddedGateway() as gateway:
        ends = await asyncio.gather(*(end(gateway, kind) for kind in ("endless", "blocking")))

    assert ends == [(1, True), (1, True)]


async def test_a_program_that_goes_on_is_not_ended(tmp_path: Path) -> None:
    """Neither after an error that it has shown itself, nor while its own thread runs."""
    async with EmbeddedGateway() as gateway:
        program = Program(gateway, tmp_path, "goes on", "", ["thread"])
        await program.start(INNGEST_CONNECT_SHUTDOWN_TIMEOUT="0.3")
        program.signal(TERM)
        code = await program.code()
        await program.forget()

    lines = program.output().splitlines()
    assert {"the program goes on", "the thread goes on"} <= set(lines)
    assert "functions that were abandoned still run in threads" in program.output()
    assert code == 1
