"""The main scenarios against an official Inngest server: ``make test-real``."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inngest_connect import ConnectionState, connect
from inngest_connect.core.wire import messages
from inngest_connect.protocol import connect_pb2 as pb
from tests.real_server.server import Server, the_server
from tests.real_server.shop import LARGE, Shop

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(600)]
LEASES = 75.0
"""Seconds of a function that needs several extensions: the server asks for one every 30 s."""


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async for each in the_server():
        yield each


@pytest.fixture
def shop(server: Server) -> Shop:
    return Shop(server.url, f"shop-{secrets.token_hex(3)}")


@contextlib.asynccontextmanager
async def working(*shops: Shop, **options: Any) -> AsyncIterator[Any]:
    apps = [(shop.client, shop.functions) for shop in shops]
    async with connect(apps, wait=True, **options) as worker:
        yield worker


async def ended(server: Server, shop: Shop, name: str, /, **data: Any) -> dict[str, Any]:
    """Send an event, and return the run of the function that it triggers."""
    await server.send(shop.event(name), data)
    return await server.run(await shop.run_of(name))


async def test_runs_of_several_apps_with_steps_in_sequence_and_in_parallel(
    server: Server, shop: Shop
) -> None:
    other = Shop(server.url, f"{shop.name}-other")
    async with working(shop, other):
        hello = await ended(server, shop, "hello", name="Ada")
        elsewhere = await ended(server, other, "hello", name="Bob")
        steps = await ended(server, shop, "steps")

    assert (hello["status"], hello["output"]) == ("Completed", "hello Ada")
    assert (elsewhere["status"], elsewhere["output"]) == ("Completed", "hello Bob")
    assert (steps["status"], steps["output"]) == ("Completed", [1, 2, 3])


async def test_retries_and_on_failure(server: Server, shop: Shop) -> None:
    async with working(shop):
        await server.send(shop.event("flaky"))
        flaky = await server.run(await shop.run_of("flaky", 2))
        broken = await ended(server, shop, "broken")
        await shop.run_of("on_failure")

    assert (flaky["status"], flaky["output"]) == ("Completed", "attempt 1")
    assert broken["status"] == "Failed"
    assert shop.failures == ["this never works"]


async def test_a_large_output(server: Server, shop: Shop) -> None:
    async with working(shop):
        large = await ended(server, shop, "large")

    assert large["status"] == "Completed"
    assert large["output"] == "x" * LARGE


@pytest.mark.parametrize("name", ["long", "blocking"])
async def test_a_function_that_needs_several_extensions(
    server: Server, shop: Shop, name: str
) -> None:
    async with working(shop) as worker:
        run = await ended(server, shop, name, seconds=LEASES)
        extensions = worker.get_debug_state().counters["lease_extensions"]

    assert run["status"] == "Completed"
    assert len(shop.seen[name]) == 1
    assert extensions >= 2


async def test_two_workers_share_the_work(server: Server, shop: Shop) -> None:
    async with working(shop, instance_id="one") as one, working(shop, instance_id="two") as two:
        for _ in range(40):
            await server.send(shop.event("hello"), {"name": "Ada"})
        await shop.run_of("hello", 40)
        received = [w.get_debug_state().counters["requests_received"] for w in (one, two)]

    assert sum(received) == 40
    assert len(set(shop.seen["hello"])) == 40


async def test_sigterm_lets_work_in_flight_finish(server: Server, shop: Shop) -> None:
    async with working(shop) as worker:
        await server.send(shop.event("long"), {"seconds": 5})
        run_id = await shop.run_of("long")
        await worker.close(wait=True)
        run = await server.run(run_id)

    assert (run["status"], run["output"]) == ("Completed", "attempt 0")


async def test_a_restarted_server_costs_no_run(server: Server, shop: Shop) -> None:
    if not server.is_ours:
        pytest.skip("only a server of INNGEST_BIN can be restarted")
    async with working(shop) as worker:
        await server.stop()
        await server.start()
        await worker.wait_for_state(ConnectionState.ACTIVE)
        hello = await ended(server, shop, "hello", name="Ada")

    assert (hello["status"], hello["output"]) == ("Completed", "hello Ada")


async def test_an_outage_ends_by_itself(server: Server, shop: Shop) -> None:
    if not server.is_ours:
        pytest.skip("only a server of INNGEST_BIN can be killed")
    async with working(shop) as worker:
        await server.stop(signal.SIGKILL)
        await asyncio.sleep(10)
        assert worker.state is not ConnectionState.ACTIVE
        await server.start()
        await worker.wait_for_state(ConnectionState.ACTIVE)
        hello = await ended(server, shop, "hello", name="Ada")

    assert hello["status"] == "Completed"


async def test_a_flush_is_answered_with_its_request_id(server: Server) -> None:
    request = pb.GatewayExecutorRequestData(
        request_id="01JZZZZZZZZZZZZZZZZZZZZZZZ", system_trace_ctx=b"{}", run_id="run"
    )
    reply = messages.reply_payload(request, messages.error_result("late", "nobody waits for it"))

    answer = await server.flush(reply)

    assert answer.request_id == "01JZZZZZZZZZZZZZZZZZZZZZZZ"


WORKER = """
import asyncio, sys
from inngest_connect import connect
from tests.real_server.shop import Shop

async def main():
    shop = Shop(sys.argv[1], sys.argv[2])
    told = asyncio.create_task(tell(shop))
    on = {"connected": lambda event: print("connected", flush=True)}
    await connect([(shop.client, shop.functions)], journal=sys.argv[3], on=on).start()

async def tell(shop):
    for count in range(1, 10):
        print(await shop.run_of("long", count, 600), flush=True)

asyncio.run(main())
"""


def worker_process(server: Server, shop: Shop, journal: Path) -> "subprocess.Popen[str]":
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, server.url, shop.name, str(journal)],
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"},
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
    )


def journal_of(path: Path) -> str:
    """What the command shows of a journal: an acknowledged request is there after milliseconds."""
    command = [sys.executable, "-m", "inngest_connect.cli", "journal", str(path), "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def test_after_a_kill_the_next_process_has_the_run_go_on(
    server: Server, shop: Shop, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    with worker_process(server, shop, tmp_path / "journal") as first:
        assert first.stdout is not None
        assert await asyncio.to_thread(first.stdout.readline) == "connected\n"
        await server.send(shop.event("long"), {"seconds": 20})
        run_id = (await asyncio.to_thread(first.stdout.readline)).strip()
        while run_id not in await asyncio.to_thread(journal_of, tmp_path / "journal"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        first.kill()
    killed_at = loop.time()
    with worker_process(server, shop, tmp_path / "journal") as second:
        assert second.stdout is not None
        assert await asyncio.to_thread(second.stdout.readline) == "connected\n"
        again = (await asyncio.to_thread(second.stdout.readline)).strip()
        seconds = loop.time() - killed_at
        run = await server.run(run_id)
        second.send_signal(signal.SIGTERM)

    print(f"the second attempt began {seconds:.1f} s after SIGKILL")  # noqa: T201 - a figure
    assert again == run_id
    assert (run["status"], run["output"]) == ("Completed", "attempt 1")
    assert seconds < 30, "without the journal it is two minutes"
