"""A gateway that ends every connection right after READY is not called without a pause."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from inngest_connect.protocol import START_PATH
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import MockHTTPServer, MockWebSocketServer
from inngest_connect.testing.mock_connection import MockConnection
from tests.field.one_function import worker_of

K = pb.GatewayMessageType
pytestmark = pytest.mark.field

LIMIT = 15.0


def aborts(gateway: MockWebSocketServer, connection: MockConnection) -> None:
    gateway.simulate_connection_drop(connection=connection)


def drains(gateway: MockWebSocketServer, connection: MockConnection) -> None:
    gateway.send_draining_message(connection=connection)


def closes(gateway: MockWebSocketServer, connection: MockConnection) -> None:
    gateway.close_connection(1000, connection=connection)


def goes_away(gateway: MockWebSocketServer, connection: MockConnection) -> None:
    gateway.close_connection(1001, "connect_gateway_closing", connection=connection)


@asynccontextmanager
async def running_worker(api: MockHTTPServer, isolation: str) -> AsyncIterator[None]:
    worker = worker_of(api.origin, isolation=isolation)
    running = asyncio.create_task(worker.start())
    try:
        yield
    finally:
        await asyncio.wait_for(worker.close(), LIMIT)
        await asyncio.wait_for(running, LIMIT)


async def becomes_ready(
    gateway: MockWebSocketServer, number: int, heartbeat: str
) -> MockConnection:
    message = await gateway.wait_for_message(K.WORKER_CONNECT, number, timeout=LIMIT)
    gateway.send_connection_ready(heartbeat_interval=heartbeat, connection=message.connection)
    await gateway.wait_for_message(K.WORKER_READY, number, timeout=LIMIT)
    return message.connection


@pytest.mark.scenario("W")
@pytest.mark.parametrize("isolation", ["thread", "none"])
@pytest.mark.parametrize("end", [aborts, drains, closes, goes_away])
async def test_young_connections_follow_the_schedule(
    end: Callable[[MockWebSocketServer, MockConnection], None], isolation: str
) -> None:
    """The second one that dies young is replaced after 1 s, less 50 % of jitter."""
    async with MockHTTPServer() as api, MockWebSocketServer(greet=True) as gateway:
        api.add_gateway("g", gateway.url)
        async with running_worker(api, isolation):
            for number in (1, 2):
                connection = await becomes_ready(gateway, number, "10s")
                ended_at = time.monotonic()
                end(gateway, connection)
            await gateway.wait_for_message(K.WORKER_CONNECT, 3, timeout=LIMIT)
            waited = time.monotonic() - ended_at

        assert waited >= 0.49
        assert len(api.get_request_history(START_PATH)) == 3
