"""Guarded tasks: an exit in the task of a function is the failure of that function alone."""

import asyncio
import contextvars
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from inngest_connect.execution.user_exits import (
    FunctionExited,
    Origin,
    _guarded,
    current_function,
    guard_tasks,
)

pytestmark = pytest.mark.unit


@pytest.fixture
def warned() -> list[str]:
    return []


def origin_of(warned: list[str]) -> Origin:
    return Origin("request", "run", "app-fn", lambda misbehavior: warned.append(misbehavior.text))


@pytest.fixture
def of_a_function(warned: list[str]) -> contextvars.Context:
    context = contextvars.copy_context()
    context.run(current_function.set, origin_of(warned))
    return context


async def exits() -> None:
    raise SystemExit(3)


async def test_a_task_belongs_to_the_function_of_the_context_that_it_starts_in(
    of_a_function: contextvars.Context, warned: list[str]
) -> None:
    loop = asyncio.get_running_loop()
    release = guard_tasks(loop)

    task = loop.create_task(exits(), context=of_a_function)
    with pytest.raises(FunctionExited) as caught:
        await task
    release()

    assert isinstance(caught.value.__cause__, SystemExit)
    assert len(warned) == 1
    assert warned[0].startswith("function 'app-fn' raised SystemExit")


async def test_a_task_that_starts_in_a_context_of_nobody_is_created_as_before(
    of_a_function: contextvars.Context,
) -> None:
    loop = asyncio.get_running_loop()
    release = guard_tasks(loop)

    async def nothing() -> None: ...

    work = nothing()
    task = of_a_function.run(loop.create_task, work, context=contextvars.Context())
    await task
    release()

    assert task.get_coro() is work


async def test_the_factory_that_was_there_before_creates_the_tasks_and_is_put_back() -> None:
    loop = asyncio.get_running_loop()
    made: list[str] = []

    def users(loop: Any, work: Any, **options: Any) -> Any:
        made.append(work.__qualname__)
        return asyncio.Task(work, loop=loop, **options)

    before = loop.get_task_factory()
    loop.set_task_factory(users)
    try:
        first, second = guard_tasks(loop), guard_tasks(loop)
        await loop.create_task(asyncio.sleep(0))
        first()
        between = loop.get_task_factory()
        second()
        after = loop.get_task_factory()
    finally:
        loop.set_task_factory(before)

    assert made == ["sleep"]
    assert between is not users
    assert after is users


@pytest.fixture
def handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("handler", "raised"),
    [(signal.default_int_handler, KeyboardInterrupt), (signal.SIG_IGN, FunctionExited)],
)
def test_only_a_ctrl_c_of_the_terminal_passes(
    handler: Any, raised: type[BaseException], handlers: None, warned: list[str]
) -> None:
    """With the default handler it may be raised anywhere on the main thread."""

    async def interrupted() -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    work = _guarded(interrupted(), origin_of(warned))

    with pytest.raises(raised):
        work.send(None)

    assert len(warned) == (raised is FunctionExited)


INTERRUPTED = """
import asyncio
from inngest_connect.execution.user_exits import run_to_end

async def main():
    print("runs", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("is cancelled", flush=True)

try:
    run_to_end(main(), print)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


async def test_a_ctrl_c_that_nobody_handles_ends_what_runs_with_keyboard_interrupt() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", INTERRUPTED, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        first = await asyncio.wait_for(process.stdout.readline(), 30)
        process.send_signal(signal.SIGINT)
        rest, _ = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert first + rest == b"runs\nis cancelled\ninterrupted\n"
    assert process.returncode == 0
