"""Child processes are not believed, do not stay behind, and do not answer twice."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import inngest_connect
from inngest_connect import WebSocketWorkerConnection, connect, process_executor
from inngest_connect.errors import ConfigurationError
from inngest_connect.execution.processes import child as parents_end
from inngest_connect.execution.processes import interpreter
from inngest_connect.testing import EmbeddedGateway, RunResult
from tests.field import child_functions as children

pytestmark = pytest.mark.field
LIMIT = 20.0
PATH = [str(Path(inngest_connect.__file__).parents[1]), str(Path(__file__).parents[2]), *sys.path]
BASE = os.path.realpath(sys.executable)
PROGRAM = """
import os, sys
sys.path[1:1] = os.environ["ADDED"].split(os.pathsep)
from inngest_connect import connect, process_executor
from tests.field import child_functions as children

if __name__ == "__main__":
    options = {}
    if sys.argv[1] == "children":
        options["executor"] = process_executor(children.apps, 1)
    elif sys.argv[1] == "none":
        options["isolation"] = "none"
    connect(children.apps(), **options).run()
"""


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another process."""
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def dead(pid: int) -> bool:
    """Whether a process has ended; as a zombie it has, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def call(gateway: EmbeddedGateway, function: str, **data: Any) -> RunResult:
    return await asyncio.wait_for(gateway.invoke(f"app-{function}", {"data": data}), LIMIT)


@contextlib.asynccontextmanager
async def here(
    monkeypatch: pytest.MonkeyPatch, processes: int
) -> AsyncIterator[tuple[EmbeddedGateway, WebSocketWorkerConnection]]:
    """A worker in this process, with children."""
    async with EmbeddedGateway() as gateway:
        monkeypatch.setenv("CHILD_ORIGIN", gateway.api_origin)
        worker = connect(
            children.make(gateway.api_origin),
            executor=process_executor(children.apps, processes),
            shutdown_signals=[],
            logger=False,
        )
        async with worker:
            await gateway.wait_for_worker()
            yield gateway, worker


@contextlib.asynccontextmanager
async def program(
    folder: Path, how: str, python: str = sys.executable
) -> AsyncIterator[tuple[EmbeddedGateway, "subprocess.Popen[bytes]"]]:
    """A worker in a separate process, which leads a process group."""
    file = folder / "program.py"
    file.write_text(PROGRAM)
    async with EmbeddedGateway() as gateway:
        environment = {
            **os.environ,
            "PYTHONPATH": "",
            "ADDED": os.pathsep.join(each for each in PATH if each),
            "CHILD_ORIGIN": gateway.api_origin,
        }
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(  # noqa: ASYNC220
                [python, str(file), how], env=environment, stderr=log, start_new_session=True
            )
        try:
            await asyncio.wait_for(gateway.wait_for_worker(), LIMIT)
            yield gateway, process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


async def test_a_child_that_breaks_the_protocol_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with here(monkeypatch, 1) as (gateway, worker):
        lied, after = {}, {}
        for name in children.LIES:
            lied[name] = await call(gateway, "lies", name=name)
            after[name] = (await call(gateway, "pid")).output
        running = worker.get_debug_state().running

    twice = lied.pop("twice")  # the first one is an answer like any other
    assert twice.output == "lie"
    assert {name: (result.error or {}).get("code") for name, result in lied.items()} == (
        dict.fromkeys(lied, "child_process_died")
    )
    assert len(set(after.values())) == len(children.LIES)
    assert running == 0


async def test_a_child_that_hangs_up_and_goes_on_is_killed_and_its_request_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with here(monkeypatch, 1) as (gateway, _):
        result = await call(gateway, "hangs_up")
        after = await call(gateway, "pid")

    assert (result.error or {})["code"] == "child_process_died"
    assert isinstance(after.output, int)


async def test_a_child_cannot_answer_for_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, release = tmp_path / "started", tmp_path / "release"
    files = {"started": str(started), "release": str(release)}
    async with here(monkeypatch, 2) as (gateway, _):
        waiting = asyncio.create_task(call(gateway, "waits", **files))
        await until(lambda: started.exists() and started.read_text() != "")
        lied = await call(gateway, "lies", name="unknown id", other=started.read_text())
        release.touch()
        kept = await waiting

    assert (lied.error or {})["code"] == "child_process_died"
    assert isinstance(kept.output, int)


async def test_a_cancellation_that_nobody_asked_for_is_an_error_reply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with here(monkeypatch, 1) as (gateway, _):
        result = await call(gateway, "takes_back")

    assert result.status == "failed"
    assert "cancelled" in (result.error or {})["message"]


@pytest.mark.parametrize("how", ["busy", "sleep", "native", "lock"])
async def test_a_blocked_child_does_not_outlive_a_parent_that_is_killed(
    how: str, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    async with program(tmp_path, "children") as (gateway, process):
        run = asyncio.create_task(
            gateway.invoke("app-blocks", {"data": {"started": str(started), "how": how}})
        )
        await until(lambda: started.exists() and started.read_text() != "")
        child = int(started.read_text())
        process.kill()
        process.wait()
        await until(lambda: dead(child))
        run.cancel()

    assert child != process.pid


async def test_the_watch_for_the_parent_works_without_the_kernels_help(tmp_path: Path) -> None:
    found = tmp_path / "pid"
    code = f"""
import os, sys, time
from inngest_connect.execution.processes.parent_watch import watch_parent
parent = os.getpid()
if os.fork() == 0:
    sys.platform = "other"
    watch_parent(parent, 0.1)
    open({str(found)!r}, "w").write(str(os.getpid()))
    while True:
        pass
while not os.path.exists({str(found)!r}) or not open({str(found)!r}).read():
    time.sleep(0.01)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(PATH)}
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], env=environment, check=True
    )

    await until(lambda: dead(int(found.read_text())))


async def test_ctrl_c_of_a_terminal_leaves_the_work_of_children_alone(tmp_path: Path) -> None:
    """A terminal sends SIGINT to every process of the group."""
    started, release = tmp_path / "started", tmp_path / "release"
    async with program(tmp_path, "children") as (gateway, process):
        files = {"started": str(started), "release": str(release)}
        run = asyncio.create_task(call(gateway, "waits", **files))
        await until(started.exists)
        os.killpg(process.pid, signal.SIGINT)
        await gateway.store.until(
            lambda model: any(each.paused for each in model.connections.values())
        )
        release.touch()
        result = await run
        code = await asyncio.to_thread(process.wait, LIMIT)

    assert isinstance(result.output, int)
    assert result.output != process.pid
    assert code == 0


@pytest.mark.parametrize("how", ["loop", "children"])
@pytest.mark.parametrize("function", ["forks", "forks_sync"])
async def test_a_function_that_forks_and_returns_twice_answers_once(
    how: str, function: str, tmp_path: Path
) -> None:
    async with program(tmp_path, how) as (gateway, _):
        result = await call(gateway, function)
        forked = int(str(result.output))
        await until(lambda: dead(forked))
        after = await call(gateway, "pid")

    assert result.status == "completed"
    assert isinstance(after.output, int)


@pytest.mark.parametrize("how", ["loop", "none"])
async def test_a_forked_process_does_not_keep_the_connection_open(how: str, tmp_path: Path) -> None:
    async with program(tmp_path, how) as (gateway, process):
        forked = int(str((await call(gateway, "leaves_process")).output))
        process.kill()
        process.wait()
        async with asyncio.timeout(LIMIT):
            await gateway.store.until(lambda _: not gateway.store.ready_connections())
        left = not dead(forked)

    assert left


async def test_without_a_thread_to_wait_for_a_child_the_worker_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spawned: list[int] = []
    spawn = interpreter.spawn

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    def remember(*arguments: Any) -> Any:
        process = spawn(*arguments)
        spawned.append(process.pid)
        return process

    monkeypatch.setattr(parents_end, "spawn", remember)
    async with EmbeddedGateway() as gateway:
        monkeypatch.setenv("CHILD_ORIGIN", gateway.api_origin)
        worker = connect(
            children.make(gateway.api_origin),
            executor=process_executor(children.apps, 2),
            shutdown_signals=[],
            logger=False,
        )
        monkeypatch.setattr(threading.Thread, "start", _refusing(refuse))
        with pytest.raises(ConfigurationError, match="can't start new thread"):
            await asyncio.wait_for(worker.start(), LIMIT)
        await asyncio.wait_for(worker.closed(), LIMIT)

    assert spawned
    assert all(dead(pid) for pid in spawned)


def _refusing(refuse: Callable[..., None]) -> Any:
    """``Thread.start`` for all threads but those that wait for a child."""
    start = threading.Thread.start

    def choose(thread: Any) -> None:
        if "_wait" in repr(getattr(thread, "_target", None)):
            refuse()
        start(thread)

    return choose


async def test_children_find_what_the_program_added_to_the_path(tmp_path: Path) -> None:
    """As in an archive: the interpreter that a virtual environment was made from lacks packages."""
    if sys.prefix == sys.base_prefix:
        pytest.skip("needs a virtual environment")
    async with program(tmp_path, "children", BASE) as (gateway, _):
        result = await call(gateway, "pid")

    assert isinstance(result.output, int)
