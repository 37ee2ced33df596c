"""MockWebSocketServer, scripted message by message."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import picows
import pytest

from inngest_connect import ConnectionState, connect
from inngest_connect.core.wire.messages import envelope
from inngest_connect.protocol import START_PATH
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import (
    QUICK_TIMING,
    ConnectionTestHarness,
    MockHTTPServer,
    MockWebSocketServer,
    executor_request,
)
from tests.integration.demo_apps import make_app

K = pb.GatewayMessageType
pytestmark = pytest.mark.integration


async def test_a_conversation_can_be_scripted_from_hello_to_goodbye() -> None:
    async with MockHTTPServer() as api, MockWebSocketServer() as gateway:
        api.add_gateway(gateway.name, gateway.url)
        worker = connect([make_app(api.origin).pair], shutdown_signals=[], timing=QUICK_TIMING)
        started = asyncio.create_task(worker.start())
        connection = await gateway.wait_for_connection()
        gateway.send_gateway_hello()
        await gateway.wait_for_message(K.WORKER_CONNECT)
        gateway.send_connection_ready()
        await gateway.wait_for_message(K.WORKER_HEARTBEAT)
        gateway.send_heartbeat()
        gateway.simulate_slow_response(20)
        begun = time.monotonic()
        call = executor_request("app", "app-echo", {"name": "e", "data": {}}, request_id="r1")
        gateway.send_executor_request(call)
        await gateway.wait_for_message(K.WORKER_REPLY)
        took = time.monotonic() - begun
        gateway.send_reply_ack("r1")
        gateway.simulate_slow_response(0)
        gateway.send_draining_message()
        await gateway.wait_for_connection(2)
        gateway.send_gateway_hello()
        gateway.send_connection_ready()
        await connection.closed.wait()
        gateway.simulate_connection_drop()
        await gateway.wait_for_connection(3)
        await worker.close(wait=True)
        await started

    kinds = [message.kind_name for message in gateway.get_received_messages()]
    assert kinds[:3] == ["WORKER_CONNECT", "WORKER_READY", "WORKER_HEARTBEAT"]
    assert gateway.assert_message_received(K.WORKER_REQUEST_ACK).connection is connection
    assert took >= 0.02
    assert api.assert_endpoint_called(START_PATH).answered == 200
    assert len(api.get_request_history(START_PATH)) >= 3


async def test_a_worker_leaves_a_gateway_that_stops_answering() -> None:
    async with ConnectionTestHarness(heartbeat_interval="300ms") as harness:
        await harness.start_worker([make_app(harness.api_origin).pair])
        harness.gateways[0].stop_answering()
        await harness.gateway.add_gateway()
        harness.gateway.http.remove_gateway("gateway-0")
        await harness.wait_for_state_transition(ConnectionState.RECONNECTING)
        await harness.worker.wait_for_state(ConnectionState.ACTIVE)
        harness.mark()
        harness.assert_external_state_remains(ConnectionState.ACTIVE)


@pytest.mark.scenario("H")
async def test_a_request_that_is_delivered_twice_is_executed_once() -> None:
    async with ConnectionTestHarness() as harness:
        app = make_app(harness.api_origin)
        await harness.start_worker([app.pair])
        running = asyncio.create_task(harness.gateway.invoke("app-wait"))
        await app.seen.started.wait()
        ((request_id, record),) = harness.ledger.records.items()
        # The function can start before the gateway, on the same loop, has read the acknowledgement.
        await harness.gateway.store.until(lambda _: len(record.acknowledged_by) == 1)
        harness.gateway.store.forward_again(request_id, record.forwards[0])
        await harness.gateway.store.until(lambda _: len(record.acknowledged_by) == 2)
        app.seen.release.set()
        await running

    assert (record.executions, len(record.forwards)) == (1, 2)
    assert app.seen.calls["wait"] == 1


@pytest.mark.scenario("I")
async def test_nothing_is_lost_when_messages_overtake_one_another() -> None:
    """The gateway handles what it receives up to 30 ms later, out of order."""
    async with ConnectionTestHarness(
        handling_delay=0.03, lease=2.0, extend_lease_interval="100ms", retry_delay=0.01
    ) as harness:
        app = make_app(harness.api_origin)
        await harness.start_worker([app.pair])
        load = asyncio.create_task(harness.simulate_high_load("app-steps", runs=60, at_once=10))
        for _ in range(2):
            await harness.simulate_gateway_draining()
        ended = await load

    assert ended.failed == []
    assert harness.ledger.lost == 0


async def test_a_connection_in_its_upgrade_does_not_survive_the_stop_of_its_gateway() -> None:
    """Found by chaos: such a connection was waited for by stop() and never dropped."""
    gateway = MockWebSocketServer()
    await gateway.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /v0/connect HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n")
    await writer.drain()

    await gateway.stop()
    writer.write(
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await asyncio.wait_for(reader.read(), 10)
    writer.close()

    assert gateway.connections == []


class Reader(picows.WSListener):
    """A client that notes when each frame arrives."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[tuple[float, str, bytes]] = asyncio.Queue()

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        name = picows.WSMsgType(frame.msg_type).name
        self.frames.put_nowait((time.monotonic(), name, frame.get_payload_as_bytes()))

    async def connect(self, gateway: MockWebSocketServer) -> picows.WSTransport:
        transport, _ = await picows.ws_connect(
            lambda: self, gateway.url, enable_auto_pong=False, logger_name="testing"
        )
        await gateway.wait_for_connection()
        return transport

    async def read(self, count: int) -> list[tuple[float, str, bytes]]:
        async with asyncio.timeout(10):
            return [await self.frames.get() for _ in range(count)]


SENDERS: dict[str, tuple[Callable[[MockWebSocketServer], None], list[str]]] = {
    "a message": (lambda gateway: gateway.send_heartbeat(), ["BINARY"]),
    "malformed bytes": (lambda gateway: gateway.send_malformed("garbage"), ["BINARY"]),
    "a text": (lambda gateway: gateway.send_text("hi"), ["TEXT"]),
    "fragments": (
        lambda gateway: gateway.connection.send_fragments(b"a", b"b"), ["BINARY", "CONTINUATION"],
    ),
    "a ping": (lambda gateway: gateway.connection.send_ping(b"p"), ["PING"]),
    "a close": (lambda gateway: gateway.close_connection(1001, "bye"), ["CLOSE"]),
}  # fmt: skip


@pytest.mark.parametrize("sent", SENDERS)
async def test_latency_delays_everything_that_is_sent(sent: str) -> None:
    send, kinds = SENDERS[sent]
    async with MockWebSocketServer() as gateway:
        reader = Reader()
        transport = await reader.connect(gateway)
        gateway.simulate_latency(60)
        begun = time.monotonic()
        send(gateway)
        frames = await reader.read(len(kinds))
        transport.disconnect()

    assert [name for _, name, _ in frames] == kinds
    assert all(at - begun >= 0.059 for at, _, _ in frames)


async def test_what_is_sent_later_does_not_overtake_when_the_latency_ends() -> None:
    async with MockWebSocketServer() as gateway:
        reader = Reader()
        transport = await reader.connect(gateway)
        gateway.simulate_latency(50)
        for number in range(20):
            gateway.send_raw(bytes([number]))
        gateway.simulate_latency(0)
        gateway.send_text("last")
        frames = await reader.read(21)
        transport.disconnect()

    assert [data for _, _, data in frames] == [*(bytes([n]) for n in range(20)), b"last"]


async def test_a_slow_response_begins_immediately_and_takes_its_time() -> None:
    async with MockWebSocketServer() as gateway:
        reader = Reader()
        transport = await reader.connect(gateway)
        gateway.simulate_slow_response(60)
        gateway.send_raw(b"abcd")
        (begun, *first), (ended, *rest) = await reader.read(2)
        transport.disconnect()

    assert [first, rest] == [["BINARY", b"ab"], ["CONTINUATION", b"cd"]]
    assert ended - begun >= 0.04


@pytest.mark.parametrize(
    ("acknowledges", "session", "violation"),
    [
        (True, None, ""),
        (False, None, "reply without an acknowledgement to r1"),
        (True, "another", "without its own tokens"),
        (True, "", "without its own tokens"),
    ],
)
async def test_a_scripted_gateway_fails_the_test_of_a_worker_that_breaks_the_protocol(
    acknowledges: bool, session: str | None, violation: str
) -> None:
    async with MockHTTPServer() as api:
        api.add_gateway("g", "ws://unused")
        issued = pb.StartResponse.FromString(bytes(api.handle_start_request(b"", "").body))
        gateway = MockWebSocketServer()
        await gateway.start()
        reader = Reader()
        transport = await reader.connect(gateway)

        def send(kind: pb.GatewayMessageType, payload: bytes) -> None:
            transport.send(picows.WSMsgType.BINARY, envelope(kind, payload))

        token = issued.session_token if session is None else session
        connect = pb.WorkerConnectRequestData(
            connection_id=issued.connection_id,
            auth_data=pb.AuthData(session_token=token, sync_token=issued.sync_token),
        )
        send(K.WORKER_CONNECT, connect.SerializeToString())
        gateway.send_executor_request(pb.GatewayExecutorRequestData(request_id="r1"))
        if acknowledges:
            send(K.WORKER_REQUEST_ACK, pb.WorkerRequestAckData(request_id="r1").SerializeToString())
        send(K.WORKER_REPLY, pb.SDKResponse(request_id="r1").SerializeToString())
        await gateway.wait_for_message(K.WORKER_REPLY)
        transport.disconnect()

    with (
        contextlib.nullcontext()
        if not violation
        else pytest.raises(AssertionError, match=violation)
    ):
        await gateway.__aexit__(None)
