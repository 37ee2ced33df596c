"""A gateway on a plain socket, which can send any bytes and stop reading at any time."""

import asyncio
import base64
import hashlib
import struct
from collections.abc import Awaitable, Callable

from inngest_connect.core import inputs
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import executor_request
from inngest_connect.transport.websocket_manager import WebSocketManager

K = pb.GatewayMessageType
HEARTBEAT = pb.ConnectMessage(kind=K.GATEWAY_HEARTBEAT).SerializeToString()


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def dial(
    serve: Serve, url: str, *, timeout: float, limit: float, proxy: str | None = None
) -> tuple[list[inputs.Input], int]:
    """Dial a server, which has ``limit`` seconds; returns the emitted inputs, and the port.

    ``{port}`` in ``url`` and ``proxy`` stands for it.
    """
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    emitted: list[inputs.Input] = []
    manager = WebSocketManager(1, 1024, emitted.append, lambda: None)
    through = proxy.format(port=port) if proxy is not None else None
    dialing = manager.run(url.format(port=port), timeout=timeout, proxy=through)
    await asyncio.wait_for(dialing, limit)
    server.close()
    return emitted, port


def switching_protocols(head: bytes) -> bytes:
    """The answer to this request for an upgrade (RFC 6455 section 4.2.2)."""
    (key,) = [
        line.partition(":")[2].strip()
        for line in head.decode().splitlines()
        if line.lower().startswith("sec-websocket-key:")
    ]
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    return (
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


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
            writer.write(switching_protocols(await reader.readuntil(b"\r\n\r\n")))
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
