"""``close_sync()`` and ``close()`` from threads, other event loops, signal handlers and exits."""

import asyncio
import contextlib
import contextvars
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator

import inngest
import pytest

from inngest_connect import ConnectionState, LocalMistake
from inngest_connect.connection import WebSocketWorkerConnection
from inngest_connect.testing import EmbeddedGateway, GatewayThread, RunResult
from tests.field.one_function import worker_of

pytestmark = pytest.mark.integration
LIMIT = 30.0


class Slow:
    """A function that is in flight until ``go`` is set."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, ctx: inngest.Context) -> str:
        self.began.set()
        await self.go.wait()
        return "done"


@contextlib.asynccontextmanager
async def in_flight(
    gateway: EmbeddedGateway, slow: Slow
) -> "AsyncIterator[tuple[WebSocketWorkerConnection, asyncio.Task[RunResult]]]":
    async def f(ctx: inngest.Context) -> str:
        return await slow(ctx)

    worker = worker_of(gateway.api_origin, f)
    running = asyncio.create_task(worker.start())
    await worker.wait_for_state(ConnectionState.ACTIVE)
    invoked = asyncio.create_task(gateway.invoke("app-f"))
    await slow.began.wait()
    try:
        yield worker, invoked
    finally:
        slow.go.set()
        await worker.close(wait=True)
        await running


async def test_another_thread_closes_and_waits_until_the_work_is_delivered(
    embedded_gateway: EmbeddedGateway,
) -> None:
    slow = Slow()
    async with in_flight(embedded_gateway, slow) as (worker, invoked):
        closing = asyncio.create_task(asyncio.to_thread(worker.close_sync))
        await worker.wait_for_state(ConnectionState.CLOSING)
        assert not closing.done()

        slow.go.set()

        assert await closing is True
        assert worker.state is ConnectionState.CLOSED
        assert (await invoked).output == "done"


async def test_a_limit_ends_the_wait_and_not_the_work(embedded_gateway: EmbeddedGateway) -> None:
    slow = Slow()
    async with in_flight(embedded_gateway, slow) as (worker, invoked):
        assert await asyncio.to_thread(worker.close_sync, 0.05) is False

        slow.go.set()

        assert (await invoked).output == "done"
        assert await asyncio.to_thread(worker.close_sync, LIMIT) is True


async def test_all_ways_may_be_used_at_the_same_time_and_again(
    embedded_gateway: EmbeddedGateway,
) -> None:
    slow = Slow()
    async with in_flight(embedded_gateway, slow) as (worker, _):
        threads = [asyncio.to_thread(worker.close_sync) for _ in range(4)]
        loops = [asyncio.to_thread(lambda: asyncio.run(worker.close(wait=True))) for _ in range(2)]
        closing = asyncio.gather(*threads, *loops, worker.close(wait=True), worker.closed())
        await worker.wait_for_state(ConnectionState.CLOSING)
        slow.go.set()

        assert await closing == [True] * 4 + [None] * 4
        assert worker.close_sync() is True


async def test_the_thread_that_has_to_run_the_loop_is_not_blocked(
    embedded_gateway: EmbeddedGateway,
) -> None:
    slow = Slow()
    async with in_flight(embedded_gateway, slow) as (worker, _):
        with pytest.raises(LocalMistake, match=r"await close\(wait=True\)"):
            worker.close_sync()
        assert worker.close_sync(0) is False
        assert worker.state is ConnectionState.CLOSING


async def test_a_signal_handler_of_the_program_closes_the_worker(
    embedded_gateway: EmbeddedGateway,
) -> None:
    slow = Slow()
    async with in_flight(embedded_gateway, slow) as (worker, _):
        before = signal.signal(signal.SIGUSR1, lambda *_: bool(worker.close_sync(0)) and None)
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
            await worker.wait_for_state(ConnectionState.CLOSING)
        finally:
            signal.signal(signal.SIGUSR1, before)
        slow.go.set()
        await worker.closed()


def test_a_function_does_not_wait_for_its_own_end(gateway_thread: GatewayThread) -> None:
    def f(ctx: inngest.ContextSync) -> str:
        with pytest.raises(LocalMistake, match="'app-f' calls close_sync"):
            worker.close_sync()
        return "done" if worker.close_sync(0.01) is False else "closed too early"

    worker = worker_of(gateway_thread.api_origin, f)
    thread = threading.Thread(target=worker.run)
    thread.start()

    assert gateway_thread.invoke("app-f").output == "done"
    assert worker.close_sync() is True
    thread.join(LIMIT)


def test_what_a_function_has_left_running_may_wait_for_the_end(
    gateway_thread: GatewayThread,
) -> None:
    """A thread with the context of the function, which has ended by then."""
    closed: list[bool] = []
    ended = threading.Event()

    def close() -> None:
        ended.wait(LIMIT)
        closed.append(worker.close_sync())

    def f(ctx: inngest.ContextSync) -> str:
        in_context = contextvars.copy_context()
        threads.append(threading.Thread(target=in_context.run, args=(close,)))
        threads[-1].start()
        return "done"

    worker = worker_of(gateway_thread.api_origin, f)
    threads = [threading.Thread(target=worker.run)]
    threads[0].start()
    gateway_thread.invoke("app-f")
    while worker.get_debug_state().in_flight:  # until the reply is acknowledged
        time.sleep(0.01)
    ended.set()
    for thread in threads:
        thread.join(LIMIT)

    assert closed == [True]


def test_a_worker_that_was_never_started_is_closed() -> None:
    worker = worker_of("http://127.0.0.1:9")

    assert worker.close_sync() is True
    assert worker.state is ConnectionState.CLOSED


@pytest.fixture
def stopped_loop(gateway_thread: GatewayThread) -> Iterator[WebSocketWorkerConnection]:
    """A worker on a loop that stands still, as a fixture's does while a test runs on another."""
    worker = worker_of(gateway_thread.api_origin, isolation="none")
    with asyncio.Runner() as runner:

        async def begin() -> "asyncio.Task[None]":
            running = asyncio.create_task(worker.start())
            await worker.wait_for_state(ConnectionState.ACTIVE)
            return running

        running = runner.run(begin())
        yield worker

        async def end() -> None:
            await worker.close()
            await running

        runner.run(end())


def test_a_loop_that_stands_still_is_an_error_and_not_a_hang(
    stopped_loop: WebSocketWorkerConnection,
) -> None:
    with pytest.raises(LocalMistake, match="does not run while this code waits"):
        stopped_loop.close_sync()
    with pytest.raises(LocalMistake, match=r"does not run while this code on .*Loop running=True"):
        asyncio.run(stopped_loop.close(wait=True))


PROGRAM = """
    import asyncio, sys, threading
    import inngest
    from inngest_connect import connect
    from inngest_connect.testing import GatewayThread

    client = inngest.Inngest(app_id="app", is_production=False)
    began = threading.Event()
    seconds = 1.0

    @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="x"), retries=0)
    async def f(ctx):
        began.set()
        await asyncio.sleep(seconds)
        print("finished", flush=True)

    gateway = GatewayThread().__enter__()
    worker = connect([(client, [f])], api_origin=gateway.api_origin)

    def invoke():
        gateway.call(lambda g: g.invoke("app-f"))
"""
ENDS = {
    "its loop runs on a thread": (
        """
    threading.Thread(target=worker.run, daemon=True).start()
    invoke()
    began.wait()
    """,
        "the main thread has ended; the worker closes, and 1 request(s) are not finished: ",
    ),
    "its loop stands still": (
        """
    loop = asyncio.new_event_loop()
    async def until_it_runs():
        loop.create_task(worker.start())
        invoke()
        while not began.is_set():
            await asyncio.sleep(0.01)
    loop.run_until_complete(until_it_runs())
    """,
        "the process ends, and its event loop does not run; not finished: ",
    ),
}


def ended_program(body: str) -> "subprocess.CompletedProcess[str]":
    """``PROGRAM`` with ``body`` behind it, run to its end."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM) + textwrap.dedent(body)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


@pytest.mark.parametrize("name", ENDS)
def test_a_program_that_ends_with_work_in_flight_and_no_close_names_it(name: str) -> None:
    body, line = ENDS[name]
    ended = ended_program(body)

    assert line in ended.stderr
    (words,) = [each for each in ended.stderr.splitlines() if line in each]
    request = words.split(line)[1].split()[0].strip("'")
    assert len(request) == 26


def test_a_program_that_ends_waits_for_work_that_its_worker_can_finish() -> None:
    """Longer than for a worker whose event loop does not run."""
    body, _ = ENDS["its loop runs on a thread"]
    ended = ended_program("\n    seconds = 4.0\n" + body)

    assert ended.stdout == "finished\n"
    assert "event loop does not run" not in ended.stderr


def test_a_program_without_an_event_loop_ends_its_worker(gateway_thread: GatewayThread) -> None:
    worker = worker_of(gateway_thread.api_origin)
    thread = threading.Thread(target=worker.run)
    thread.start()
    asyncio.run(worker.wait_for_state(ConnectionState.ACTIVE))

    assert worker.close_sync() is True
    thread.join(LIMIT)
    assert not thread.is_alive()


def test_a_worker_that_is_started_at_the_exit_is_refused_and_can_be_closed() -> None:
    body = """
    import atexit

    def at_exit():
        try:
            worker.run()
        except Exception as error:
            print(type(error).__name__, error)
        print(worker.close_sync(), worker.state.value)

    atexit.register(at_exit)
    """
    ended = ended_program(body)

    refused, closed = ended.stdout.splitlines()
    assert refused.startswith("LocalMistake the main thread has ended")
    assert closed == "True CLOSED"
