"""A journal and the end of its process: real processes, real SIGKILL, real disks that are full."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import inngest_connect
from inngest_connect.journal.file import open_to_read
from inngest_connect.journal.rows import read
from inngest_connect.testing import GatewayThread, RunResult

pytestmark = pytest.mark.field
SOURCE = str(Path(inngest_connect.__file__).parents[1])
LIMIT = 60.0
LEASE = 120.0
"""The default of the gateway: nothing here may wait for it."""

PROGRAM = '''
import asyncio, multiprocessing, os, sys, time, inngest
from inngest_connect import connect, process_executor

def say(*words):
    os.write(1, " ".join(map(str, words)).encode() + b"\\n")

client = inngest.Inngest(app_id="app", api_base_url=os.environ["ORIGIN"], is_production=False)

def function(handler):
    trigger = inngest.TriggerEvent(event="x")
    return client.create_function(fn_id=handler.__name__, trigger=trigger, retries=2)(handler)

@function
async def slow(ctx: inngest.Context) -> str:
    say("started", ctx.attempt, os.getpid())
    await asyncio.sleep(3600 if ctx.attempt == 0 else 0)
    return "retried"

@function
async def echo(ctx: inngest.Context) -> str:
    return str(ctx.event.data["text"])

@function
async def forks(ctx: inngest.Context) -> str:
    """Leaves a child that lives longer than this process."""
    if ctx.attempt:
        return "retried"
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
    child.start()
    say("started", child.pid)
    await asyncio.sleep(3600)

@function
async def os_forks(ctx: inngest.Context) -> str:
    if ctx.attempt:
        return "retried"
    pid = os.fork()
    if not pid:
        time.sleep(3600)
        os._exit(0)
    say("started", pid)
    await asyncio.sleep(3600)

apps = [(client, [slow, echo, forks, os_forks])]

def failed(event):
    if event.kind.startswith("journal"):
        say(event.kind, event.message)

if __name__ == "__main__":
    options = {"journal": sys.argv[1], "on": {"error": failed}}
    if "children" in sys.argv:
        options["executor"] = process_executor("journal_program:apps", 1)
    connect(apps, **options).run()
    say("closed")
'''


class Worker:
    """A process with a journal at ``path``."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def line(self, beginning: str) -> list[str]:
        """The words of the next line that begins so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(beginning):
                return line.split()
        raise AssertionError(f"it has ended without {beginning!r}: {self.errors()}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def end(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Start a worker, by the program, or by the command line."""
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "journal_program.py").write_text(PROGRAM)
    tmp_path.chmod(0o755)
    processes: list[subprocess.Popen[str]] = []

    def begin(thread: GatewayThread, path: Path, *arguments: str, **options: Any) -> Worker:
        environment = {
            **os.environ,
            "ORIGIN": thread.api_origin,
            "PYTHONPATH": f"{SOURCE}{os.pathsep}{folder}",
            "INNGEST_DEV": thread.api_origin,
        }
        process = subprocess.Popen(
            [sys.executable, str(folder / "journal_program.py"), str(path), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        processes.append(process)
        return Worker(process)

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def invoke(thread: GatewayThread, function: str, text: str = "") -> "Future[RunResult]":
    event = {"data": {"text": text}}
    return thread.call(lambda gateway: gateway.invoke(f"app-{function}", event))


def stored(path: Path) -> dict[str, bytes | None]:
    with contextlib.closing(open_to_read(path)) as database:
        return {key: row.reply for key, row in read(database).rows.items()}


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def until_one_is_stored(path: Path) -> None:
    until(lambda: path.exists() and list(stored(path).values()) == [None])


# --- killed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["in the process", "in a child"])
def test_what_ran_in_a_killed_worker_is_retried_at_once(
    tmp_path: Path, start: Callable[..., Worker], where: str
) -> None:
    path = tmp_path / "journal"
    arguments = ["children"] if where == "in a child" else []
    with GatewayThread(lease=LEASE, retry_delay=1.0) as thread:
        first = start(thread, path, *arguments)
        run = invoke(thread, "slow")
        first.line("started 0")
        until_one_is_stored(path)
        first.kill()
        begun = time.monotonic()
        second = start(thread, path, *arguments)
        second.line("started 1")
        took = time.monotonic() - begun
        result = run.result(LIMIT)
        code = second.end()

    assert (result.output, result.attempts, result.lost) == ("retried", 2, 0)
    assert took < 30.0
    assert code == 0
    assert stored(path) == {}


@pytest.mark.parametrize("function", ["forks", "os_forks"])
def test_a_forked_child_that_lives_longer_does_not_keep_the_journal(
    tmp_path: Path, start: Callable[..., Worker], function: str
) -> None:
    path = tmp_path / "journal"
    with GatewayThread(lease=LEASE, retry_delay=1.0) as thread:
        first = start(thread, path)
        run = invoke(thread, function)
        child = int(first.line("started")[1])
        try:
            until_one_is_stored(path)
            first.kill()
            os.kill(child, 0)  # it lives
            second = start(thread, path)
            result = run.result(LIMIT)
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)
        code = second.end()

    assert result.output == "retried"
    assert code == 0


def test_replies_that_were_not_stored_are_delivered_by_the_next_process(
    tmp_path: Path, start: Callable[..., Worker]
) -> None:
    """The gateway is stopped before the function returns, and the API does not answer."""
    path = tmp_path / "journal"
    with GatewayThread(lease=LEASE, handling_delay=3.0) as thread:
        first = start(thread, path)
        thread.call(lambda gateway: gateway.wait_for_worker()).result(LIMIT)
        run = invoke(thread, "echo", "the result")
        until(lambda: path.exists() and any(stored(path).values()))
        first.kill()
        left = stored(path)
        second = start(thread, path)
        result = run.result(LIMIT)
        code = second.end()

    assert [b"the result" in (reply or b"") for reply in left.values()] == [True]
    assert (result.output, result.attempts) == ("the result", 1), "it was not executed again"
    assert code == 0


def test_after_a_shutdown_that_was_cut_short_the_next_process_answers(
    tmp_path: Path, start: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    monkeypatch.setenv("INNGEST_CONNECT_SHUTDOWN_TIMEOUT", "0.3")
    with GatewayThread(lease=LEASE, retry_delay=1.0) as thread:
        first = start(thread, path)
        run = invoke(thread, "slow")
        first.line("started 0")
        code = first.end()
        left = stored(path)
        second = start(thread, path)
        result = run.result(LIMIT)
        second.end()

    assert code == 1, "WorkAbandoned"
    assert list(left.values()) == [None]
    assert (result.output, result.attempts) == ("retried", 2)
    assert stored(path) == {}


def test_sigkill_in_the_middle_of_a_shutdown_loses_nothing(
    tmp_path: Path, start: Callable[..., Worker]
) -> None:
    path = tmp_path / "journal"
    with GatewayThread(lease=LEASE, retry_delay=1.0) as thread:
        first = start(thread, path)
        run = invoke(thread, "slow")
        first.line("started 0")
        first.process.send_signal(signal.SIGTERM)
        closing = thread.call(
            lambda g: g.store.until(lambda m: any(c.paused for c in m.connections.values()))
        )
        closing.result(LIMIT)
        first.kill()
        start(thread, path)
        result = run.result(LIMIT)

    assert (result.output, result.attempts) == ("retried", 2)


# --- one path, two processes ---------------------------------------------------------------------


def test_a_second_process_ends_with_the_name_of_the_first(
    tmp_path: Path, start: Callable[..., Worker]
) -> None:
    path = tmp_path / "journal"
    with GatewayThread() as thread:
        first = start(thread, path)
        thread.call(lambda gateway: gateway.wait_for_worker()).result(LIMIT)
        second = start(thread, path)
        code = second.process.wait(LIMIT)
        errors = second.errors()
        result = invoke(thread, "echo", "served").result(LIMIT)
        end = first.end()

    assert code == 1
    assert f"another worker has it: pid {first.process.pid} on " in errors
    assert "pass another path, or end the other process" in errors
    assert (result.output, end) == ("served", 0)


def test_the_command_reads_a_journal_that_is_used(
    tmp_path: Path, start: Callable[..., Worker]
) -> None:
    path = tmp_path / "journal"
    command = [sys.executable, "-m", "inngest_connect.cli", "journal", str(path), "--json"]
    with GatewayThread() as thread:
        worker = start(thread, path)
        invoke(thread, "slow", "a secret payload")
        worker.line("started 0")
        until_one_is_stored(path)
        shown = subprocess.run(command, capture_output=True, text=True, check=True)
        (request_id,) = thread.gateway.ledger.records
        result = invoke(thread, "echo", "goes on").result(LIMIT)

    (line,) = map(json.loads, shown.stdout.splitlines())
    assert (line["request_id"], line["function"], line["left"]) == (
        request_id,
        "app-slow",
        "request",
    )
    assert "secret" not in shown.stdout
    assert result.output == "goes on"


# --- disks ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A mount, where this user may make one."""
    folder.mkdir(exist_ok=True)
    command = ["mount", *options, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_full_costs_no_result(tmp_path: Path, start: Callable[..., Worker]) -> None:
    folder = tmp_path / "small"
    path, filler = folder / "journal", folder / "filler"
    with (
        mounted(folder, "-t", "tmpfs", "-o", "size=1m", "none"),
        GatewayThread(lease=LEASE, retry_delay=1.0) as thread,
    ):
        worker = start(thread, path)
        slow = invoke(thread, "slow")
        worker.line("started 0")
        until_one_is_stored(path)
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        runs = [invoke(thread, "echo", "x" * 50_000) for _ in range(40)]
        results = [run.result(LIMIT) for run in runs]
        reported = " ".join(worker.line("journal_unavailable"))
        filler.unlink()
        until_one_is_stored(path)
        worker.kill()
        second = start(thread, path)
        retried = slow.result(LIMIT)
        code = second.end()

    assert {result.status for result in results} == {"completed"}
    assert "No space left on device" in reported or "is full" in reported
    assert (retried.output, code) == ("retried", 0)


def test_a_worker_that_starts_on_a_full_disk_works_without(
    tmp_path: Path, start: Callable[..., Worker]
) -> None:
    folder = tmp_path / "small"
    with mounted(folder, "-t", "tmpfs", "-o", "size=64k", "none"), GatewayThread() as thread:
        with contextlib.suppress(OSError), (folder / "filler").open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        worker = start(thread, folder / "journal")
        reported = " ".join(worker.line("journal_unavailable"))
        result = invoke(thread, "echo", "served").result(LIMIT)
        (folder / "filler").unlink()
        until(lambda: (folder / "journal").stat().st_size > 0)
        code = worker.end()

    assert "No space left on device" in reported or "is full" in reported
    assert (result.output, code) == ("served", 0)


def test_a_disk_that_becomes_read_only_costs_no_result(
    tmp_path: Path, start: Callable[..., Worker]
) -> None:
    folder = tmp_path / "disk"
    with mounted(folder, "-t", "tmpfs", "none"), GatewayThread() as thread:
        worker = start(thread, folder / "journal")
        thread.call(lambda gateway: gateway.wait_for_worker()).result(LIMIT)
        # Over it, because one with open files cannot be made read-only.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)], check=True)
        result = invoke(thread, "echo", "served").result(LIMIT)
        reported = " ".join(worker.line("journal_unavailable"))
        subprocess.run(["umount", str(folder)], check=True)
        again = invoke(thread, "echo", "again").result(LIMIT)
        code = worker.end()

    assert "Read-only" in reported
    assert (result.output, again.output, code) == ("served", "again", 0)


def test_a_start_on_a_read_only_disk_is_a_wrong_path(
    tmp_path: Path, start: Callable[..., Worker]
) -> None:
    folder = tmp_path / "disk"
    with mounted(folder, "-t", "tmpfs", "-o", "ro", "none"), GatewayThread() as thread:
        worker = start(thread, folder / "journal")
        code = worker.process.wait(LIMIT)
        errors = worker.errors()

    assert code == 1
    assert "cannot be created beside it (Read-only file system)" in errors
    assert "pass a path in a directory that is writable" in errors
