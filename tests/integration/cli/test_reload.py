"""``inngest-connect run --reload``: a changed file, a broken one, and never two workers."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from inngest_connect.cli.reload import _Supervisor
from inngest_connect.testing import EmbeddedGateway, GatewayThread
from tests.integration.cli.run_process import (
    MODULE,
    read_until,
    run_process,
    run_to_its_end,
    write_module,
)

pytestmark = pytest.mark.integration


async def workers(gateway: EmbeddedGateway) -> int:
    return len(gateway.store.ready_connections())


def invoke(thread: GatewayThread) -> object:
    return thread.call(lambda gateway: gateway.invoke("app-fn")).result(30).output


def test_new_code_answers_after_a_change_and_no_work_is_lost(tmp_path: Path) -> None:
    write_module(tmp_path)
    with (
        GatewayThread() as thread,
        run_process(tmp_path, thread.api_origin, "worker", "--reload") as process,
    ):
        read_until(process, "] connected")
        running = thread.call(lambda gateway: gateway.invoke("app-held"))
        read_until(process, "held")

        write_module(tmp_path, MODULE.replace("first answer", "other answer"))
        told = read_until(process, "CLOSING")
        assert any("worker.py changed" in line for line in told)
        # As long as a new worker would need to start, if it were not waited for the old one.
        run_to_its_end(tmp_path, "worker:nothing", API=thread.api_origin)
        (tmp_path / "release").touch()
        output = running.result(30).output
        between = read_until(process, "] connected")
        answer = invoke(thread)
        count = thread.call(workers).result(10)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)

    closed = next(i for i, line in enumerate(between) if "CLOSED" in line)
    started = next(i for i, line in enumerate(between) if "] starting" in line)
    assert closed < started
    assert (output, answer, count) == ("finished", "other answer", 1)
    assert process.returncode == 0


def test_a_broken_edit_is_told_and_the_next_one_is_run(tmp_path: Path) -> None:
    write_module(tmp_path)
    with (
        GatewayThread() as thread,
        run_process(tmp_path, thread.api_origin, "worker:apps", "--reload") as process,
    ):
        read_until(process, "] connected")
        write_module(tmp_path, "apps = [\n")
        told = read_until(process, "waiting for a change")
        write_module(tmp_path, MODULE.replace("first answer", "mended"))
        read_until(process, "] connected")
        answer = invoke(thread)

    assert any("SyntaxError" in line for line in told)
    assert "exit code 2" in told[-1]
    assert answer == "mended"


async def test_a_change_while_a_child_is_being_started_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have imported the old file already."""
    start = asyncio.create_subprocess_exec
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    supervisor = _Supervisor(command, tmp_path, os.environ)

    async def start_slowly(*command: str, **options: Any) -> asyncio.subprocess.Process:
        child = await start(*command, **options)
        supervisor._changed([str(tmp_path / "worker.py")])
        return child

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start_slowly)

    code = await asyncio.wait_for(supervisor._run_child(), 30)

    assert code == -signal.SIGTERM


def test_the_worker_ends_with_its_supervisor(tmp_path: Path) -> None:
    write_module(tmp_path)
    with (
        GatewayThread() as thread,
        run_process(tmp_path, thread.api_origin, "worker:apps", "--reload") as process,
    ):
        read_until(process, "] connected")
        process.send_signal(signal.SIGKILL)
        told = read_until(process, "CLOSED")

    assert any("CLOSING" in line for line in told)
    assert process.returncode == -signal.SIGKILL


def test_a_second_ctrl_c_does_not_wait_for_the_work(tmp_path: Path) -> None:
    write_module(tmp_path)
    with (
        GatewayThread(drain_window=1.0) as thread,
        run_process(tmp_path, thread.api_origin, "worker:apps", "--reload") as process,
    ):
        read_until(process, "] connected")
        thread.call(lambda gateway: gateway.invoke("app-held"))
        read_until(process, "held")
        os.kill(process.pid, signal.SIGINT)
        read_until(process, "CLOSING")
        os.kill(process.pid, signal.SIGINT)
        told, _ = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "stopped before 1 request(s)" in told
