"""A signal that is repeated, at whatever moment of the end, does not change the exit code."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from inngest_connect.testing import EmbeddedGateway
from tests.field.ending_processes import Program, without_coverage

pytestmark = pytest.mark.field
TERM, INT = signal.SIGTERM, signal.SIGINT
IDLE = [
    ("start", TERM),
    ("run", INT),
    ("one loop", TERM),
    ("command line", TERM),
    ("command line, children", INT),
]
AT_WORK = [("start", TERM), ("run", TERM), ("run", INT), ("one loop", TERM)]


async def _end_in_a_storm(program: Program, number: signal.Signals) -> tuple[int | None, str]:
    await program.start()

    async def storm() -> None:
        while program.signal(number):  # noqa: ASYNC110 - it ends with the process
            await asyncio.sleep(0.001)

    storming = asyncio.create_task(storm())
    code = await program.code()
    storming.cancel()
    await program.forget()
    return code, program.output()


@pytest.mark.scenario("T")
@pytest.mark.parametrize(
    ("forms", "functions", "code"), [(IDLE, [], 0), (AT_WORK, ["plain"], 1)], ids=["idle", "work"]
)
async def test_a_storm_of_signals_does_not_change_the_exit_code(
    forms: list[tuple[str, signal.Signals]], functions: list[str], code: int, tmp_path: Path
) -> None:
    async with EmbeddedGateway() as gateway:
        programs = [
            Program(gateway, tmp_path, form, each.name, functions, covered=False)
            for form, each in forms
        ]
        numbers = [number for _, number in forms]
        ends = await asyncio.gather(*map(_end_in_a_storm, programs, numbers))

    assert [end[0] for end in ends] == [code] * len(programs)
    assert [text for _, text in ends if "KeyboardInterrupt" in text or "threading" in text] == []


AT_EVERY_LINE = """
import signal, sys
from inngest_connect.aio import shutdown_signals as subject

NAMES = {"remove", "_put_back", "_absorb_at_exit", "_ignore_until_the_end"}
lines = set()

def trace(frame, kind, argument):
    if frame.f_code.co_filename != subject.__file__ or frame.f_code.co_name not in NAMES:
        return None
    if kind == "line":
        lines.add(frame.f_code.co_name)
        signal.raise_signal(signal.SIGTERM)
    return trace

with subject.shutdown_signals([signal.SIGTERM], lambda: None, lambda _: None):
    signal.raise_signal(signal.SIGTERM)
    sys.settrace(trace)
print(*sorted(lines))
"""


def test_a_signal_at_every_line_of_the_end_does_not_kill_the_process() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", AT_EVERY_LINE],
        capture_output=True,
        text=True,
        timeout=60,
        env=without_coverage(),
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "remove\n", "")


@pytest.mark.scenario("Z")
async def test_on_uvloop_a_worker_ends_as_on_asyncio(tmp_path: Path) -> None:
    pytest.importorskip("uvloop")
    async with EmbeddedGateway() as gateway:
        programs = [
            Program(gateway, tmp_path, form, name, functions, covered=False)
            for form in ("uvloop", "command line, uvloop")
            for name, functions in (("storm", []), ("work", ["stubborn", "to_thread"]))
        ]
        ends = await asyncio.gather(*(_end_in_a_storm(each, signal.SIGTERM) for each in programs))

    assert [code for code, _ in ends] == [0, 1, 0, 1]
