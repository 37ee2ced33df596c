"""Lines that are slow, peers that do not read, and messages that do not end."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable

import inngest
import pytest

from inngest_connect import Timing
from inngest_connect.core import inputs
from inngest_connect.protocol import FLUSH_PATH
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import MockHTTPServer, MockWebSocketServer, executor_request
from inngest_connect.transport.websocket_manager import WebSocketManager
from tests.field.one_function import worker_of
from tests.field.raw_gateway import RawGateway, frame, request, switching_protocols

pytestmark = pytest.mark.field
K = pb.GatewayMessageType
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(switching_protocols(await reader.readuntil(b"\r\n\r\n")))


async def one_attempt(serve: Serve, until: type) -> list[inputs.Input]:
    """The inputs from a connection that ``serve`` serves, up to one of that kind."""
    served: list[asyncio.StreamWriter] = []

    async def serve_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(writer)
        await upgrade(reader, writer)
        await serve(reader, writer)

    server = await asyncio.start_server(serve_and_close, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    emitted: list[inputs.Input] = []
    arrived = asyncio.Event()

    def emit(event: inputs.Input) -> None:
        emitted.append(event)
        if isinstance(event, until):
            arrived.set()

    manager = WebSocketManager(1, 1_000_000, emit, lambda: None)
    running = asyncio.create_task(manager.run(f"ws://127.0.0.1:{port}/", timeout=10.0))
    await asyncio.wait_for(arrived.wait(), 20)
    manager.abort()
    await asyncio.wait_for(running, 10)
    for writer in served:
        writer.close()
    server.close()
    return emitted


async def test_frames_of_one_message_are_counted() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x02\x00" + b"\x00\x00" * 100_000)

    *_, last = await one_attempt(endless, inputs.SocketClosed)

    assert isinstance(last, inputs.SocketClosed)
    assert (last.code, last.reason) == (1009, "a message of more than 65536 frames")


async def test_a_message_of_many_small_frames_arrives() -> None:
    async def patient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x02\x01a" + b"\x00\x00\x00\x01b" * 1000 + b"\x80\x01c")

    *_, last = await one_attempt(patient, inputs.MessageReceived)

    assert isinstance(last, inputs.MessageReceived)
    assert last.data == b"a" + b"b" * 1000 + b"c"


async def test_the_time_of_one_message_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inngest_connect.transport.fragments.LONGEST_MESSAGE", 0.1)

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x02\x01a")
        for _ in range(20):
            await asyncio.sleep(0.05)
            writer.write(b"\x00\x01b")

    *_, last = await one_attempt(trickle, inputs.SocketClosed)

    assert isinstance(last, inputs.SocketClosed)
    assert (last.code, last.reason) == (1008, "a message that took more than 0.1 s")


async def test_of_pings_that_come_together_the_last_is_answered() -> None:
    answered: list[bytes] = []
    done = asyncio.Event()

    async def ping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(b"\x89\x02%02d" % number for number in range(50)) + b"\x82\x00")
        head = await reader.readexactly(2)
        assert head == b"\x8a\x82"
        mask = await reader.readexactly(4)
        payload = await reader.readexactly(2)
        answered.append(bytes(a ^ b for a, b in zip(payload, mask, strict=False)))
        done.set()

    server_side = ping
    emitted: list[inputs.Input] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        await server_side(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    def flush() -> None:
        manager.flush()

    manager = WebSocketManager(1, 1000, emitted.append, flush)
    running = asyncio.create_task(manager.run(f"ws://127.0.0.1:{port}/", timeout=10.0))
    await asyncio.wait_for(done.wait(), 10)
    await asyncio.wait_for(running, 10)
    server.close()

    assert answered == [b"49"]


@pytest.mark.scenario("F")
@pytest.mark.parametrize("end", ["reads", "closes"])
async def test_an_acknowledgement_that_the_kernel_has_taken_in_part(end: str) -> None:
    """It is written once the peer reads, and failed if the peer closes instead."""
    go_on, opened, ended, served = (asyncio.Event() for _ in range(4))
    emitted: list[inputs.Input] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await go_on.wait()
        if end == "closes":
            writer.write(frame(8, b"\x03\xe9"))
            await ended.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):
            while await reader.read(2**20):
                pass
        writer.close()
        served.set()

    def emit(event: inputs.Input) -> None:
        emitted.append(event)
        if isinstance(event, inputs.SocketOpened):
            opened.set()
        else:
            ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    manager = WebSocketManager(1, 1000, emit, lambda: None)
    running = asyncio.create_task(manager.run(f"ws://127.0.0.1:{port}/", timeout=10.0))
    await asyncio.wait_for(opened.wait(), 10)
    manager.send(bytes(50_000_000), acknowledges="r1")
    in_part = manager.flush()
    manager.send(b"behind it", acknowledges="r2")
    go_on.set()
    await asyncio.wait_for(ended.wait(), 20)
    if end == "reads":
        manager.flush()
    manager.abort()
    await asyncio.wait_for(running, 10)
    await asyncio.wait_for(served.wait(), 10)
    server.close()

    assert not in_part
    if end == "reads":
        assert emitted[1:] == [
            inputs.AcknowledgementsWritten(1, ("r1",)),
            inputs.AcknowledgementsWritten(1, ("r2",)),
        ]
    else:
        assert set(emitted[1:3]) == {
            inputs.AcknowledgementFailed(1, "r1"),
            inputs.AcknowledgementFailed(1, "r2"),
        }
        assert emitted[3:] == [inputs.SocketClosed(1, 1001, "")]


@pytest.mark.parametrize(
    "first", [{}, {"acknowledges": "r1"}, {"reply_to": "r1"}], ids=["other", "ack", "reply"]
)
async def test_what_waits_behind_a_message_is_written_as_soon_as_the_peer_reads(
    first: dict[str, str],
) -> None:
    """Nothing else happens on this connection that could cause the write."""
    go_on, opened, written, served = (asyncio.Event() for _ in range(4))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(reader, writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await go_on.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):
            while await reader.read(2**20):
                pass
        writer.close()
        served.set()

    def emit(event: inputs.Input) -> None:
        if isinstance(event, inputs.SocketOpened):
            opened.set()
        elif isinstance(event, inputs.AcknowledgementsWritten) and "r2" in event.request_ids:
            written.set()

    def flush() -> None:
        manager.flush()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    manager = WebSocketManager(1, 1000, emit, flush)
    running = asyncio.create_task(manager.run(f"ws://127.0.0.1:{port}/", timeout=10.0))
    await asyncio.wait_for(opened.wait(), 10)
    manager.send(bytes(20_000_000), **first)
    manager.flush()
    manager.send(b"behind it", acknowledges="r2")
    too_early = manager.flush()
    go_on.set()
    await asyncio.wait_for(written.wait(), 20)
    manager.abort()
    await asyncio.wait_for(running, 10)
    await asyncio.wait_for(served.wait(), 10)
    server.close()

    assert not too_early


async def test_a_busy_slow_line_is_kept_and_a_gateway_that_never_reads_is_not() -> None:
    """The gateway reads through a relay: 2 MB a second at first, then nothing at all."""
    reading = asyncio.Event()
    reading.set()
    lost: list[str] = []
    gone = asyncio.Event()

    async with MockHTTPServer() as api, MockWebSocketServer(greet=True) as gateway:
        target = int(gateway.url.rpartition(":")[2].partition("/")[0])

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            upstream, downstream = await asyncio.open_connection("127.0.0.1", target)

            async def slowly() -> None:
                while data := await reader.read(20_000):
                    downstream.write(data)
                    await asyncio.sleep(len(data) / 2e6)
                    await reading.wait()

            async def back() -> None:
                while data := await upstream.read(65536):
                    writer.write(data)

            both = [asyncio.create_task(slowly()), asyncio.create_task(back())]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in both:
                task.cancel()
            await asyncio.wait(both)
            downstream.close()
            writer.close()

        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        listener.bind(("127.0.0.1", 0))
        server = await asyncio.start_server(relay, sock=listener, limit=20_000)
        api.add_gateway("g", f"ws://127.0.0.1:{listener.getsockname()[1]}/v0/connect")

        async def f(ctx: inngest.Context) -> str:
            return os.urandom(500_000).hex()

        def disconnected(event: object) -> None:
            lost.append(str(event))
            gone.set()

        worker = worker_of(
            api.origin,
            f,
            timing=Timing(reply_ack_timeout=60.0, close_timeout=0.2),
            shutdown_timeout=1.0,
            on={"disconnected": disconnected},
        )
        running = asyncio.create_task(worker.start())
        await gateway.wait_for_message(K.WORKER_CONNECT)
        gateway.send_connection_ready(heartbeat_interval="400ms", extend_lease_interval="400ms")
        await gateway.wait_for_message(K.WORKER_READY)

        def send(first: int) -> None:
            for number in range(first, first + 10):
                gateway.send_executor_request(
                    executor_request(
                        "app",
                        "app-f",
                        {"name": "x", "data": {}},
                        request_id=f"r{number}",
                        lease_id="01ARZ3NDEKTSV4RRFFQ69G5FAV",
                    )
                )

        send(0)
        await gateway.wait_for_message(K.WORKER_REPLY, count=10, timeout=40)
        while_busy = list(lost)
        heartbeats = len(gateway.get_received_messages(K.WORKER_HEARTBEAT))
        extensions = len(gateway.get_received_messages(K.WORKER_REQUEST_EXTEND_LEASE))

        reading.clear()
        send(10)
        begun = time.monotonic()
        talking = asyncio.create_task(talk(gateway))
        await asyncio.wait_for(gone.wait(), 40)
        took = time.monotonic() - begun
        talking.cancel()
        reading.set()
        await worker.close()
        await asyncio.wait_for(running, 30)
        server.close()

    assert while_busy == []
    assert heartbeats >= 3
    assert extensions >= 10  # of ten requests whose replies wait to be acknowledged
    assert took < 20


class PausingGateway(RawGateway):
    """Reads nothing while ``reading`` is not set."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = asyncio.Event()
        self.reading.set()

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.reading.wait()
        await super()._receive(reader, writer)


@pytest.mark.scenario("F")
async def test_a_reply_that_was_flushed_does_not_delay_what_waits_behind_it() -> None:
    gateway = PausingGateway()
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    large = [f"large-{number}" for number in range(6)]
    async with MockHTTPServer() as api:
        api.add_gateway("g", f"ws://127.0.0.1:{port}/v0/connect")

        async def f(ctx: inngest.Context) -> str:
            return "x" * 4_000_000

        timing = Timing(reply_ack_timeout=0.3, close_timeout=0.2)
        worker = worker_of(api.origin, f, timing=timing)
        running = asyncio.create_task(worker.start())
        async with asyncio.timeout(40):
            writer = await gateway.ready()
            gateway.reading.clear()
            # In one read: behind a large reply, an acknowledgement would wait for the gateway.
            writer.write(b"".join(map(request, large)))
            await api.wait_for_request(FLUSH_PATH, len(large), timeout=30)
            gateway.reading.set()
            writer.write(request("later"))
            while "later" not in gateway.replies:
                await gateway.change()
            await worker.close()
            await running
    server.close()

    assert set(api.flushed) >= set(large)
    # The kernel had taken the beginning of the first; loopback buffers hold one or two.
    assert len(gateway.replies & set(large)) <= 3


async def talk(gateway: MockWebSocketServer) -> None:
    """Unasked heartbeats, as a peer sends them that does not read ours."""
    connection = gateway.connection
    while True:
        connection.send_bytes(pb.ConnectMessage(kind=K.GATEWAY_HEARTBEAT).SerializeToString())
        await asyncio.sleep(0.1)
