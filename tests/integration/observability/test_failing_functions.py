"""Why a function failed is in the log, whatever runs it: a loop, a thread or a child process."""

import asyncio
import logging
from typing import Any

import inngest
import pytest

from inngest_connect import FunctionFailed, connect, process_executor
from inngest_connect.options import Isolation
from inngest_connect.testing import EmbeddedGateway
from tests.integration.demo_apps import make_client
from tests.integration.execution import process_apps
from tests.integration.execution.running import TARGET
from tests.integration.observability.excerpts import Log

pytestmark = pytest.mark.integration


def failing_functions(client: inngest.Inngest) -> list[inngest.Function[Any]]:
    def function(fn_id: str) -> Any:
        trigger = inngest.TriggerEvent(event=f"test/{fn_id}")
        return client.create_function(fn_id=fn_id, trigger=trigger, retries=1)

    @function("on-the-loop")
    async def on_the_loop(ctx: inngest.Context) -> None:
        raise ValueError("no card\nfor Ada")

    @function("in-a-thread")
    def in_a_thread(ctx: inngest.ContextSync) -> None:
        raise KeyError("price")

    @function("in-a-step")
    async def in_a_step(ctx: inngest.Context) -> None:
        async def charge() -> None:
            raise RuntimeError("declined")

        await ctx.step.run("charge", charge)

    return [on_the_loop, in_a_thread, in_a_step]


def logger_with(log: Log) -> logging.Logger:
    logger = logging.Logger("inngest_connect", logging.INFO)
    logger.addHandler(log)
    return logger


@pytest.mark.parametrize("isolation", ["thread", "none"])
async def test_it_is_logged_with_run_attempt_and_traceback(isolation: Isolation) -> None:
    log = Log()
    async with EmbeddedGateway(retry_delay=0.0) as gateway:
        client = make_client(gateway.api_origin)
        apps = [(client, failing_functions(client))]
        received: list[FunctionFailed] = []
        errors: list[Any] = []
        listeners = {
            "function_failed": received.append,
            "request_completed": lambda event: errors.append(event.error),
        }
        async with connect(
            apps, isolation=isolation, logger=logger_with(log), on=listeners, wait=True
        ):
            runs = [await gateway.invoke(f"app-{each}") for each in ("on-the-loop", "in-a-thread")]
            runs.append(await gateway.invoke("app-in-a-step"))
            await log.until("function_failed", 5)

    failed = [vars(record) for record in log.records if "function_failed" in record.getMessage()]
    assert [(f["function_slug"], f["error"], f.get("step"), f["attempt"]) for f in failed[:5]] == [
        ("app-on-the-loop", "ValueError: no card", None, 0),
        ("app-on-the-loop", "ValueError: no card", None, 1),
        ("app-in-a-thread", "KeyError: 'price'", None, 0),
        ("app-in-a-thread", "KeyError: 'price'", None, 1),
        ("app-in-a-step", "RuntimeError: declined", "charge", 0),
    ]
    assert {f["levelname"] for f in failed} == {"WARNING"}
    assert failed[0]["run_id"] == runs[0].run_id
    assert "in on_the_loop" in failed[0]["exception"]
    assert failed[0]["exception"].endswith("ValueError: no card\nfor Ada")
    assert "in charge" in failed[4]["exception"]
    assert "ValueError: no card" in errors
    assert received[0].stack == failed[0]["exception"]


async def test_it_is_logged_of_a_child_process_too() -> None:
    log = Log()
    async with EmbeddedGateway() as gateway:
        client = make_client(gateway.api_origin, process_apps.APP)
        executor = process_executor(TARGET, 1)
        apps = [(client, process_apps.functions)]
        async with connect(apps, executor=executor, logger=logger_with(log), wait=True):
            await gateway.invoke("app-raises")
            await gateway.invoke("app-dies", {"data": {"code": 3}})
            async with asyncio.timeout(20):
                await log.until("function_failed", 2)

    failed = [vars(record) for record in log.records if "function_failed" in record.getMessage()]
    assert [f["error"] for f in failed] == [
        "ValueError: no",
        "ConnectError: the process that ran this function exited with code 3",
    ]
    assert "in raises" in failed[0]["exception"]
