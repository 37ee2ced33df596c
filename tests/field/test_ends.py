"""How a worker ends: in every form, with functions that do not, the exit code and the time."""

import asyncio
import hashlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import inngest
import pytest

from inngest_connect import ConnectionState, Timing, connect
from inngest_connect.aio import process_exit
from inngest_connect.aio.shutdown_signals import shutdown_signals
from inngest_connect.core import inputs
from inngest_connect.errors import LocalMistake, WorkerCrashed
from inngest_connect.protocol import FLUSH_PATH
from inngest_connect.testing import EmbeddedGateway
from tests.errors.faulty import faulty
from tests.field.ending_processes import Program
from tests.field.one_function import worker_of

pytestmark = pytest.mark.field


def _app(gateway: EmbeddedGateway) -> tuple[inngest.Inngest, list[inngest.Function[Any]]]:
    client = gateway.client("app")

    @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="e"), retries=0)
    async def function(ctx: inngest.Context) -> int:
        return 1

    return client, [function]


@pytest.mark.parametrize("first", [0, 1])
async def test_the_last_worker_puts_back_what_was_there_and_then_it_gets_the_signal(
    first: int,
) -> None:
    """A web server's handler, say: many end the process, so it has to wait for the work."""
    received = asyncio.Event()
    states: list[ConnectionState] = []

    def before(number: int, frame: object) -> None:
        states.extend(worker.state for worker in workers)
        received.set()

    default = signal.signal(signal.SIGUSR1, before)
    try:
        async with EmbeddedGateway() as gateway:
            workers = [connect([_app(gateway)], shutdown_signals=[signal.SIGUSR1]) for _ in "ab"]
            tasks = [asyncio.create_task(worker.start()) for worker in workers]
            for worker in workers:
                await worker.wait_for_state(ConnectionState.ACTIVE)
            await workers[first].close(wait=True)
            await tasks[first]
            between = signal.getsignal(signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGUSR1)
            await asyncio.wait_for(asyncio.gather(*tasks), 10)
            after = signal.getsignal(signal.SIGUSR1)
            await asyncio.wait_for(received.wait(), 10)
    finally:
        signal.signal(signal.SIGUSR1, default)

    assert between is not before
    assert after is before
    assert states == [ConnectionState.CLOSED] * 2


async def test_one_signal_closes_every_worker_of_the_process() -> None:
    default = signal.getsignal(signal.SIGUSR1)
    async with EmbeddedGateway() as gateway:
        workers = [connect([_app(gateway)], shutdown_signals=[signal.SIGUSR1]) for _ in "ab"]
        tasks = [asyncio.create_task(worker.start()) for worker in workers]
        for worker in workers:
            await worker.wait_for_state(ConnectionState.ACTIVE)
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.wait_for(asyncio.gather(*tasks), 10)
        os.kill(os.getpid(), signal.SIGUSR1)  # on the way to the exit: must not kill the process
        await asyncio.sleep(0.05)
    signal.signal(signal.SIGUSR1, default)

    assert [worker.state for worker in workers] == [ConnectionState.CLOSED] * 2


@pytest.mark.scenario("44")
async def test_a_signal_is_noticed_while_the_main_thread_runs_native_code() -> None:
    async with EmbeddedGateway() as gateway:
        worker = connect([_app(gateway)], shutdown_signals=[signal.SIGUSR1])
        running = asyncio.create_task(worker.start())
        await worker.wait_for_state(ConnectionState.ACTIVE)
        threading.Timer(0.1, os.kill, args=(os.getpid(), signal.SIGUSR1)).start()
        # In C for its whole time, as in a numeric library: no Python handler can run.
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 3_000_000)
        returned = time.monotonic()
        await asyncio.wait_for(running, 10)

    closing = [c.at for c in worker.get_state_history() if c.state is ConnectionState.CLOSING]
    assert closing[0] < returned - 0.3


async def test_async_with_installs_no_handler_and_does_not_wait() -> None:
    before = signal.getsignal(signal.SIGTERM)
    client = inngest.Inngest(app_id="app", api_base_url="http://127.0.0.1:1", is_production=False)

    @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="e"))
    async def function(ctx: inngest.Context) -> int:
        return 1

    async with asyncio.timeout(10), connect([(client, [function])], logger=False) as worker:
        await asyncio.sleep(0)
        during = signal.getsignal(signal.SIGTERM)
        state = worker.state

    assert during is before
    assert state is ConnectionState.CONNECTING
    assert worker.state is ConnectionState.CLOSED


async def test_a_worker_that_fails_cancels_the_body_and_its_error_is_raised() -> None:
    reached = False
    async with EmbeddedGateway() as gateway:
        worker = connect([_app(gateway)], wait=True, logger=False)
        with pytest.raises(WorkerCrashed):  # noqa: PT012 - raised at the end of the block
            async with worker:
                worker._core.handle = None  # type: ignore[method-assign, assignment]
                worker._post(inputs.Tick())
                await asyncio.sleep(60)
                reached = True
        still_cancelled = asyncio.current_task().cancelling()  # type: ignore[union-attr]

    assert not reached
    assert still_cancelled == 0


async def test_a_cancellation_from_outside_stays_one() -> None:
    async with EmbeddedGateway() as gateway:

        async def program() -> None:
            async with connect([_app(gateway)], wait=True):
                entered.set()
                await asyncio.sleep(60)

        entered = asyncio.Event()
        task = asyncio.create_task(program())
        await asyncio.wait_for(entered.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("isolation", ["thread", "none"])
async def test_a_second_cancellation_neither_blocks_nor_leaks(isolation: str) -> None:
    async with EmbeddedGateway() as gateway:
        before = asyncio.all_tasks()
        worker = connect([_app(gateway)], shutdown_signals=[], isolation=isolation)  # type: ignore[arg-type]
        running = asyncio.create_task(worker.start())
        await worker.wait_for_state(ConnectionState.ACTIVE)
        running.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(running), 10)
        names = [t.name for t in threading.enumerate() if t.name == "inngest-connect-io"]
        left = [t for t in asyncio.all_tasks() - before if "Orchestrator" in repr(t.get_coro())]

    assert worker.state is ConnectionState.CLOSED
    assert names == []
    assert left == []


@pytest.mark.parametrize("isolation", ["thread", "none"])
async def test_a_second_cancellation_does_not_wait_for_the_last_deliveries(isolation: str) -> None:
    async with faulty() as it:
        it.gateway.http.simulate_server_error(endpoint=FLUSH_PATH)
        replied = asyncio.Event()
        worker = it.worker(
            isolation=isolation,
            timing=Timing(final_flush_timeout=120.0),
            on={"request_completed": lambda _: replied.set()},
        )
        running = asyncio.create_task(worker.start())
        waiting = asyncio.create_task(it.run_through_an_outage())
        await asyncio.wait_for(replied.wait(), 20)
        running.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(running), 30)
        waiting.cancel()
        await asyncio.wait([waiting])

    assert worker.state is ConnectionState.CLOSED


async def test_a_thread_that_cannot_be_started_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "inngest-connect-io":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    async with EmbeddedGateway() as gateway:
        worker = connect([_app(gateway)], shutdown_signals=[], logger=False)
        with pytest.raises(WorkerCrashed, match="limit of threads"):
            await worker.start()
        await asyncio.wait_for(worker.closed(), 5)

    assert worker.state is ConnectionState.CLOSED


async def test_a_close_before_the_first_turn_is_not_forgotten() -> None:
    async with EmbeddedGateway() as gateway:
        worker = connect([_app(gateway)], shutdown_signals=[])
        running = asyncio.create_task(worker.start())
        await asyncio.sleep(0)
        await worker.close()
        state = worker.state
        await asyncio.wait_for(running, 10)

    # The thread of the connection may have closed it by the time that the state is read.
    assert state in (ConnectionState.CLOSING, ConnectionState.CLOSED)
    assert worker.state is ConnectionState.CLOSED


def test_a_worker_that_was_made_before_a_fork_has_another_id_in_the_child() -> None:
    """Processes that share an id share one limit of concurrency."""
    worker = worker_of("http://127.0.0.1:1")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, worker.configuration[1].instance_id.encode())
        os._exit(0)
    os.close(writing)
    theirs = os.read(reading, 1000).decode()
    os.close(reading)
    os.waitpid(child, 0)

    assert theirs
    assert theirs != worker.configuration[1].instance_id


async def test_a_worker_that_has_ended_is_not_waited_for_at_the_exit() -> None:
    async with EmbeddedGateway() as gateway:
        worker = connect([_app(gateway)], shutdown_signals=[])
        running = asyncio.create_task(worker.start())
        await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), 10)
        while_it_runs = worker in process_exit._to_close
        await worker.close()
        await asyncio.wait_for(running, 10)

    assert while_it_runs
    assert worker not in process_exit._to_close


async def test_the_official_state_and_names_are_accepted() -> None:
    from inngest.connect import ConnectionState as Official

    async with EmbeddedGateway() as gateway, connect([_app(gateway)]) as worker:
        await asyncio.wait_for(worker.wait_for_state("ACTIVE"), 10)
        await asyncio.wait_for(worker.wait_for_state(Official.ACTIVE), 10)
        states = [worker.get_state() == Official.ACTIVE, worker.get_state() == Official.ACTIVE]
        other = worker.get_state() == Official.CLOSED
        serving = worker.get_connection_id()

    assert states == [True, True]
    assert not other
    assert worker.get_connection_id() == serving


def test_a_forked_child_has_an_instance_id_and_handlers_of_its_own() -> None:
    reading, writing = os.pipe()
    client = inngest.Inngest(app_id="app", api_base_url="http://127.0.0.1:1", is_production=False)

    @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="e"))
    async def function(ctx: inngest.Context) -> int:
        return 1

    def instance_id() -> str:
        return connect([(client, [function])]).configuration[1].instance_id

    with shutdown_signals([signal.SIGTERM], lambda: None, lambda _: None):
        child = os.fork()
        if child == 0:
            os.write(writing, instance_id().encode())
            signal.pause()
            os._exit(0)
        theirs = os.read(reading, 200).decode()
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)

    assert theirs
    assert theirs != instance_id()
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("given", "changes"), [(None, True), ("mine", False)], ids=["default", "given"]
)
def test_a_worker_that_a_fork_finds_not_started_has_an_id_of_its_own_unless_one_was_given(
    given: str | None, changes: bool
) -> None:
    """A server that forks its processes creates the worker once, before."""
    client = inngest.Inngest(app_id="app", api_base_url="http://127.0.0.1:1", is_production=False)

    @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="e"))
    async def function(ctx: inngest.Context) -> int:
        return 1

    worker = connect([(client, [function])], instance_id=given)
    before = worker.configuration[1].instance_id
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, worker.configuration[1].instance_id.encode())
        os._exit(0)
    theirs = os.read(reading, 200).decode()
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)

    assert (theirs != before) is changes
    assert worker.configuration[1].instance_id == before


async def test_a_forced_end_that_leaves_nothing_behind_changes_nothing_in_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The program goes on, with the hooks, threads and pools that it has."""
    changed: list[str] = []
    for name in ("release", "end_despite_functions"):
        monkeypatch.setattr(
            f"inngest_connect.connection.{name}", lambda *_, name=name: changed.append(name)
        )
    acknowledged = asyncio.Event()
    async with EmbeddedGateway() as gateway:
        worker = connect([_app(gateway)], shutdown_signals=[], logger=False)
        worker.add_event_listener("reply_acknowledged", lambda _: acknowledged.set())
        running = asyncio.create_task(worker.start())
        await worker.wait_for_state(ConnectionState.ACTIVE)
        await gateway.invoke("app-f")
        await asyncio.wait_for(acknowledged.wait(), 20)
        running.cancel()
        await asyncio.wait({running}, timeout=20)

    assert running.cancelled()
    assert changed == []


async def test_a_forked_child_leaves_the_parents_connection_alone() -> None:
    async with EmbeddedGateway() as gateway, connect([_app(gateway)], wait=True) as worker:
        child = os.fork()
        if child == 0:
            asyncio._set_running_loop(None)
            try:
                asyncio.run(worker.close())
            except LocalMistake as error:
                os._exit(7 if "forked" in str(error) else 8)
            finally:
                os._exit(9)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        result = await asyncio.wait_for(gateway.invoke("app-f"), 10)
        state = worker.state

    assert os.waitstatus_to_exitcode(status) == 7
    assert result.status == "completed"
    assert state is ConnectionState.ACTIVE


AT_EXIT = """
import threading
import inngest
from inngest_connect import connect

client = inngest.Inngest(app_id="app", is_production=False)

@client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="e"))
def f(ctx):
    return 1

threading.Thread(target=connect([(client, [f])]).run).start()
"""


@pytest.mark.scenario("Z")
async def test_a_worker_on_a_thread_closes_when_the_main_thread_ends() -> None:
    environment = {**os.environ, "INNGEST_DEV": "http://127.0.0.1:1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", AT_EXIT, env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, errors = await asyncio.wait_for(process.communicate(), 15)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert b"interpreter shutdown" not in errors


BLOCKED = """
import asyncio, os, sys
import inngest
from inngest_connect import connect

origin = os.environ["ORIGIN"]
client = inngest.Inngest(app_id="a", api_base_url=origin, is_production=False)

@client.create_function(fn_id="noisy", trigger=inngest.TriggerEvent(event="n"), retries=0)
def noisy(ctx: inngest.ContextSync) -> str:
    open(os.environ["STARTED"], "w").close()
    while True:
        print("x" * 1024, file=sys.stderr, flush=True)

apps = [(client, [noisy])]
if __name__ == "__main__":
    asyncio.run(connect(apps, shutdown_timeout=0.5, logger=False).start())
"""


@pytest.mark.parametrize("form", ["program", "command line"])
async def test_a_process_ends_with_its_code_while_a_function_blocks_on_an_unread_stderr(
    form: str, tmp_path: Path
) -> None:
    """The last words of the main thread go to the same stream, whose lock the function holds."""
    (tmp_path / "blocked_program.py").write_text(BLOCKED)
    command = [sys.executable, "blocked_program.py"]
    if form == "command line":
        program = str(Path(sys.executable).with_name("inngest-connect"))
        command = [program, "run", "blocked_program:apps", "--shutdown-timeout", "0.5"]
    started = tmp_path / "started"
    read, write = os.pipe()
    try:
        async with EmbeddedGateway() as gateway:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=tmp_path,
                stderr=write,
                env={**os.environ, "ORIGIN": gateway.api_origin, "STARTED": str(started)},
            )
            try:
                await gateway.wait_for_worker()
                running = asyncio.create_task(gateway.invoke("a-noisy"))
                while not started.exists():  # noqa: ASYNC110 - another process makes the file
                    await asyncio.sleep(0.05)
                process.send_signal(signal.SIGTERM)
                code = await asyncio.wait_for(process.wait(), 30)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    finally:
        os.close(read)
        os.close(write)

    assert code == 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
async def test_a_process_that_was_started_with_closed_streams_ends_with_its_code(
    closed: str, tmp_path: Path
) -> None:
    """The first sockets then have the numbers of the streams."""
    async with EmbeddedGateway() as gateway:
        program = Program(gateway, tmp_path, "start", "closed", ["thread"])
        await program.start(closed, INNGEST_CONNECT_SHUTDOWN_TIMEOUT="0.3")
        program.signal(signal.SIGTERM)
        code = await program.code()
        await program.forget()

    assert code == 1
    assert "AttributeError" not in program.output()
    assert ("ends with exit code 1" in program.output()) == ("2>&-" not in closed)
