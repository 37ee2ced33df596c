"""A machine without its network, or asleep: it is noticed, and over soon after it ends."""

import asyncio
import concurrent.futures
import errno
import socket
import threading
from collections.abc import Callable
from typing import Any

import inngest
import pytest

from inngest_connect import ConnectionState, WebSocketWorkerConnection, connect
from inngest_connect.aio.clock import monotonic
from inngest_connect.core import inputs
from inngest_connect.core.retry import FixedRetry
from inngest_connect.protocol import START_PATH
from inngest_connect.testing import EmbeddedGateway
from inngest_connect.transport.api_client import ApiClient, ApiError
from inngest_connect.transport.websocket_manager import WebSocketManager

pytestmark = pytest.mark.field
REAL = socket.getaddrinfo
LIMIT = 20.0

Answer = Callable[[], Any]


def no_answer() -> Any:
    raise socket.gaierror(-3, "Temporary failure in name resolution")


def unknown() -> Any:
    raise socket.gaierror(-2, "Name or service not known")


def nothing() -> Any:
    return []


def loopback() -> Any:
    """Where nothing listens."""
    return REAL("127.0.0.1", 1, type=socket.SOCK_STREAM)


released = threading.Event()


def hangs() -> Any:
    released.wait(LIMIT)
    return unknown()


MEMBERS = [
    (no_answer, True),
    (unknown, True),
    (nothing, True),
    (hangs, True),
    (loopback, False),
]


def resolve(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    def fake(host: Any, *args: Any, **named: Any) -> Any:
        return answer() if host == "name.test" else REAL(host, *args, **named)

    released.clear()
    monkeypatch.setattr("inngest_connect.transport.resolver._running", {})
    monkeypatch.setattr(socket, "getaddrinfo", fake)


async def api_fails() -> ApiError:
    client = ApiClient("http://name.test:1", None, (), 0.5)
    with pytest.raises(ApiError) as failed:
        await client.start((), 0)
    await client.aclose()
    return failed.value


async def dial_fails() -> inputs.SocketClosed:
    emitted: list[inputs.Input] = []
    manager = WebSocketManager(1, 1024, emitted.append, lambda: None)
    await asyncio.wait_for(manager.run("ws://name.test:1/", timeout=0.5), LIMIT)
    (end,) = emitted
    assert isinstance(end, inputs.SocketClosed)
    return end


@pytest.mark.parametrize(("answer", "offline"), MEMBERS)
async def test_it_is_known_whether_anything_was_reached(
    answer: Answer, offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, answer)
    try:
        failed, closed = await asyncio.gather(api_fails(), dial_fails())
    finally:
        released.set()

    assert (failed.offline, closed.offline) == (offline, offline)


@pytest.mark.scenario("R")
@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN])
async def test_a_machine_without_a_route_is_offline(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_route(*_: Any, **__: Any) -> Any:
        raise OSError(number, "no route")

    resolve(monkeypatch, loopback)
    monkeypatch.setattr("aiohappyeyeballs.start_connection", no_route)

    failed, closed = await asyncio.gather(api_fails(), dial_fails())

    assert (failed.offline, closed.offline) == (True, True)


@pytest.mark.parametrize("stage", ["waiting for the address of name.test", "connecting to"])
async def test_a_limit_that_passes_says_what_was_waited_for_and_whether_anything_was_reached(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    resolve(monkeypatch, hangs if "address" in stage else loopback)
    if "address" not in stage:
        monkeypatch.setattr("aiohappyeyeballs.start_connection", never)
    try:
        failed, closed = await asyncio.gather(api_fails(), dial_fails())
    finally:
        released.set()

    assert stage in str(failed)
    assert stage in (closed.error or "")
    # Behind an address that drops packets there may be a server; it is not asked more often.
    assert (failed.offline, closed.offline) == ("address" in stage,) * 2


async def test_a_time_limit_of_the_system_is_not_taken_for_that_of_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def gives_up(*_: Any, **__: Any) -> Any:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    resolve(monkeypatch, loopback)
    monkeypatch.setattr("aiohappyeyeballs.start_connection", gives_up)

    failed, closed = await asyncio.gather(api_fails(), dial_fails())

    assert f"could not be reached: [Errno {errno.ETIMEDOUT}] Connection timed out" in str(failed)
    assert "Connection timed out" in (closed.error or "")


def worker_of(gateway: EmbeddedGateway, origin: str, **options: Any) -> WebSocketWorkerConnection:
    client = inngest.Inngest(
        app_id="app", api_base_url=origin, event_api_base_url=origin, is_production=False
    )

    @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="x"), retries=0)
    async def f(ctx: inngest.Context) -> str:
        return "done"

    return connect([(client, [f])], shutdown_signals=[], logger=False, **options)


async def test_threads_of_the_application_that_are_all_busy_keep_the_worker_from_nothing() -> None:
    """With ``isolation="none"`` their pool is the one that the loop resolves names on."""
    release = threading.Event()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(pool)
    busy = asyncio.create_task(asyncio.to_thread(release.wait, LIMIT))
    try:
        async with EmbeddedGateway() as gateway:
            worker = worker_of(gateway, f"http://localhost:{gateway.http.port}", isolation="none")
            running = asyncio.create_task(worker.start())
            await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), LIMIT)
            result = await asyncio.wait_for(gateway.invoke("app-f"), LIMIT)
            await worker.close()
            await asyncio.wait_for(running, LIMIT)
    finally:
        release.set()
        await busy

    assert result.output == "done"


class Sleep:
    """The clock of a machine that sleeps: the loop's own clock does not notice."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slept = 0.0
        monkeypatch.setattr(
            "inngest_connect.orchestrator.monotonic", lambda: monotonic() + self.slept
        )


@pytest.mark.scenario("L")
@pytest.mark.parametrize("isolation", ["thread", "none"])
async def test_a_machine_that_slept_during_a_wait_connects_soon(
    isolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps for a part of the delay only, so that the delay alone would not be over."""
    monkeypatch.setattr("inngest_connect.core.connections.attempts.LOOK_AGAIN", 0.2)
    monkeypatch.setattr("inngest_connect.core.connections.attempts.EVIDENCE_SPREAD", 0.2)
    sleep = Sleep(monkeypatch)
    async with EmbeddedGateway() as gateway:
        gateway.http.simulate_server_error(times=1)
        worker = worker_of(gateway, gateway.api_origin, isolation=isolation, retry=FixedRetry(600))
        running = asyncio.create_task(worker.start())
        await gateway.http.wait_for_request(START_PATH)
        sleep.slept = 60.0
        await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), LIMIT)
        await worker.close()
        await asyncio.wait_for(running, LIMIT)

    assert len(gateway.http.get_request_history(START_PATH)) == 2


@pytest.mark.scenario("L")
@pytest.mark.parametrize("isolation", ["thread", "none"])
async def test_a_connection_over_which_the_machine_slept_is_replaced(
    isolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is judged by the time that has passed, not by the time that the machine was awake."""
    sleep = Sleep(monkeypatch)
    errors: list[str] = []
    answered = asyncio.Event()
    async with EmbeddedGateway(heartbeat_interval="1s") as gateway:
        worker = worker_of(
            gateway,
            gateway.api_origin,
            isolation=isolation,
            on={
                "error": lambda event: errors.append(event.message),
                "heartbeat": lambda _: answered.set(),
            },
        )
        running = asyncio.create_task(worker.start())
        await asyncio.wait_for(answered.wait(), LIMIT)
        gateway.gateways[0].stop_answering()
        sleep.slept = 3600.0
        await gateway.http.wait_for_request(START_PATH, 2, timeout=LIMIT)
        gateway.gateways[0].silent = False
        result = await asyncio.wait_for(gateway.invoke("app-f"), LIMIT)
        await worker.close()
        await asyncio.wait_for(running, LIMIT)

    assert result.output == "done"
    assert "nothing received for 360" in errors[0]
