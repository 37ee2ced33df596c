"""What the SDK lets through ends the same way with both paths, as the executor reports it."""

import asyncio
import json
from typing import Any

import inngest
import pytest

from inngest_connect.core.inputs import ExecutionFinished, FunctionMisbehaved
from inngest_connect.execution.executor import ExecutorPorts
from inngest_connect.execution.loop_executor import LoopExecutor
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.sdk.adapter import SdkApp
from tests.unit.sdk.both_paths import BothPaths, request

pytestmark = pytest.mark.integration


def make_functions(client: inngest.Inngest, middleware: Any) -> list[inngest.Function[Any]]:
    trigger = inngest.TriggerEvent(event="x")

    def made(name: str, handler: Any) -> inngest.Function[Any]:
        function: inngest.Function[Any] = client.create_function(fn_id=name, trigger=trigger)(
            handler
        )
        return function

    def fails(error: BaseException) -> Any:
        raise error

    async def exits(ctx: inngest.Context) -> None:
        fails(SystemExit(3))

    async def exits_in_a_step(ctx: inngest.Context) -> None:
        await ctx.step.run("a", fails, SystemExit(4))

    async def exits_in_a_task(ctx: inngest.Context) -> None:
        async def inner() -> None:
            fails(SystemExit(5))

        await asyncio.create_task(inner())

    def exits_in_a_thread(ctx: inngest.ContextSync) -> None:
        fails(SystemExit(6))

    async def raises_cancelled(ctx: inngest.Context) -> None:
        fails(asyncio.CancelledError("itself"))

    async def goes_on(ctx: inngest.Context) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "went on"
        return "was not cancelled"

    async def times_out(ctx: inngest.Context) -> None:
        async with asyncio.timeout(0):
            await asyncio.sleep(60)

    async def cancels_itself(ctx: inngest.Context) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)

    functions = {
        "exits": exits, "step": exits_in_a_step, "task": exits_in_a_task,
        "thread": exits_in_a_thread, "raises": raises_cancelled, "goes-on": goes_on,
        "times-out": times_out, "cancels-itself": cancels_itself,
    }  # fmt: skip
    return [made(name, handler) for name, handler in functions.items()]


async def reported(app: SdkApp, slug: str) -> dict[str, Any]:
    """The result without the stack, which has frames of the path, and the warnings."""
    ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    warnings: list[str] = []

    def post(happened: object) -> None:
        match happened:
            case ExecutionFinished():
                ended.set_result(happened.result)
            case FunctionMisbehaved():
                warnings.append(happened.text)

    executor = LoopExecutor(
        ExecutorPorts(
            loop=asyncio.get_running_loop(),
            run_request=app.run,
            can_cancel=lambda request: True,
            post=post,
            observe=lambda event: None,
            functions={},
        )
    )
    executor.submit(request((), slug))
    executor.flush()
    result = await asyncio.wait_for(ended, 20)
    await executor.wait_stopped(1)
    body = json.loads(result.body)
    if isinstance(body, dict):
        body.pop("stack")
    return {"status": result.status, "body": body, "warnings": warnings}


@pytest.mark.parametrize(
    "name", ["exits", "step", "task", "thread", "raises", "goes-on", "times-out"]
)
async def test_exits_and_cancellations_of_a_function(name: str) -> None:
    paths = BothPaths(make=make_functions)

    expected = await reported(paths.plain.app, f"app-{name}")
    found = await reported(paths.fast.app, f"app-{name}")

    assert found == expected
    assert paths.was_fast


async def test_a_function_that_cancels_its_own_task_fails() -> None:
    """The texts differ: the fast path has no second task that only the function knows."""
    paths = BothPaths(make=make_functions)

    for path in (paths.plain, paths.fast):
        found = await reported(path.app, "app-cancels-itself")
        assert found["status"] == pb.SDKResponseStatus.ERROR
        assert found["body"]["name"] == "CancelledError"
