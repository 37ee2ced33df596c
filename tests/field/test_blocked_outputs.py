"""Whatever receives logs, events and metrics may block, raise or call back: the worker goes on."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeter, NoOpMeterProvider

from inngest_connect import ConnectionState, StateChanged
from inngest_connect.observability.outlet import MOST_ITEMS, RESERVED, Outlet
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import EmbeddedGateway
from tests.errors.faulty import faulty
from tests.field.test_proxies import unused_port

pytestmark = pytest.mark.field
LIMIT = 15.0
BEAT = pb.GatewayMessageType.WORKER_HEARTBEAT


class Trouble:
    """``strike`` is called by what receives something; ``release`` ends a block."""

    def __init__(self, strike: Callable[["Trouble"], object]) -> None:
        self.struck = threading.Event()
        self.released = threading.Event()
        self._strike = strike
        self.worker: Any = None

    def strike(self) -> None:
        self.struck.set()
        self._strike(self)


def block(trouble: Trouble) -> None:
    trouble.released.wait(60)


def leave(trouble: Trouble) -> None:
    raise SystemExit(3)


def interrupt(trouble: Trouble) -> None:
    raise KeyboardInterrupt


class CannotBeShown(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __str__ = __repr__


def fail_without_a_text(trouble: Trouble) -> None:
    raise CannotBeShown


def call_back(trouble: Trouble) -> None:
    assert trouble.worker.state
    trouble.worker.get_debug_state()
    trouble.worker.add_observer(lambda _: None)()
    logging.getLogger("inngest_connect").debug("from within")


STRIKES = [block, leave, interrupt, fail_without_a_text, call_back]


class Handler(logging.Handler):
    def __init__(self, trouble: Trouble) -> None:
        super().__init__()
        self.trouble = trouble

    def emit(self, record: logging.LogRecord) -> None:
        self.trouble.strike()


class Structured:
    """Like a structlog logger."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble

    def _write(self, event: str, **fields: Any) -> None:
        self._trouble.strike()

    debug = info = warning = error = _write


class Provider(NoOpMeterProvider):
    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble

    def get_meter(self, name: str, *rest: Any, **more: Any) -> Any:
        trouble = self._trouble

        class Histogram:
            def record(self, *_: Any, **__: Any) -> None:
                trouble.strike()

        class Meter(NoOpMeter):
            def create_histogram(self, *_: Any, **__: Any) -> Any:
                return Histogram()

        return Meter(name)


@contextlib.contextmanager
def receiver(kind: str, trouble: Trouble) -> Iterator[dict[str, Any]]:
    """Options of ``connect()`` with which ``trouble`` receives something early and often."""
    logger = logging.Logger("of this test", logging.DEBUG)
    if kind == "handler":
        logger.addHandler(Handler(trouble))
        yield {"logger": logger}
    elif kind == "filter":

        def strikes(_: logging.LogRecord) -> bool:
            trouble.strike()
            return True

        logger.addFilter(strikes)
        yield {"logger": logger}
    elif kind == "structured logger":
        yield {"logger": Structured(trouble)}
    elif kind == "metrics":
        yield {"meter_provider": Provider(trouble), "logger": False}
    elif kind == "log of httpx":
        httpx, handler = logging.getLogger("httpx"), Handler(trouble)
        before = httpx.level
        httpx.setLevel(logging.DEBUG)
        httpx.addHandler(handler)
        try:
            yield {"logger": False}
        finally:
            httpx.removeHandler(handler)
            httpx.setLevel(before)
    else:
        assert kind == "observer"
        yield {"logger": False}


async def goes_on(kind: str, strike: Callable[[Trouble], object], isolation: str) -> None:
    """Heartbeats, a lost connection, a drain, a run and the close, while ``strike`` strikes."""
    trouble = Trouble(strike)
    with receiver(kind, trouble) as options:
        async with faulty(heartbeat_interval="100ms") as it:
            worker = trouble.worker = it.worker(isolation=isolation, **options)
            if kind == "observer":
                worker.add_observer(lambda _: trouble.strike())
            running = asyncio.create_task(worker.start())
            await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), LIMIT)
            assert await asyncio.to_thread(trouble.struck.wait, LIMIT)
            server = it.gateway.gateways[0]
            beats = len(server.get_received_messages(BEAT))
            await server.wait_for_message(BEAT, count=beats + 3, timeout=LIMIT)
            it.socket.reset()
            await server.wait_for_connection(2, LIMIT)
            await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), LIMIT)
            await it.gateway.drain()
            result = await asyncio.wait_for(it.gateway.invoke("app-echo"), LIMIT)
            await asyncio.wait_for(worker.close(wait=True), LIMIT)
            async with asyncio.timeout(2 + 3):  # the drain of the queue is bounded, not endless
                await running
    trouble.released.set()

    assert result.status == "completed"


@pytest.mark.parametrize("isolation", ["thread", "none"])
@pytest.mark.parametrize(
    "kind", ["handler", "filter", "structured logger", "metrics", "log of httpx", "observer"]
)
async def test_the_worker_goes_on_and_closes_while_a_receiver_blocks(
    kind: str, isolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind != "handler":  # one of them waits as long as a user does
        monkeypatch.setattr("inngest_connect.observability.announcer.DRAIN_SECONDS", 0.1)
    await goes_on(kind, block, isolation)


@pytest.mark.parametrize("strike", [one for one in STRIKES if one is not block])
@pytest.mark.parametrize("kind", ["handler", "observer", "structured logger", "metrics"])
async def test_the_worker_goes_on_whatever_a_receiver_raises_or_calls(
    kind: str, strike: Callable[[Trouble], object]
) -> None:
    await goes_on(kind, strike, "thread")


async def test_a_handler_may_close_the_worker_and_wait_for_it() -> None:
    closed = threading.Event()

    def close(trouble: Trouble) -> None:
        asyncio.run(trouble.worker.close(wait=True))
        closed.set()

    trouble = Trouble(close)
    with receiver("handler", trouble) as options:
        async with faulty() as it:
            worker = trouble.worker = it.worker(**options)
            await asyncio.wait_for(worker.start(), LIMIT)

    assert await asyncio.to_thread(closed.wait, LIMIT)


async def test_the_lock_of_a_handler_may_be_held_by_another_thread() -> None:
    handler = Handler(Trouble(lambda _: None))
    assert handler.lock is not None
    logger = logging.Logger("of this test", logging.DEBUG)
    logger.addHandler(handler)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with handler.lock:  # type: ignore[union-attr]
            held.set()
            release.wait(60)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert held.wait(LIMIT)
    async with faulty() as it:
        worker = it.worker(logger=logger)
        running = asyncio.create_task(worker.start())
        await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), LIMIT)
        await asyncio.wait_for(worker.close(wait=True), LIMIT)
        await asyncio.wait_for(running, LIMIT)
    release.set()


async def test_what_is_dropped_is_counted_and_reported_once_it_flows_again() -> None:
    release, reported = threading.Event(), threading.Event()
    lines: list[str] = []

    class Blocking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            release.wait(60)
            lines.append(record.getMessage())
            if "records_dropped" in lines[-1]:
                reported.set()

    logger = logging.Logger("of this test", logging.INFO)
    logger.addHandler(Blocking())
    async with faulty() as it:
        worker = it.worker(logger=logger)
        running = asyncio.create_task(worker.start())
        await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), LIMIT)
        change = StateChanged(ConnectionState.ACTIVE, ConnectionState.ACTIVE)
        for _ in range(MOST_ITEMS + 500):
            worker._announcer.publish(change)
        release.set()
        assert await asyncio.to_thread(reported.wait, LIMIT)
        await worker.close()
        await running
        dropped = worker.get_debug_state().counters["records_dropped"]

    (line,) = [line for line in lines if "records_dropped" in line]
    reported_number = int(line.partition(" records were dropped")[0].split("'")[-1])
    assert 500 <= reported_number <= dropped
    assert dropped >= 500


def test_frequent_items_leave_room_for_the_others() -> None:
    started, release = threading.Event(), threading.Event()
    received: list[str] = []

    def receive(item: str) -> None:
        started.set()
        release.wait(60)
        received.append(item)

    outlet = Outlet(receive, lambda item: item == "frequent")
    outlet.put("first")
    assert started.wait(LIMIT)
    for _ in range(MOST_ITEMS):
        outlet.put("frequent")
    for _ in range(RESERVED):
        outlet.put("rare")
    release.set()
    outlet.close(lambda: None).result(LIMIT)

    assert outlet.dropped == RESERVED
    assert received.count("rare") == RESERVED


def test_what_is_put_after_the_close_is_received_in_order_and_the_thread_ends() -> None:
    received: list[int] = []
    outlet: Outlet[int] = Outlet(received.append)
    outlet.put(1)
    outlet.close(lambda: received.append(-1)).result(LIMIT)
    for number in range(2, 100):
        outlet.put(number)
    outlet.close(lambda: None).result(LIMIT)
    thread = outlet._thread
    if thread is not None:
        thread.join(LIMIT)

    assert outlet._thread is None
    assert received == [1, -1, *range(2, 100)]


def test_an_item_that_raises_does_not_keep_the_next_from_being_received() -> None:
    received: list[int] = []

    def receive(item: int) -> None:
        if item < 3:
            raise (SystemExit(3), KeyboardInterrupt(), RuntimeError("no"))[item]
        received.append(item)

    outlet = Outlet(receive)
    for item in range(4):
        outlet.put(item)
    outlet.close(lambda: None).result(LIMIT)

    assert received == [3]


def test_what_was_dropped_is_not_reported_while_half_of_the_queue_is_taken() -> None:
    release = threading.Event()

    def receive(_: int) -> None:
        release.wait(60)

    outlet = Outlet(receive)
    reported = {}
    for item in range(MOST_ITEMS // 2 + 2):
        outlet.drop()
        reported[item] = outlet.newly_dropped()
        outlet.put(item)
    while_full = outlet.newly_dropped()
    release.set()
    outlet.close(lambda: None).result(LIMIT)

    assert reported[MOST_ITEMS // 2 - 2] == 1
    assert while_full == 0
    assert outlet.newly_dropped() > 0
    assert outlet.newly_dropped() == 0
    assert outlet.dropped == MOST_ITEMS // 2 + 2


def test_it_works_on_when_a_thread_cannot_be_created(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[int] = []
    outlet: Outlet[int] = Outlet(received.append)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        outlet.put(1)
    outlet.put(2)
    outlet.close(lambda: None).result(LIMIT)

    assert received == [1, 2]


UNREAD = """
import os, sys, threading, time
from inngest_connect.observability.blocked_exit import release

os.set_blocking(2, False)
try:
    while True:
        os.write(2, b"x")
except BlockingIOError:
    os.set_blocking(2, True)
begun = threading.Event()

def write():
    begun.set()
    sys.stderr.write("blocked")
    sys.stderr.flush()

thread = threading.Thread(target=write, daemon=True)
thread.start()
begun.wait()
time.sleep(0.2)  # it is in its write by now; where not, less is tested
before = thread.is_alive()
release([thread])
print(before, thread.is_alive())
"""


async def test_a_write_to_a_stream_that_nobody_reads_ends_at_the_exit() -> None:
    read, write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", UNREAD, stdout=asyncio.subprocess.PIPE, stderr=write
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), LIMIT)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(read)
        os.close(write)

    assert said == b"True False\n"
    assert process.returncode == 0


PROGRAM = """
import asyncio, logging, os, signal, sys, threading
import inngest
from inngest_connect import connect

origin = os.environ["ORIGIN"]
client = inngest.Inngest(
    app_id="a", api_base_url=origin, event_api_base_url=origin, is_production=False
)

@client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="f"))
async def f(ctx: inngest.Context) -> str:
    return "done"

class Stuck(logging.Handler):
    def emit(self, record):
        threading.Event().wait()

if sys.argv[1] == "handler":
    logging.getLogger("inngest_connect").setLevel("DEBUG")
    logging.getLogger("inngest_connect").addHandler(Stuck())
elif sys.argv[1] == "stream":
    logging.basicConfig(level="DEBUG", stream=open(os.dup(2), "w"))
else:
    logging.basicConfig(level="DEBUG")
asyncio.run(connect([(client, [f])]).start())
sys.exit(7)
"""


@pytest.mark.parametrize("kind", ["pipe", "handler", "stream"])
async def test_a_process_whose_log_is_blocked_ends_with_its_own_exit_code(
    kind: str, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    read, write = os.pipe()
    async with EmbeddedGateway(heartbeat_interval="300ms") as gateway:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(tmp_path / "program.py"),
            kind,
            stderr=write,
            env={**os.environ, "ORIGIN": gateway.api_origin},
        )
        try:
            await asyncio.wait_for(gateway.wait_for_worker(), LIMIT)
            server = gateway.gateways[0]
            await server.wait_for_message(BEAT, count=1, timeout=LIMIT)
            # The records of the next heartbeats find a full pipe.
            os.set_blocking(write, False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(write, b"x")
            os.set_blocking(write, True)
            beats = len(server.get_received_messages(BEAT))
            await server.wait_for_message(BEAT, count=beats + 2, timeout=LIMIT)
            process.send_signal(signal.SIGTERM)
            code = await asyncio.wait_for(process.wait(), LIMIT)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            os.close(read)
            os.close(write)

    assert code == 7


APPS = """
import os
import inngest

client = inngest.Inngest(app_id="app", api_base_url=os.environ["ORIGIN"], is_production=False)

@client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="f"))
async def f(ctx: inngest.Context) -> str:
    return "done"

apps = [(client, [f])]
"""


@contextlib.contextmanager
def pipe_without_room() -> Iterator[int]:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x")
    os.set_blocking(write, True)
    try:
        yield write
    finally:
        os.close(read)
        os.close(write)


async def answer_of(address: str, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address.rsplit(":", 1))
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), LIMIT)
    finally:
        writer.close()


@pytest.mark.parametrize("form", ["console", "json"])
async def test_the_command_starts_serves_and_ends_although_nobody_reads_its_output(
    form: str, tmp_path: Path
) -> None:
    (tmp_path / "apps.py").write_text(APPS)
    address = f"127.0.0.1:{unused_port()}"
    health = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    options = ["--http", address, "--log-format", form, "--log-level", "debug"]
    async with EmbeddedGateway() as gateway:
        with pipe_without_room() as full:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "inngest_connect.cli", "run", "apps:apps", *options,
                cwd=tmp_path,
                stdout=full,
                stderr=full,
                env={**os.environ, "ORIGIN": gateway.api_origin},
            )  # fmt: skip
            try:
                await asyncio.wait_for(gateway.wait_for_worker(), LIMIT)
                await answer_of(address, b"\x16\x03\x01 not HTTP\r\n\r\n")  # which is logged
                healthy = await answer_of(address, health)
                result = await asyncio.wait_for(gateway.invoke("app-f"), LIMIT)
                process.send_signal(signal.SIGTERM)
                code = await asyncio.wait_for(process.wait(), LIMIT)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    assert healthy.startswith(b"HTTP/1.1 200")
    assert (result.output, code) == ("done", 0)
