"""A signal while the worker is still connecting ends it soon, whatever the peer does not answer."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import inngest
import pytest

from inngest_connect import ConnectionState, connect
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import EmbeddedGateway

pytestmark = pytest.mark.field
LIMIT = 10.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _server(serve: Serve) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[Any]] = set()

    async def serve_until_the_end(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve_until_the_end, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _silent(reached: asyncio.Event) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        reached.set()
        await asyncio.Event().wait()

    return serve


def _trickling(reached: asyncio.Event) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        reached.set()
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)

    return serve


def _answering(gateway_port: int) -> Serve:
    answer = pb.StartResponse(
        connection_id="01ARZ3NDEKTSV4RRFFQ69G5FAV",
        gateway_endpoint=f"ws://127.0.0.1:{gateway_port}/v0/connect",
        gateway_group="g",
        session_token="the-session-token",
        sync_token="the-sync-token",
    ).SerializeToString()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n".encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head + answer)
            await writer.drain()

    return serve


async def _ends(port: int, reached: asyncio.Event, isolation: Literal["thread", "none"]) -> None:
    client = inngest.Inngest(
        app_id="app", api_base_url=f"http://127.0.0.1:{port}", is_production=False
    )

    @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="e"))
    async def function(ctx: inngest.Context) -> int:
        return 1

    worker = connect(
        [(client, [function])],
        shutdown_signals=[signal.SIGUSR1],
        isolation=isolation,
        logger=False,
    )
    running = asyncio.create_task(worker.start())
    await asyncio.wait_for(reached.wait(), LIMIT)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(running, LIMIT)
    assert worker.state is ConnectionState.CLOSED


@pytest.mark.scenario("T")
@pytest.mark.parametrize("isolation", ["thread", "none"])
@pytest.mark.parametrize("peer", [_silent, _trickling])
async def test_while_the_api_does_not_answer(
    peer: Callable[[asyncio.Event], Serve], isolation: Literal["thread", "none"]
) -> None:
    reached = asyncio.Event()
    async with _server(peer(reached)) as port:
        await _ends(port, reached, isolation)


@pytest.mark.scenario("T")
@pytest.mark.parametrize("isolation", ["thread", "none"])
async def test_while_the_gateway_does_not_answer_the_upgrade(
    isolation: Literal["thread", "none"],
) -> None:
    reached = asyncio.Event()
    async with (
        _server(_silent(reached)) as gateway_port,
        _server(_answering(gateway_port)) as port,
    ):
        await _ends(port, reached, isolation)


@pytest.mark.scenario("39")
async def test_during_a_drain() -> None:
    async with EmbeddedGateway() as gateway:
        client = gateway.client("app")

        @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="e"), retries=0)
        async def function(ctx: inngest.Context) -> str:
            started.set()
            await finish.wait()
            return "finished"

        started, finish, draining = asyncio.Event(), asyncio.Event(), asyncio.Event()
        worker = connect([(client, [function])], shutdown_signals=[signal.SIGUSR1], logger=False)
        worker.add_event_listener("draining", lambda _: draining.set())
        running = asyncio.create_task(worker.start())
        await worker.wait_for_state(ConnectionState.ACTIVE)
        invoked = asyncio.create_task(gateway.invoke(function))
        await asyncio.wait_for(started.wait(), LIMIT)
        await gateway.drain()
        await asyncio.wait_for(draining.wait(), LIMIT)
        os.kill(os.getpid(), signal.SIGUSR1)
        finish.set()
        result = await asyncio.wait_for(invoked, LIMIT)
        await asyncio.wait_for(running, LIMIT)

    assert result.output == "finished"
