"""Finding the gateway's address: names that do not resolve, and addresses that do not answer."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from inngest_connect import ConnectionState, Timing
from inngest_connect.core import inputs
from inngest_connect.testing import MockHTTPServer, MockWebSocketServer
from inngest_connect.transport.api_client import ApiClient
from inngest_connect.transport.gateway_endpoint import check_gateway_endpoint
from inngest_connect.transport.resolver import getaddrinfo
from inngest_connect.transport.websocket_manager import WebSocketManager
from tests.field.one_function import worker_of

pytestmark = pytest.mark.field
REAL = socket.getaddrinfo


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def fake(host: Any, port: Any, *args: Any, **named: Any) -> Any:
        if host != "gateway.test":
            return REAL(host, port, *args, **named)
        return [
            answer
            for address in addresses
            for answer in REAL(address, port, type=socket.SOCK_STREAM)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", fake)


@contextlib.contextmanager
def black_hole(port: int) -> Iterator[str]:
    """An address that answers no SYN, because its backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.2", port))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.2", port))
        yield "127.0.0.2"


@pytest.mark.scenario("R")
@pytest.mark.parametrize("other", ["black hole", "127.0.0.3", "::1"])
async def test_an_address_that_does_not_answer_does_not_delay_the_next(
    other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: asyncio.Queue[inputs.Input] = asyncio.Queue()
    async with MockWebSocketServer(greet=False) as gateway:
        port = int(gateway.url.rpartition(":")[2].partition("/")[0])
        manager = WebSocketManager(1, 1024, events.put_nowait, lambda: None)
        with black_hole(port) as hole:
            resolve_to(monkeypatch, hole if other == "black hole" else other, "127.0.0.1")
            begun = time.monotonic()
            running = asyncio.create_task(
                manager.run(f"ws://gateway.test:{port}/v0/connect", timeout=30.0)
            )
            event = await asyncio.wait_for(events.get(), 20)
            took = time.monotonic() - begun
        manager.abort()
        await running

    assert isinstance(event, inputs.SocketOpened)
    assert took < 5


@pytest.mark.parametrize("other", ["black hole", "127.0.0.3", "::1"])
async def test_the_addresses_of_the_api_are_raced_too(
    other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with MockHTTPServer() as api:
        api.add_gateway("g", "ws://127.0.0.1:1/v0/connect")
        with black_hole(api.port) as hole:
            resolve_to(monkeypatch, hole if other == "black hole" else other, "127.0.0.1")
            client = ApiClient(f"http://gateway.test:{api.port}", None, (), 30.0)
            begun = time.monotonic()
            answer = await client.start((), 0)
            took = time.monotonic() - begun
            await client.aclose()

    assert answer.gateway_group == "g"
    assert took < 5


@pytest.mark.scenario("R")
@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(-3, "Temporary failure in name resolution"),
        OSError("too many open files"),
        RuntimeError("can't start new thread"),
        KeyError("host"),
        UnicodeError("label too long"),
        SystemExit(3),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_resolver_raises_is_a_failed_attempt(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    emitted: list[inputs.Input] = []
    manager = WebSocketManager(1, 1024, emitted.append, lambda: None)

    await asyncio.wait_for(manager.run("ws://gateway.test:1/", timeout=10.0), 10)

    (end,) = emitted
    assert isinstance(end, inputs.SocketClosed)
    assert str(error) in (end.error or "")


async def test_the_same_question_waits_for_the_same_lookup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = threading.Event()
    asked: list[str] = []

    def slow(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        answer.wait(20)
        return [host]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    impatient = [asyncio.ensure_future(getaddrinfo("a.test", 1)) for _ in range(5)]
    patient = asyncio.ensure_future(getaddrinfo("a.test", 1))
    await asyncio.sleep(0)
    for one in impatient:
        one.cancel()
    answer.set()

    assert await asyncio.wait_for(patient, 10) == ["a.test"]
    assert asked == ["a.test"]


@pytest.mark.scenario("R")
async def test_a_name_is_looked_up_again_after_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["first", "second"])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [next(answers)])

    found = [await asyncio.wait_for(getaddrinfo("c.test", 1), 10) for _ in range(2)]

    assert found == [["first"], ["second"]]


async def test_a_lookup_that_never_ends_does_not_stand_for_later_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name server can be back while an old question is still lost."""
    answer = threading.Event()
    asked: list[str] = []

    def hangs_once(host: Any, port: Any, *args: Any, **named: Any) -> Any:
        asked.append(host)
        if len(asked) == 1:
            answer.wait(30)
        return REAL("127.0.0.1", port, *args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", hangs_once)
    monkeypatch.setattr("inngest_connect.transport.resolver._SHARED_FOR", 0.05)
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(getaddrinfo("lost.test", 1), 0.1)
        found = await asyncio.wait_for(getaddrinfo("lost.test", 1), 10)
    finally:
        answer.set()

    assert found
    assert asked == ["lost.test", "lost.test"]


async def test_a_resolver_that_never_answers_costs_four_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = threading.Event()
    asked: list[str] = []

    def never(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        answer.wait(20)
        return [host]

    monkeypatch.setattr(socket, "getaddrinfo", never)
    monkeypatch.setattr("inngest_connect.transport.resolver._SHARED_FOR", 0.0)
    attempts = []
    for _ in range(20):
        attempts.append(asyncio.ensure_future(getaddrinfo("b.test", 1)))
        await asyncio.sleep(0)
    answer.set()

    assert await asyncio.wait_for(asyncio.gather(*attempts), 10) == [["b.test"]] * 20
    assert len(asked) == 4


async def test_without_a_thread_the_lookup_fails_and_the_next_one_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(OSError, match="can't start new thread"):
            await getaddrinfo("127.0.0.1", 1)

    assert await asyncio.wait_for(getaddrinfo("127.0.0.1", 1), 10)


@pytest.mark.scenario("security-endpoint")
@pytest.mark.parametrize(
    "address",
    [
        "ws://127.0.0.1\0.example.com/",
        "ws://127.0.0.1/\0",
        "ws://127.0.0.1/a b",
        "ws://127.0.0.1/a\r\nX-Header: b",
        " ws://127.0.0.1/",
        "ws://127.0.0.1/\u00fc",
    ],
)
def test_an_address_that_means_something_else_on_the_wire_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="a space, a control character or a letter outside ASCII"):
        check_gateway_endpoint(address, "http://127.0.0.1", rewritten=False)


@pytest.mark.parametrize("isolation", ["thread", "none"])
@pytest.mark.parametrize("slow_name", ["api.test", "gateway.test"])
async def test_closing_does_not_wait_for_a_resolver(
    isolation: Any, slow_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow(host: Any, port: Any, *args: Any, **named: Any) -> Any:
        if host in (slow_name, slow_name.encode()):
            asked.set()
            answer.wait(30)
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return REAL(host, port, *args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    async with MockHTTPServer() as api:
        api.add_gateway("g", "ws://gateway.test:1/v0/connect")
        origin = "http://api.test:1" if slow_name == "api.test" else api.origin
        worker = worker_of(
            origin,
            isolation=isolation,
            timing=Timing(start_timeout=25.0, open_timeout=25.0),
        )
        running = asyncio.create_task(worker.start())
        try:
            assert await asyncio.to_thread(asked.wait, 10)
            begun = time.monotonic()
            await worker.close(wait=True)
            took = time.monotonic() - begun
            await asyncio.wait_for(running, 10)
        finally:
            answer.set()

    assert worker.state is ConnectionState.CLOSED
    assert took < 3


PROGRAM = """
import asyncio, socket, sys, threading
import inngest
from inngest_connect import ConnectionState, connect

asked = threading.Event()

def hangs(*question, **options):
    asked.set()
    threading.Event().wait(60)

socket.getaddrinfo = hangs
client = inngest.Inngest(app_id="a", api_base_url="http://api.test", is_production=False)

@client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="x"))
async def f(ctx): ...

async def main():
    worker = connect([(client, [f])], shutdown_signals=[], logger=False)
    running = asyncio.create_task(worker.start())
    while not asked.is_set():
        await asyncio.sleep(0.01)
    await worker.close()
    await running
    print(worker.state.value, flush=True)

asyncio.run(main())
"""


async def test_the_process_of_a_worker_does_not_wait_for_a_resolver() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=subprocess.PIPE
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert said == b"CLOSED\n"
    assert process.returncode == 0


def test_the_interpreter_does_not_wait_for_a_resolver() -> None:
    program = """
import asyncio, socket, time
socket.getaddrinfo = lambda *_, **__: time.sleep(60)
from inngest_connect.transport.resolver import getaddrinfo
async def main():
    try:
        await asyncio.wait_for(getaddrinfo("a.test", 1), 0.1)
    except TimeoutError:
        print("gave up")
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=40, check=True
    )

    assert done.stdout == "gave up\n"
