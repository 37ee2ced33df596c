"""The status port is open to anything: the worker keeps its descriptors and its log."""

import asyncio
import logging
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from inngest_connect.status import StatusServer
from inngest_connect.status import connections as limits
from inngest_connect.status.application import Site
from inngest_connect.status.client_log import ClientLog
from tests.field.one_function import worker_of

pytestmark = pytest.mark.field


@pytest.fixture(autouse=True)
def uvicorn_logs(caplog: pytest.LogCaptureFixture) -> None:
    """The test kit's servers, which other tests start, silence uvicorn for the whole process."""
    caplog.set_level(logging.WARNING, "uvicorn.error")


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Lines(1)
    names = ("inngest_connect", "uvicorn.error", "uvicorn.access", "asyncio")
    for name in names:
        logging.getLogger(name).addHandler(handler)
    yield lines
    for name in names:
        logging.getLogger(name).removeHandler(handler)


@pytest.fixture
def port() -> Iterator[int]:
    server = StatusServer(worker_of("http://127.0.0.1:1"), "127.0.0.1:0")
    url = server.start()
    yield int(url.rpartition(":")[2])
    server.stop()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def ended(connection: socket.socket, seconds: float = 10.0) -> bool:
    """Whether the server closes it, whatever it sends before."""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            continue
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def health(port: int) -> int:
    return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=10).status_code


def test_idle_connections_are_limited_and_a_probe_is_answered_all_the_same(
    port: int, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "IDLE_SECONDS", 600.0)  # the number alone closes them
    idle = [connected(port) for _ in range(400)]

    assert health(port) == 200
    # The oldest ones were closed.
    assert all(ended(one) for one in idle[: 400 - 128])
    assert health(port) == 200
    assert len([line for line in log if "more than" in line]) == 1
    for one in idle:
        one.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /healthz HT",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_a_connection_on_which_no_whole_request_arrives_is_closed(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(limits, "IDLE_SECONDS", 0.5)
    server = StatusServer(worker_of("http://127.0.0.1:1"), "127.0.0.1:0")
    with connected(int(server.start().rpartition(":")[2])) as connection:
        connection.sendall(sent)

        assert ended(connection)
    server.stop()


def test_a_request_that_trickles_is_closed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IDLE_SECONDS", 0.5)
    server = StatusServer(worker_of("http://127.0.0.1:1"), "127.0.0.1:0")
    begun = time.monotonic()
    with connected(int(server.start().rpartition(":")[2])) as connection:
        connection.settimeout(0.05)
        over = False
        while not over and time.monotonic() - begun < 20:
            try:
                connection.sendall(b"x")
                over = not connection.recv(10)
            except TimeoutError:
                continue
            except ConnectionError:
                over = True
    server.stop()

    assert over


def test_a_connection_that_is_used_again_and_again_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of each is short beside the limit, that of all of them is longer."""
    monkeypatch.setattr(limits, "IDLE_SECONDS", 2.0)
    server = StatusServer(worker_of("http://127.0.0.1:1"), "127.0.0.1:0")
    begun = time.monotonic()
    with httpx.Client(base_url=server.start(), timeout=10) as client:
        first = client.get("/healthz").extensions["network_stream"]
        last = first
        while time.monotonic() - begun < 3.0:
            last = client.get("/healthz").extensions["network_stream"]
            time.sleep(0.1)  # as a probe waits
    server.stop()

    assert last is first


def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers fill the buffers, so that one of them cannot be sent to the end."""
    monkeypatch.setattr(limits, "IDLE_SECONDS", 0.5)
    server = StatusServer(worker_of("http://127.0.0.1:1"), "127.0.0.1:0")
    with connected(int(server.start().rpartition(":")[2])) as connection:
        connection.settimeout(20)
        with pytest.raises(ConnectionError):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_000_000)
    server.stop()


async def test_a_connection_that_is_being_answered_is_not_closed_for_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oldest one waits for its answer while others fill the server."""
    monkeypatch.setattr(limits, "most_connections", lambda: 4)
    asked, answer = threading.Event(), threading.Event()

    async def slow(_site: Site, _request: Request) -> Response:
        asked.set()
        await asyncio.to_thread(answer.wait, 30)
        return Response()

    monkeypatch.setattr(Site, "_healthz", slow)
    server = StatusServer(worker_of("http://127.0.0.1:1"), "127.0.0.1:0")
    port = int(server.start().rpartition(":")[2])
    asking = asyncio.create_task(asyncio.to_thread(health, port))
    assert await asyncio.to_thread(asked.wait, 30)

    idle = [connected(port) for _ in range(10)]
    assert await asyncio.to_thread(ended, idle[0])
    answer.set()

    assert await asking == 200
    for one in idle:
        one.close()
    await asyncio.to_thread(server.stop)


GARBAGE = {
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
    "ssh": b"SSH-2.0-OpenSSH_9\r\n",
    "escape": b"\x1b[31mGET\r\n\r\n",
    "random": bytes(range(256)),
    "line": b"GET / HTTP/1.1\r\nHost: a\r\nHost : b\r\n\r\n",
    "upgrade": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n"
    b"Upgrade: websocket\r\n\r\n",
}


def test_garbage_writes_one_line_for_each_source(port: int, log: list[str]) -> None:
    for _ in range(30):
        for data in GARBAGE.values():
            with connected(port) as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                assert ended(connection)

    assert health(port) == 200
    assert len(log) == 1
    assert log[0].startswith("status server: 127.0.0.1: ")
    assert log[0].isprintable()


def test_what_was_not_logged_is_counted_and_sources_are_limited(log: list[str]) -> None:
    clients = ClientLog()
    for _ in range(10):
        clients.warn("10.0.0.1", "garbage", 0.0)
    clients.warn("10.0.0.1", "garbage", 600.0)
    for number in range(5000):
        clients.warn(f"::{number:x}", "garbage", 601.0)

    assert log[:2] == [
        "status server: 10.0.0.1: garbage",
        "status server: 10.0.0.1: garbage (9 more since the last line)",
    ]
    assert len(log) < 70


def test_an_error_of_a_route_is_one_record_with_its_traceback_and_without_secrets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(site: Site, request: Request) -> Response:
        raise RuntimeError(f"signkey-test-{'ab' * 32}")

    monkeypatch.setattr(Site, "_healthz", broken)
    server = StatusServer(worker_of("http://127.0.0.1:1"), "127.0.0.1:0")
    status = health(int(server.start().rpartition(":")[2]))
    server.stop()

    assert status == 500
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("inngest_connect.status", "ERROR")
    assert record.getMessage() == "status server: 127.0.0.1: Exception in ASGI application"
    assert "RuntimeError" in (record.exc_text or "")
    assert "ab" * 16 not in (record.exc_text or "")


def test_records_of_another_uvicorn_server_are_not_touched(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert health(port) == 200

    logging.getLogger("uvicorn.error").warning("of another server")

    assert [record.name for record in caplog.records] == ["uvicorn.error"]


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are limited by ulimit")
async def test_a_worker_reconnects_while_others_hold_the_status_port() -> None:
    script = textwrap.dedent(
        """
        import asyncio, resource, socket, sys
        import inngest
        from inngest_connect import connect
        from inngest_connect.state_machine import ConnectionState
        from inngest_connect.status import StatusServer, connections
        from inngest_connect.testing import QUICK_TIMING, EmbeddedGateway

        async def main():
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
            connections.IDLE_SECONDS = 600.0
            async with EmbeddedGateway() as gateway:
                client = gateway.client("a")
                @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="x"))
                async def f(ctx): return "ok"
                worker = connect([(client, [f])], shutdown_signals=[], timing=QUICK_TIMING)
                url = StatusServer(worker, "127.0.0.1:0").start()
                print(url.rpartition(":")[2], flush=True)
                running = asyncio.create_task(worker.start())
                await gateway.wait_for_worker()
                await asyncio.to_thread(sys.stdin.readline)
                again = asyncio.Event()
                worker.add_event_listener("connected", lambda _: again.set())
                gateway.gateways[0].simulate_connection_drop()
                await asyncio.wait_for(again.wait(), 20)
                print((await gateway.invoke("a-f")).status, flush=True)
                await worker.close(wait=True)
        asyncio.run(main())
        """
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    port = int(await asyncio.wait_for(process.stdout.readline(), 30))
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(400)]
    process.stdin.write(b"\n")

    output = await asyncio.wait_for(process.stdout.read(), 40)

    for _, writer in idle:
        writer.close()
    assert output == b"completed\n"
    assert await process.wait() == 0


@pytest.mark.scenario("security-status")
@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        (("localhost",), b"200"),
        (("evil.example",), b"421"),
        (("localhost", "evil.example"), b"400"),
        (("evil.example", "localhost"), b"400"),
        ((), b"400"),
    ],
)
def test_exactly_one_host_header_names_this_server(
    port: int, hosts: tuple[str, ...], status: bytes
) -> None:
    with connected(port) as connection:
        headers = "".join(f"Host: {host}\r\n" for host in hosts)
        connection.sendall(f"GET /readyz?format=json HTTP/1.1\r\n{headers}\r\n".encode())
        answer = connection.recv(4096)

    expected = (b"200", b"503") if status == b"200" else (status,)
    assert answer.split(b" ")[1] in expected


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not limit descriptors")
@pytest.mark.parametrize(
    ("limit", "most"), [(64, 16), (256, 64), (1024, 128), (65536, 128), (8, 4)]
)
def test_the_limit_is_a_quarter_of_the_descriptors(
    monkeypatch: pytest.MonkeyPatch, limit: int, most: int
) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))

    assert limits.most_connections() == most
