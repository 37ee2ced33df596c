"""A peer that breaks RFC 6455, or sends what no gateway sends: one connection ends, or nothing.

Each member is tried on a worker that is ACTIVE; then a request has to be answered, on this
connection or on the next one.
"""

import asyncio
import struct

import inngest
import pytest

from inngest_connect import Timing, connect
from inngest_connect.core import inputs
from inngest_connect.core.retry import FixedRetry
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import MockHTTPServer
from tests.field.raw_gateway import (
    HEARTBEAT,
    RawGateway,
    dial,
    frame,
    message,
    request,
    switching_protocols,
)

pytestmark = pytest.mark.field
K = pb.GatewayMessageType
LIMIT = 20.0


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


@pytest.mark.scenario("14")
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


@pytest.mark.scenario("X")
@pytest.mark.parametrize("code", [1000, 1004, 1006, 1012, 1015, 2999, 4001, 65535])
async def test_whatever_a_close_frame_says_the_worker_comes_back(code: int) -> None:
    gateway = await answers_after(frame(8, struct.pack(">H", code)))

    assert len(gateway.closes) == 2


async def test_what_follows_a_violation_of_the_framing_is_ignored() -> None:
    """The library closes, and continues to read what arrives until it disconnects."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(switching_protocols(await reader.readuntil(b"\r\n\r\n")))
        half_a_code = frame(8, b"x")
        writer.write(half_a_code + frame(2, b"behind it") + frame(2, b"and behind that"))
        await reader.readexactly(2)  # of the close frame
        writer.write(frame(2, b"after"))
        await reader.read()
        writer.close()

    emitted, _ = await dial(serve, "ws://127.0.0.1:{port}/", timeout=10.0, limit=LIMIT)

    opened, closed = emitted
    assert isinstance(opened, inputs.SocketOpened)
    assert isinstance(closed, inputs.SocketClosed)
    assert closed.code == 1002
