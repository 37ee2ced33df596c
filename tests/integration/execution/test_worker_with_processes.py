"""A worker whose functions run in child processes: one connection, and nothing left behind."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import inngest_connect
from inngest_connect import (
    ConfigurationError,
    ConnectionState,
    WebSocketWorkerConnection,
    connect,
    process_executor,
)
from inngest_connect.execution.processes import child as parents_end
from inngest_connect.execution.processes.interpreter import PROGRAM as CHILD
from inngest_connect.options import Isolation
from inngest_connect.testing import EmbeddedGateway, GatewayThread
from tests.integration.demo_apps import make_client
from tests.integration.execution import process_apps
from tests.integration.execution.running import TARGET, dead, until

pytestmark = pytest.mark.integration
SOURCE = str(Path(inngest_connect.__file__).parents[1])


def worker_of(
    gateway: EmbeddedGateway, processes: int, stop_timeout: float = 5.0
) -> WebSocketWorkerConnection:
    client = make_client(gateway.api_origin, process_apps.APP)
    executor = process_executor(TARGET, processes, stop_timeout=stop_timeout)
    return connect([(client, process_apps.functions)], executor=executor, wait=True)


@pytest.mark.scenario("M")
async def test_a_function_that_keeps_the_interpreter_lock_costs_no_heartbeat_and_no_lease(
    tmp_path: Path,
) -> None:
    """Nor does it hold up another process, and there is one connection for both."""
    async with (
        EmbeddedGateway(
            lease=1.0, extend_lease_interval="50ms", heartbeat_interval="50ms"
        ) as gateway,
        worker_of(gateway, 2),
    ):
        started = tmp_path / "started"
        hog = asyncio.create_task(
            gateway.invoke("app-hogs", {"data": {"started": str(started), "n": 4 * 10**7}})
        )
        await until(started.exists)
        (connection,) = gateway.store.model.connections.values()
        before = connection.heartbeats
        others = [await gateway.invoke("app-echo") for _ in range(20)]
        meanwhile = not hog.done()
        result = await hog
        heartbeats = connection.heartbeats - before
        (record,) = [r for r in gateway.ledger.records.values() if "hogs" in r.function_slug]

    assert result.output == sum(range(4 * 10**7))
    assert meanwhile
    assert all(other.status == "completed" for other in others)
    assert heartbeats >= 3
    assert record.extensions >= 3
    # At most the one that was on its way when the reply was stored: the two may cross.
    assert record.refused_extensions <= 1
    assert (gateway.ledger.lost, gateway.ledger.duplicates) == (0, 0)


async def test_a_death_is_observed_and_the_run_has_its_cause() -> None:
    async with EmbeddedGateway() as gateway:
        errors: list[inngest_connect.ErrorOccurred] = []
        async with worker_of(gateway, 1) as worker:
            worker.add_event_listener("error", errors.append)
            failed = await gateway.invoke("app-dies", {"data": {"code": 3}})
            again = await gateway.invoke("app-echo")

    assert failed.error["message"] == "the process that ran this function exited with code 3"
    assert again.status == "completed"
    assert [error.kind for error in errors] == ["child_process_died"]


async def test_a_graceful_shutdown_finishes_what_children_run(tmp_path: Path) -> None:
    started, release = tmp_path / "started", tmp_path / "release"
    async with EmbeddedGateway() as gateway, worker_of(gateway, 1) as worker:
        child = (await gateway.invoke("app-pid")).output
        event = {"data": {"started": str(started), "release": str(release)}}
        running = asyncio.create_task(gateway.invoke("app-waits_in_thread", event))
        await until(started.exists)
        await worker.close()
        release.touch()
        result = await running

    assert result.output == "released"
    assert dead(child)


async def test_a_cancelled_start_leaves_no_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parents_end, "_TERM_GRACE", 0.1)
    async with EmbeddedGateway() as gateway:
        worker = worker_of(gateway, 1, stop_timeout=0.1)
        start = asyncio.create_task(worker.start())
        await worker.wait_for_state(ConnectionState.ACTIVE)
        child = (await gateway.invoke("app-pid")).output
        event = {"data": {"started": str(tmp_path / "started"), "release": "/never"}}
        stuck = asyncio.create_task(gateway.invoke("app-waits_in_thread", event))
        await until((tmp_path / "started").exists)
        start.cancel()
        await asyncio.wait([start])
        stuck.cancel()

    assert worker.state is ConnectionState.CLOSED
    assert dead(child)


@pytest.mark.parametrize("isolation", ["thread", "none"])
async def test_a_close_before_the_children_are_ready_is_heard(
    isolation: Isolation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "slow.py").write_text(
        f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(3600)"
    )
    monkeypatch.syspath_prepend(tmp_path)
    client = make_client("http://127.0.0.1:1", process_apps.APP)
    worker = connect(
        [(client, process_apps.functions)],
        executor=process_executor("slow:apps", 1),
        isolation=isolation,
    )
    start = asyncio.create_task(worker.start())
    await until(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()))
    await worker.close(wait=True)
    await start

    assert worker.state is ConnectionState.CLOSED
    assert dead(int((tmp_path / "pid").read_text()))


async def test_a_start_whose_children_fail_raises_what_they_said() -> None:
    client = make_client("http://127.0.0.1:1", process_apps.APP)
    worker = connect(
        [(client, process_apps.functions)], executor=process_executor("no_such_module:apps", 1)
    )
    with pytest.raises(ConfigurationError, match="no module 'no_such_module'"):
        await worker.start()

    assert worker.state is ConnectionState.CLOSED


def test_what_is_no_executor_is_refused() -> None:
    client = make_client("http://127.0.0.1:1", process_apps.APP)
    with pytest.raises(ConfigurationError, match=r"executor is 5; pass process_executor"):
        connect([(client, process_apps.functions)], executor=5)  # type: ignore[arg-type]


# --- programs ------------------------------------------------------------------------------

PROGRAM = """
import inngest, os
from inngest_connect import connect, process_executor

client = inngest.Inngest(app_id="app", api_base_url=os.environ["ORIGIN"], is_production=False)

@client.create_function(fn_id="pid", trigger=inngest.TriggerEvent(event="x"), retries=0)
async def pid(ctx: inngest.Context) -> int:
    return os.getpid()

apps = [(client, [pid])]
"""
START = 'connect(apps, executor=process_executor("program:apps", 1)).run()\n'


def start_program(directory: Path, code: str, origin: str) -> "subprocess.Popen[str]":
    (directory / "program.py").write_text(code)
    return subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": SOURCE, "ORIGIN": origin},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


GUARDED = f'{PROGRAM}if __name__ == "__main__":\n    {START}'


async def child_of(thread: GatewayThread) -> int:
    """Wait for the worker and for the pid that its function returns."""
    await asyncio.wrap_future(thread.call(lambda gateway: gateway.wait_for_worker()))
    run = await asyncio.wrap_future(thread.call(lambda gateway: gateway.invoke("app-pid")))
    return int(str(run.output))


async def test_no_child_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    with GatewayThread() as thread, start_program(tmp_path, GUARDED, thread.api_origin) as program:
        try:
            child = await child_of(thread)
            before = dead(child)
        finally:
            program.kill()
        await until(lambda: dead(child))

    assert (before, child == program.pid) == (False, False)


async def test_ctrl_c_in_a_terminal_is_a_graceful_shutdown(tmp_path: Path) -> None:
    """It reaches parent and children alike."""
    with GatewayThread() as thread, start_program(tmp_path, GUARDED, thread.api_origin) as program:
        try:
            child = await child_of(thread)
            os.killpg(program.pid, signal.SIGINT)
            await until(lambda: program.poll() is not None)
        finally:
            program.kill()
        _, errors = program.communicate()

    assert (program.returncode, dead(child)) == (0, True)
    assert "Traceback" not in errors
    assert "child_process_died" not in errors


def test_a_program_that_starts_whenever_it_is_imported_is_refused_with_the_remedy(
    tmp_path: Path,
) -> None:
    """Each child would start a worker with its own children."""
    with start_program(tmp_path, PROGRAM + START, "http://127.0.0.1:1") as program:
        _, errors = program.communicate(timeout=30)

    assert program.returncode == 1
    assert 'put the start below: if __name__ == "__main__":' in errors.splitlines()[-1]


def test_a_child_whose_parent_is_gone_at_once_ends_at_once() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reports:
        arguments = {
            "target": TARGET,
            "grace": 1.0,
            "parent": os.getpid(),
            "reports": reports.fileno(),
        }
        command = [sys.executable, "-m", CHILD, str(theirs.fileno()), json.dumps(arguments)]
        passed = (theirs.fileno(), reports.fileno())
        assert subprocess.run(command, pass_fds=passed, check=False).returncode == 0


async def test_the_snapshot_has_the_child_processes(tmp_path: Path) -> None:
    started, release = tmp_path / "started", tmp_path / "release"
    async with EmbeddedGateway() as gateway, worker_of(gateway, 2) as worker:
        idle = worker.get_debug_state().child_processes
        data = {"started": str(started), "release": str(release)}
        running = asyncio.create_task(gateway.invoke("app-waits", {"data": data}))
        await until(started.exists)
        busy = worker.get_debug_state().child_processes
        release.touch()
        await running
    closed = worker.get_debug_state().child_processes

    assert [(each.status, each.in_flight) for each in idle] == [("SERVING", 0)] * 2
    assert len({os.getpid(), *(each.pid for each in idle)}) == 3
    assert sorted((each.in_flight, each.executions) for each in busy) == [(0, 0), (1, 1)]
    assert closed == ()
