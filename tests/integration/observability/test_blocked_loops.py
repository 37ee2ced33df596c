"""A function that blocks its event loop is named while it does, wherever it runs."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import inngest
import pytest

from inngest_connect import ErrorOccurred, connect, process_executor
from inngest_connect.execution import blocked_loop
from inngest_connect.options import Isolation
from inngest_connect.testing import EmbeddedGateway, GatewayThread
from tests.integration.demo_apps import make_client
from tests.integration.execution import process_apps
from tests.integration.execution.running import TARGET
from tests.integration.observability.excerpts import Log

pytestmark = pytest.mark.integration


@pytest.fixture
async def log() -> Log:
    return Log()


def logger_with(log: Log) -> logging.Logger:
    logger = logging.Logger("inngest_connect", logging.INFO)
    logger.addHandler(log)
    return logger


def reported(log: Log, kind: str) -> list[dict[str, Any]]:
    return [vars(record) for record in log.records if vars(record).get("kind") == kind]


def until(condition: Callable[[], object]) -> None:
    """Blocks this event loop."""
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


@pytest.mark.parametrize("isolation", ["thread", "none"])
async def test_it_is_logged_while_it_lasts_and_when_it_is_over(
    isolation: Isolation, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked_loop, "BLOCKED_AFTER", 1.0)
    async with EmbeddedGateway() as gateway:
        client = make_client(gateway.api_origin)

        @client.create_function(fn_id="blocks", trigger=inngest.TriggerEvent(event="b"))
        async def blocks(ctx: inngest.Context) -> None:
            until(lambda: reported(log, "loop_blocked"))

        apps = [(client, [blocks])]
        async with connect(apps, isolation=isolation, logger=logger_with(log), wait=True):
            run = await gateway.invoke("app-blocks")
            await log.until("loop_free")

    (blocked,) = reported(log, "loop_blocked")
    assert (blocked["function_slug"], blocked["run_id"]) == ("app-blocks", run.run_id)
    assert (blocked["levelname"], "in until" in blocked["detail"]) == ("WARNING", True)
    assert "in blocks" in blocked["exception"]
    assert "asyncio" not in blocked["exception"]


def test_it_is_named_on_a_loop_that_is_not_on_the_main_thread(
    gateway_thread: GatewayThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked_loop, "BLOCKED_AFTER", 1.0)
    client = make_client(gateway_thread.api_origin)
    blocked: list[ErrorOccurred] = []

    @client.create_function(fn_id="blocks", trigger=inngest.TriggerEvent(event="b"))
    async def blocks(ctx: inngest.Context) -> None:
        until(lambda: blocked)

    def note(event: Any) -> None:
        if isinstance(event, ErrorOccurred) and event.kind == "loop_blocked":
            blocked.append(event)

    worker = connect([(client, [blocks])], logger=False)
    worker.add_observer(note)
    thread = threading.Thread(target=worker.run)
    thread.start()
    gateway_thread.invoke("app-blocks")
    worker.close_sync()
    thread.join(30)

    assert blocked[0].function_slug == "app-blocks"
    assert "in until" in blocked[0].message


async def test_a_child_process_reports_its_own(log: Log) -> None:
    async with EmbeddedGateway(lease=30.0) as gateway:
        client = make_client(gateway.api_origin, process_apps.APP)
        apps = [(client, process_apps.functions)]
        executor = process_executor(TARGET, 1)
        async with connect(apps, executor=executor, logger=logger_with(log), wait=True):
            blocking = asyncio.create_task(gateway.invoke("app-blocks", {"data": {"seconds": 8}}))
            await log.until("loop_blocked")
            during = not blocking.done()
            await blocking
            await log.until("loop_free")

    (blocked,) = reported(log, "loop_blocked")
    assert during
    assert blocked["function_slug"] == "app-blocks"
    assert blocked["detail"].startswith("child process ")
    assert blocked["exception"].endswith("in blocks")
