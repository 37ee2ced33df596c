"""ProcessExecutor: what children do, and how they end. Real processes."""

import asyncio
import json
import os
import select
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from inngest_connect.core.wire.messages import ExecutionResult
from inngest_connect.errors import ConfigurationError
from inngest_connect.execution.processes import child as parents_end
from inngest_connect.execution.processes import frames, pool
from inngest_connect.execution.processes.child import Child
from inngest_connect.execution.processes.executor import process_executor
from inngest_connect.protocol import connect_pb2 as pb
from tests.integration.execution import process_apps
from tests.integration.execution.running import TARGET, Running, dead, running, until

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
_S = pb.SDKResponseStatus
MIB = 2**20


def error(result: ExecutionResult | None) -> str:
    """The text of a retryable error for a death."""
    assert result is not None
    assert (result.status, result.no_retry) == (_S.ERROR, False)
    body = json.loads(result.body)
    assert body["code"] == "child_process_died"
    return str(body["message"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one() -> AsyncIterator[Running]:
    """One process for many tests, whatever they do to it, since processes are slow to start."""
    async with running(process_executor(TARGET, 1, max_in_flight=50)) as run:
        yield run


@pytest.fixture
def run(one: Running) -> Running:
    """The same, with nothing observed yet."""
    while not one.events.empty():
        one.events.get_nowait()
    return one


async def pid_of(run: Running) -> int:
    return int((await run.result("pid")).body)


# --- death ---------------------------------------------------------------------------------


async def test_a_death_is_the_error_of_every_request_in_that_process_and_of_no_other(
    tmp_path: Path,
) -> None:
    async with running(process_executor(process_apps.apps, 2)) as run:
        started, release = tmp_path / "started", tmp_path / "release"
        # The fewest in flight: one to each child, and then one more to each.
        neighbour = run.call("waits", started=str(started), release=str(release))
        other = run.call("waits", started=str(tmp_path / "other"), release=str(release))
        await until(started.exists)
        await until((tmp_path / "other").exists)
        killed = run.call("dies")

        text = error(await run.ended(killed))
        assert text == (
            "the process that ran this function was killed by SIGKILL, perhaps for want of memory"
        )
        assert error(await run.ended(neighbour)) == text
        event = await run.event()
        assert (event.kind, "; 2 request(s)" in event.message) == ("child_process_died", True)
        release.touch()
        survivor = await run.ended(other)
        assert survivor is not None
        assert survivor.status == _S.DONE


def _serving(run: Running) -> list[Child]:
    serving: list[Child] = run.executor._pool.serving  # type: ignore[attr-defined]
    return serving


async def test_results_written_before_the_death_count_even_when_a_write_finds_it_dead(
    run: Running,
) -> None:
    await run.result("echo")  # there is a process
    (child,) = _serving(run)
    end = select.poll()
    end.register(child._socket, select.POLLHUP)
    first = run.call("echo", number=1)
    last = run.call("dies", code=0, turns=100)
    assert end.poll(10_000)  # this loop must not read, so it is blocked
    too_late = run.call("echo", number=2)

    result = await run.ended(first)
    assert result is not None
    assert json.loads(result.body) == {"number": 1}
    assert error(await run.ended(last)).endswith("exited with code 0")
    assert error(await run.ended(too_late)).endswith("exited with code 0")
    assert (await run.result("echo")).status == _S.DONE  # by its successor


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        (b"\xff" * 64, "a frame of kind 255 and 4294967295 bytes"),
        (frames.frame(frames.CANCELLED, b"other"), "a result that nobody waits for"),
        (frames.frame(frames.READY, b"{}"), "a frame of kind 3 out of turn"),
    ],
)
async def test_a_child_that_breaks_the_protocol_is_killed(
    run: Running, frame: bytes, what: str
) -> None:
    assert error(await run.result("babbles", frame=frame.hex())).endswith(f"because it sent {what}")
    assert (await run.result("echo")).status == _S.DONE


async def test_a_process_that_a_function_forked_does_not_hide_the_death(
    run: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parents_end, "_LAST_WORDS", 0.1)
    assert error(await run.result("forks")).endswith("exited with code 4")


async def test_signals_are_not_for_children_but_for_what_functions_start(run: Running) -> None:
    """Ctrl-C in a terminal and a service manager's SIGTERM reach every process."""
    await run.result("dies")
    await until(lambda: any(_pids(run)))
    (child,) = _pids(run)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(child, number)  # it has no handlers yet
    ready = await pid_of(run)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(child, number)

    assert (ready, await pid_of(run)) == (child, child)
    assert int((await run.result("program")).body) == -signal.SIGTERM
    assert (await run.result("inheritable")).body == b"false"


# --- starting ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nothing_like_this", "ModuleNotFoundError: No module named 'nothing_like_this' ("),
        ("import os; os._exit(9)", "exited with code 9"),
    ],
)
async def test_apps_that_cannot_be_loaded_fail_the_start_with_what_the_child_found(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match="a child process for 'broken:apps'") as caught:
        async with running(process_executor("broken:apps", 1)):
            pass

    assert message in str(caught.value)


async def test_a_child_without_the_functions_of_connect_is_refused() -> None:
    functions = {"app": frozenset({"app-echo", "app-other"}), "shop": frozenset({"shop-sell"})}
    with pytest.raises(ConfigurationError, match="does not have app-other, which connect"):
        async with running(process_executor(TARGET, 1), functions=functions):
            pass


async def test_a_limit_that_nothing_can_meet_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="before any work, and max_memory_bytes is 1048"):
        async with running(process_executor(TARGET, 1, max_memory_bytes=MIB)):
            pass


async def test_a_child_that_is_never_ready_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow.py").write_text("import time; time.sleep(3600)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pool, "_READY_TIMEOUT", 0.3)
    with pytest.raises(ConfigurationError, match="because it was not ready after 0"):
        async with running(process_executor("slow:apps", 1)):
            pass


async def test_no_process_can_be_started_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(ConfigurationError, match="could not be started: "):
        async with running(process_executor(TARGET, 1)):
            pass


async def test_a_start_that_is_given_up_leaves_no_process() -> None:
    run = Running(process_executor(TARGET, 1))
    starting = asyncio.create_task(run.executor.start())
    await until(lambda: any(_pids(run)))
    (child,) = _pids(run)
    starting.cancel()
    await asyncio.wait([starting])
    await run.end()

    assert dead(child)


async def test_a_start_that_is_given_up_before_there_is_a_process_ends_as_soon() -> None:
    """The child that is being started then has to be known to the stop."""
    run = Running(process_executor(TARGET, 2, stop_timeout=1000.0))
    starting = asyncio.create_task(run.executor.start())
    await asyncio.sleep(0)
    before = _pids(run)
    starting.cancel()

    async with asyncio.timeout(20):
        await run.end()

    await asyncio.wait([starting])
    assert before == [0, 0]
    assert not _children(run)


def _children(run: Running) -> set[Child]:
    children: set[Child] = run.executor._pool._children  # type: ignore[attr-defined]
    return children


def _pids(run: Running) -> list[int]:
    return [each.pid for each in _children(run)]


class Changing:
    """The source of "changing:apps"."""

    def __init__(self, module: Path) -> None:
        self._module = module
        self.works()

    def works(self) -> None:
        self._module.write_text(f"from {process_apps.__name__} import apps")

    def breaks(self) -> None:
        self._module.write_text("raise ValueError('broken deploy')")


@pytest.fixture
def changing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Changing:
    """A module that is good now, and read again by every child."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return Changing(tmp_path / "changing.py")


async def test_a_broken_deploy_is_waited_out_or_ends_the_worker(
    changing: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starts that fail are spaced, and work waits for the next child, but not indefinitely."""
    monkeypatch.setattr(pool, "_FIRST_DELAY", 0.05)
    run = Running(process_executor("changing:apps", 2))
    await run.executor.start()
    changing.breaks()
    for death in [run.call("dies") for _ in range(2)]:
        await run.ended(death)
        await run.event()
    waiting = run.call("echo")
    events = [await run.event() for _ in range(2)]
    changing.works()
    result = await run.ended(waiting)
    before = run.executor.failure()
    monkeypatch.setattr(pool, "_MOST_FAILURES", 1)
    await until(lambda: len(_serving(run)) == 2)
    changing.breaks()
    for _ in range(2):
        run.call("dies")
    await until(lambda: run.executor.failure() is not None)
    with pytest.raises(ConfigurationError, match="broken deploy"):
        await run.end()

    assert "failed: ValueError: broken deploy" in events[0].message
    assert "the next one is started in 0.05 s" in events[0].message
    assert "the next one is started in 0.1 s" in events[1].message
    assert result is not None
    assert (result.status, before) == (_S.DONE, None)


# --- replacing -----------------------------------------------------------------------------


async def test_used_up_children_are_replaced_one_after_the_other_and_lose_nothing(
    tmp_path: Path,
) -> None:
    started, release = tmp_path / "started", tmp_path / "release"
    async with running(process_executor(TARGET, 2, max_executions=2)) as run:
        first = {each.pid for each in _serving(run)}
        long = run.call("waits", started=str(started), release=str(release))
        await until(started.exists)
        starting, results = [], []
        async with asyncio.timeout(20):
            while first & {each.pid for each in _serving(run)}:
                calls = [run.call("echo") for _ in range(2)]
                results += [await run.ended(request_id) for request_id in calls]
                starting.append(sum(1 for each in _children(run) if not each.ready))
        kept = [pid for pid in first if not dead(pid)]
        release.touch()
        results.append(await run.ended(long))
        await until(lambda: all(dead(pid) for pid in first))

    assert max(starting) == 1
    assert len(kept) >= 1
    assert all(result is not None and result.status == _S.DONE for result in results)
    assert run.events.empty()


async def test_memory_is_warned_of_and_then_leads_to_a_successor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "_MEMORY_INTERVAL", 0.01)
    async with running(process_executor(TARGET, 1, max_memory_bytes=200 * MIB)) as run:
        first = await pid_of(run)
        leaked = 0
        while run.events.empty():
            await run.result("leaks", bytes=12 * MIB)
            leaked += 12
            await asyncio.sleep(0.02)
        warning = await run.event()
        while run.events.empty() and leaked < 400:
            await run.result("leaks", bytes=12 * MIB)
            leaked += 12
            await asyncio.sleep(0.02)
        replaced = await run.event()
        await until(lambda: _serving(run)[0].pid != first)  # idle as it is, it ends now
        await until(lambda: dead(first))

    assert {warning.kind, replaced.kind} == {"child_process_memory"}
    assert "above max_memory_bytes, 200 MiB, it is replaced" in warning.message
    assert "more than max_memory_bytes; it is replaced" in replaced.message


# --- dispatch ------------------------------------------------------------------------------


async def test_more_than_a_child_may_have_waits_in_the_parent(run: Running, tmp_path: Path) -> None:
    release = tmp_path / "release"
    paths = [tmp_path / str(number) for number in range(52)]
    calls = [run.call("waits", started=str(path), release=str(release)) for path in paths]
    for path in paths[:50]:
        await until(path.exists)
    run.executor.cancel(calls[50])
    cancelled = await run.ended(calls[50])
    release.touch()
    del calls[50]
    results = [await run.ended(request_id) for request_id in calls]

    assert cancelled is None
    assert all(result is not None and result.status == _S.DONE for result in results)
    assert not paths[50].exists()


async def test_a_child_that_does_not_read_blocks_nobody(run: Running, tmp_path: Path) -> None:
    started = tmp_path / "started"
    hog = run.call("hogs", started=str(started), n=3 * 10**7)
    await until(started.exists)
    calls = [run.call("echo", text="x" * 100_000) for _ in range(40)]
    stuck = run.executor._waiting  # type: ignore[attr-defined]
    await until(lambda: len(stuck) > 0 or hog in run.results)
    queued = len(stuck)
    results = [await run.ended(request_id) for request_id in [hog, *calls]]

    assert queued > 0
    assert all(result is not None and result.status == _S.DONE for result in results)


# --- stopping ------------------------------------------------------------------------------


async def test_what_a_function_returns_when_the_stop_cancels_it_arrives(tmp_path: Path) -> None:
    started = tmp_path / "started"
    async with running(process_executor(TARGET, 1)) as run:
        request_id = run.call("finishes", started=str(started))
        await until(started.exists)

    result = await run.ended(request_id)
    assert result is not None
    assert json.loads(result.body) == "finished"


@pytest.mark.parametrize(
    ("function", "data"),
    [("waits_in_thread", {}), ("hogs", {"n": 10**12})],
)
async def test_nothing_outlives_the_stop(
    function: str, data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a function in a thread, nor one that keeps the interpreter lock."""
    monkeypatch.setattr(parents_end, "_TERM_GRACE", 0.1)
    started = tmp_path / "started"
    async with running(process_executor(TARGET, 1, stop_timeout=0.1)) as run:
        child = await pid_of(run)
        request_id = run.call(function, started=str(started), release="/never", **data)
        await until(started.exists)

    assert dead(child)
    assert await run.ended(request_id) is None
