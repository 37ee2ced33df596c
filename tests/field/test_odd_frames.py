"""A peer that breaks RFC 6455, or sends what no gateway sends: one connection ends, or nothing.

Each member is tried on a worker that is ACTIVE; then a request has to be answered, on this
connection or on the next one.
"""

import asyncio
import base64
import hashlib
import struct

import inngest
import pytest

from inngest_connect import Timing, connect
from inngest_connect.core.retry import FixedRetry
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import MockHTTPServer, executor_request

pytestmark = pytest.mark.field
K = pb.GatewayMessageType
LIMIT = 20.0
HEARTBEAT = pb.ConnectMessage(kind=K.GATEWAY_HEARTBEAT).SerializeToString()


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, bits: int = 0) -> bytes:
    head = bytes([(0x80 if fin else 0) | bits | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    return head + b"\x7e" + struct.pack(">H", len(payload)) + payload


def message(kind: pb.GatewayMessageType, payload: bytes = b"") -> bytes:
    return frame(2, pb.ConnectMessage(kind=kind, payload=payload).SerializeToString())


def request(request_id: str) -> bytes:
    data = executor_request(
        "app",
        "app-f",
        {"name": "x", "data": {}},
        request_id=request_id,
        lease_id="01ARZ3NDEKTSV4RRFFQ69G5FAV",
    )
    return message(K.GATEWAY_EXECUTOR_REQUEST, data.SerializeToString())


class RawGateway:
    """Speaks the protocol, and sends any bytes between its messages."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        """Of the connections that are ready, in their order."""
        self.replies: set[str] = set()
        self.closes: list[bytes] = []
        self._changed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._upgrade(reader, writer)
            writer.write(frame(2))
            while True:
                await self._receive(reader, writer)
                self._changed.set()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            if writer in self.writers:
                self.writers.remove(writer)
            self._changed.set()
            writer.close()

    async def _upgrade(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        (key,) = [
            line.partition(":")[2].strip()
            for line in head.splitlines()
            if line.lower().startswith("sec-websocket-key:")
        ]
        digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        writer.write(
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, second = await reader.readexactly(2)
        length = second & 127
        if length > 125:
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8))
        mask = await reader.readexactly(4)
        masked = await reader.readexactly(length)
        key = int.from_bytes((mask * (length // 4 + 1))[:length])
        payload = (int.from_bytes(masked) ^ key).to_bytes(length)
        if first & 15 == 8:
            self.closes.append(payload)
        if first & 15 != 2:
            return
        received = pb.ConnectMessage.FromString(payload)
        if received.kind == K.WORKER_CONNECT:
            ready = pb.GatewayConnectionReadyData(heartbeat_interval="1s")
            writer.write(message(K.GATEWAY_CONNECTION_READY, ready.SerializeToString()))
        elif received.kind == K.WORKER_READY:
            self.writers.append(writer)
        elif received.kind == K.WORKER_HEARTBEAT:
            writer.write(frame(2, HEARTBEAT))
        elif received.kind == K.WORKER_REPLY:
            request_id = pb.SDKResponse.FromString(received.payload).request_id
            self.replies.add(request_id)
            ack = pb.WorkerReplyAckData(request_id=request_id)
            writer.write(message(K.WORKER_REPLY_ACK, ack.SerializeToString()))

    async def ready(self) -> asyncio.StreamWriter:
        while not self.writers:
            await self.change()
        return self.writers[-1]

    async def change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


async def answers_after(odd: bytes) -> RawGateway:
    """Returns when a worker that received ``odd`` has answered a later request."""
    gateway = RawGateway()
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with MockHTTPServer() as api:
        api.add_gateway("g", f"ws://127.0.0.1:{port}/v0/connect")
        client = inngest.Inngest(app_id="app", api_base_url=api.origin, is_production=False)

        @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="x"), retries=0)
        async def f(ctx: inngest.Context) -> str:
            return "done"

        worker = connect(
            [(client, [f])],
            shutdown_signals=[],
            logger=False,
            retry=FixedRetry(0.05),
            timing=Timing(close_timeout=0.2),
        )
        running = asyncio.create_task(worker.start())
        async with asyncio.timeout(LIMIT):
            writer = await gateway.ready()
            writer.write(odd)
            number = 0
            while not any(answered.startswith("later") for answered in gateway.replies):
                # Sent on every connection: the first may be the one that is about to end.
                writer = await gateway.ready()
                number += 1
                writer.write(request(f"later-{number}"))
                await gateway.change()
        await worker.close()
        await asyncio.wait_for(running, LIMIT)
    server.close()
    return gateway


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (frame(0, b"abc"), b"a continuation of nothing"),
        (frame(0, b"abc", fin=False), b"a continuation of nothing"),
        (frame(2, b"\x08", fin=False) + frame(2, b"\x0a"), b"a message within a message"),
        (frame(2, b"\x08", fin=False) + frame(1, b"a", fin=False), b"a message within a message"),
        (frame(1, b"a", fin=False) + frame(2, HEARTBEAT), b"a message within a message"),
        (frame(2, HEARTBEAT, bits=0x40), b"reserved bits without an extension"),
        (frame(9, bits=0x10), b"reserved bits without an extension"),
    ],
    ids=["lone-end", "lone-middle", "whole", "text", "within-text", "rsv1", "rsv3"],
)
async def test_a_violation_of_the_framing_ends_the_connection_with_1002(
    odd: bytes, reason: bytes
) -> None:
    gateway = await answers_after(odd)

    assert gateway.closes[0] == struct.pack(">H", 1002) + reason


@pytest.mark.parametrize(
    "odd",
    [
        frame(2, HEARTBEAT[:1], fin=False) + frame(9, b"x") + frame(0, HEARTBEAT[1:]),
        (frame(2, HEARTBEAT[:1], fin=False) + frame(0, HEARTBEAT[1:])) * 2 + frame(2, HEARTBEAT),
        frame(1, b"\xff\xfe"),
        frame(10, b"unasked") * 50,
        frame(9, b"x") * 5000,
        message(K.WORKER_REPLY_ACK, pb.WorkerReplyAckData(request_id="?").SerializeToString()),
        message(K.WORKER_REQUEST_EXTEND_LEASE_ACK, b"\x0a\x01?"),
        frame(2, b"\x08\x63"),
        request("same") * 50,
    ],
    ids=["ping-within", "fragments", "text", "pongs", "pings", "ack", "nack", "kind", "same"],
)
async def test_what_is_only_unusual_is_answered_on_the_same_connection(odd: bytes) -> None:
    gateway = await answers_after(odd)

    assert [close[:2] for close in gateway.closes] == [struct.pack(">H", 1000)]


@pytest.mark.parametrize("code", [1000, 1004, 1006, 1012, 1015, 2999, 4001, 65535])
async def test_whatever_a_close_frame_says_the_worker_comes_back(code: int) -> None:
    gateway = await answers_after(frame(8, struct.pack(">H", code)))

    assert len(gateway.closes) == 2
