"""A function runs only when its acknowledgement was handed to the kernel on that socket."""

import asyncio
import socket
import struct
from collections.abc import Callable

import inngest
import pytest

from inngest_connect import ScheduleRetry
from inngest_connect.core import inputs
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import MockHTTPServer, MockWebSocketServer, executor_request
from inngest_connect.transport.websocket_manager import WebSocketManager
from tests.field.one_function import worker_of

pytestmark = pytest.mark.field
K = pb.GatewayMessageType


def request(number: int) -> pb.GatewayExecutorRequestData:
    return executor_request(
        "app",
        "app-f",
        {"name": "x", "data": {}},
        request_id=f"r{number}",
        lease_id="01ARZ3NDEKTSV4RRFFQ69G5FAV",
    )


def close_frame(gateway: MockWebSocketServer) -> None:
    gateway.connection.close(1001, "connect_gateway_closing")


def reset(gateway: MockWebSocketServer) -> None:
    transport = gateway.connection._transport
    assert transport is not None
    connection = transport.underlying_transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gateway.connection.drop()


def violation(gateway: MockWebSocketServer) -> None:
    gateway.connection.send_bytes(pb.ConnectMessage(kind=K.SYNC_FAILED).SerializeToString())


def invalid_frame(gateway: MockWebSocketServer) -> None:
    gateway.connection.send_invalid_frame()


def invalid_frames(gateway: MockWebSocketServer) -> None:
    gateway.connection.send_ping(b"")
    gateway.connection.send_invalid_frame()
    gateway.connection.send_invalid_frame()


@pytest.mark.scenario("46")
@pytest.mark.parametrize("end", [close_frame, reset, violation, invalid_frame, invalid_frames])
@pytest.mark.parametrize("count", [1, 20])
async def test_what_ends_the_connection_in_the_same_read_leaves_no_unacknowledged_execution(
    end: Callable[[MockWebSocketServer], None], count: int
) -> None:
    ran: list[str] = []
    closed = asyncio.Event()
    async with MockHTTPServer() as api, MockWebSocketServer(greet=True) as gateway:
        api.add_gateway("g", gateway.url)

        async def f(ctx: inngest.Context) -> int:
            ran.append(ctx.run_id)
            return 1

        worker = worker_of(
            api.origin,
            f,
            isolation="none",
            retry=ScheduleRetry([60.0]),
            on={"disconnected": lambda _: closed.set()},
        )
        running = asyncio.create_task(worker.start())
        await gateway.wait_for_message(K.WORKER_CONNECT)
        gateway.send_connection_ready()
        await gateway.wait_for_message(K.WORKER_READY)

        for number in range(count):
            gateway.send_executor_request(request(number))
        end(gateway)
        await asyncio.wait_for(closed.wait(), 10)
        await worker.close()
        await asyncio.wait_for(running, 20)
        acknowledged = len(gateway.get_received_messages(K.WORKER_REQUEST_ACK))

    if end is close_frame:
        assert len(ran) == count
    if end is reset:  # nothing that the worker wrote can arrive; its kernel must have taken it
        assert len(ran) in (0, count)
    else:
        assert acknowledged == len(ran)
        assert len(ran) <= count
    assert worker.get_debug_state().in_flight == ()


async def test_what_waits_is_written_before_the_close_frame() -> None:
    emitted: list[inputs.Input] = []
    opened, ended = asyncio.Event(), asyncio.Event()

    def emit(event: inputs.Input) -> None:
        emitted.append(event)
        if isinstance(event, inputs.SocketOpened):
            opened.set()
        if isinstance(event, inputs.SocketClosed):
            ended.set()

    async with MockWebSocketServer() as gateway:
        manager = WebSocketManager(1, 1_000_000, emit, lambda: None)
        running = asyncio.create_task(manager.run(gateway.url, timeout=10.0))
        await asyncio.wait_for(opened.wait(), 10)
        message = pb.ConnectMessage(kind=K.WORKER_HEARTBEAT).SerializeToString()
        manager.send(message, acknowledges="r1")
        manager.send(message)
        manager.close(1000, "bye")
        await asyncio.wait_for(ended.wait(), 10)
        await running
        received = gateway.get_received_messages(K.WORKER_HEARTBEAT)

    assert len(received) == 2
    assert emitted[1] == inputs.AcknowledgementsWritten(1, ("r1",))


@pytest.mark.scenario("F")
async def test_a_gateway_for_which_too_much_waits_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may pile up without end for a peer that does not read."""
    monkeypatch.setattr("inngest_connect.transport.send_queue.LONGEST_QUEUE", 1000)
    emitted: list[inputs.Input] = []
    opened = asyncio.Event()

    def emit(event: inputs.Input) -> None:
        emitted.append(event)
        opened.set()

    async with MockWebSocketServer() as gateway:
        manager = WebSocketManager(1, 1_000_000, emit, lambda: None)
        running = asyncio.create_task(manager.run(gateway.url, timeout=10.0))
        await asyncio.wait_for(opened.wait(), 10)
        taken = [manager.send(bytes(600), acknowledges=str(number)) for number in range(4)]
        await asyncio.wait_for(running, 10)

    assert taken == [True, True, False, False]
    assert emitted[1:] == [
        inputs.AcknowledgementFailed(1, "0"),
        inputs.AcknowledgementFailed(1, "1"),
        inputs.SocketClosed(
            1, 1006, "", "the gateway does not read: too much waits to be sent to it"
        ),
    ]
