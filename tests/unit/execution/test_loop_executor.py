"""LoopExecutor: every request ends exactly once, whatever its function does."""

import asyncio
import contextvars
import json
from collections.abc import Awaitable, Callable

import pytest

from inngest_connect.core.inputs import AbortRequested, ExecutionFinished, FunctionMisbehaved
from inngest_connect.core.wire.messages import ExecutionResult
from inngest_connect.execution.executor import LOOP_CLOSED, ExecutorPorts
from inngest_connect.execution.loop_executor import STARTS_PER_TURN, LoopExecutor
from inngest_connect.protocol import connect_pb2 as pb

pytestmark = pytest.mark.unit
DONE = ExecutionResult(pb.SDKResponseStatus.DONE, b"1")


Happened = ExecutionFinished | FunctionMisbehaved | AbortRequested
RunRequest = Callable[[pb.GatewayExecutorRequestData], Awaitable[ExecutionResult]]


def make_executor(
    loop: asyncio.AbstractEventLoop,
    run: RunRequest,
    post: Callable[[Happened], None] = lambda _: None,
) -> LoopExecutor:
    return LoopExecutor(
        ExecutorPorts(
            loop=loop,
            run_request=run,
            can_cancel=lambda request: request.function_slug != "sync",
            post=post,
            observe=lambda _: None,
            functions={},
        )
    )


class Runner:
    """An executor on the running loop, and what it posted."""

    def __init__(self, run: RunRequest) -> None:
        self._finished: asyncio.Queue[ExecutionFinished] = asyncio.Queue()
        self.executor = make_executor(asyncio.get_running_loop(), run, self._post)

    def _post(self, happened: Happened) -> None:
        if isinstance(happened, ExecutionFinished):
            self._finished.put_nowait(happened)

    def submit(self, request_id: str, function_slug: str = "async") -> None:
        self.executor.submit(
            pb.GatewayExecutorRequestData(request_id=request_id, function_slug=function_slug)
        )
        self.executor.flush()

    async def finished(self) -> ExecutionFinished:
        return await asyncio.wait_for(self._finished.get(), 10)


async def test_a_result_is_posted() -> None:
    async def run(_: pb.GatewayExecutorRequestData) -> ExecutionResult:
        return DONE

    runner = Runner(run)
    runner.submit("r")

    assert await runner.finished() == ExecutionFinished("r", DONE)


@pytest.mark.scenario("N")
@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()]
)
async def test_whatever_is_raised_is_a_retryable_error_of_that_request(
    error: BaseException,
) -> None:
    """A function may even raise CancelledError by itself."""

    async def run(_: pb.GatewayExecutorRequestData) -> ExecutionResult:
        raise error

    runner = Runner(run)
    runner.submit("r")

    result = (await runner.finished()).result
    assert result is not None
    assert (result.status, result.no_retry) == (pb.SDKResponseStatus.ERROR, False)
    assert json.loads(result.body)["name"] == type(error).__name__


async def test_a_function_cancelled_before_its_first_step_has_no_result() -> None:
    async def run(_: pb.GatewayExecutorRequestData) -> ExecutionResult:
        await asyncio.Event().wait()
        return DONE

    runner = Runner(run)
    runner.submit("r")
    runner.executor.cancel("r")
    runner.executor.cancel("unknown")

    assert await runner.finished() == ExecutionFinished("r", None)


async def test_a_running_function_that_is_cancelled_has_no_result() -> None:
    started = asyncio.Event()

    async def run(_: pb.GatewayExecutorRequestData) -> ExecutionResult:
        started.set()
        await asyncio.Event().wait()
        return DONE

    runner = Runner(run)
    runner.submit("r")
    await started.wait()
    runner.executor.cancel("r")

    assert await runner.finished() == ExecutionFinished("r", None)


async def test_what_a_function_says_when_it_cancels_itself_is_in_its_error() -> None:
    async def run(_: pb.GatewayExecutorRequestData) -> ExecutionResult:
        raise asyncio.CancelledError("my own words")

    runner = Runner(run)
    runner.submit("r")

    result = (await runner.finished()).result
    assert result is not None
    assert json.loads(result.body)["message"] == "my own words"


async def test_a_function_that_resists_cancelling_runs_to_its_end() -> None:
    started, release = asyncio.Event(), asyncio.Event()

    async def run(_: pb.GatewayExecutorRequestData) -> ExecutionResult:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await release.wait()
        return DONE

    runner = Runner(run)
    runner.submit("r")
    await started.wait()
    await runner.executor.wait_stopped(0.01)
    release.set()

    assert (await runner.finished()).request_id == "r"


async def test_a_function_in_a_thread_runs_to_its_end_instead_of_cancelled() -> None:
    """It would run on in its thread, uncounted."""
    started, release = asyncio.Event(), asyncio.Event()

    async def run(_: pb.GatewayExecutorRequestData) -> ExecutionResult:
        started.set()
        await release.wait()
        return DONE

    runner = Runner(run)
    runner.submit("r", "sync")
    await started.wait()
    runner.executor.cancel("r")
    await asyncio.sleep(0)
    release.set()

    assert await runner.finished() == ExecutionFinished("r", DONE)


async def test_stopping_cancels_everything() -> None:
    async def run(_: pb.GatewayExecutorRequestData) -> ExecutionResult:
        await asyncio.Event().wait()
        return DONE

    runner = Runner(run)
    for request_id in "abc":
        runner.submit(request_id)
    await asyncio.sleep(0)
    await runner.executor.wait_stopped(1.0)

    assert {(await runner.finished()).request_id for _ in range(3)} == set("abc")


async def test_a_burst_starts_in_order_and_leaves_turns_to_others_on_the_loop() -> None:
    loop = asyncio.get_running_loop()
    happened: list[str] = []

    async def run(request: pb.GatewayExecutorRequestData) -> ExecutionResult:
        happened.append(request.request_id)
        return DONE

    def turn() -> None:
        happened.append("turn")
        if len(happened) < 100:
            loop.call_soon(turn)

    runner = Runner(run)
    for number in range(20):
        runner.submit(str(number))
    loop.call_soon(turn)
    for _ in range(20):
        await runner.finished()

    starts = [name for name in happened if name != "turn"]
    gaps = [len(part.split()) for part in " ".join(happened).split("turn")]
    assert starts == [str(number) for number in range(20)]
    assert max(gaps) == STARTS_PER_TURN


@pytest.mark.parametrize("slug", ["async", "sync"])
async def test_a_function_cancelled_while_it_waits_for_its_turn_never_starts(slug: str) -> None:
    started: list[str] = []

    async def run(request: pb.GatewayExecutorRequestData) -> ExecutionResult:
        started.append(request.request_id)
        return DONE

    runner = Runner(run)
    for number in range(20):
        runner.submit(str(number), slug)
    runner.executor.cancel("19")
    ended = [await runner.finished() for _ in range(20)]

    assert ExecutionFinished("19", None) in ended
    assert len(ended) == 20
    assert "19" not in started


async def test_stopping_forgets_none_of_those_that_wait_for_their_turn() -> None:
    async def run(_: pb.GatewayExecutorRequestData) -> ExecutionResult:
        await asyncio.Event().wait()
        return DONE

    runner = Runner(run)
    for number in range(20):
        runner.submit(str(number))
    await asyncio.sleep(0)
    await runner.executor.wait_stopped(1.0)

    assert {(await runner.finished()).request_id for _ in range(20)} == set(map(str, range(20)))


async def test_functions_see_the_context_of_the_start_and_not_each_others() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("from start")
    seen: list[str] = []

    async def run(request: pb.GatewayExecutorRequestData) -> ExecutionResult:
        seen.append(variable.get())
        variable.set(request.request_id)
        return DONE

    runner = Runner(run)
    for request_id in "ab":
        runner.submit(request_id)
        await runner.finished()

    assert seen == ["from start", "from start"]


def test_a_closed_loop_aborts_the_worker() -> None:
    loop = asyncio.new_event_loop()
    posted: list[Happened] = []

    async def run(_: pb.GatewayExecutorRequestData) -> ExecutionResult:
        return DONE

    executor = make_executor(loop, run, post=posted.append)
    before = executor.failure()
    loop.close()
    executor.submit(pb.GatewayExecutorRequestData(request_id="r"))
    executor.flush()

    assert (before, executor.failure()) == (None, LOOP_CLOSED)
    assert posted == [AbortRequested(LOOP_CLOSED)]


async def test_nothing_starts_before_the_batch_was_handed_over() -> None:
    started: list[str] = []

    async def run(request: pb.GatewayExecutorRequestData) -> ExecutionResult:
        started.append(request.request_id)
        return DONE

    runner = Runner(run)
    for request_id in ("a", "b"):
        runner.executor.submit(pb.GatewayExecutorRequestData(request_id=request_id))
    for _ in range(5):
        await asyncio.sleep(0)
    assert started == []

    runner.executor.flush()
    await runner.finished()
    await runner.finished()

    assert started == ["a", "b"]


async def test_a_cancelling_amid_a_burst_does_not_hurry_the_burst() -> None:
    started: list[str] = []

    async def run(request: pb.GatewayExecutorRequestData) -> ExecutionResult:
        started.append(request.request_id)
        await asyncio.Event().wait()
        return DONE

    runner = Runner(run)
    ids = [str(number) for number in range(3 * STARTS_PER_TURN)]
    for request_id in ids:
        runner.executor.submit(pb.GatewayExecutorRequestData(request_id=request_id))
    runner.executor.flush()
    await asyncio.sleep(0)
    runner.executor.cancel(ids[-1])

    assert await runner.finished() == ExecutionFinished(ids[-1], None)
    await runner.executor.wait_stopped(10)
    assert started == ids[: len(started)]


@pytest.mark.parametrize("error", [TypeError("no context"), SystemExit(3)])
async def test_a_task_factory_that_raises_is_an_error_of_that_request(
    error: BaseException,
) -> None:
    async def run(_: pb.GatewayExecutorRequestData) -> ExecutionResult:
        return DONE

    def factory(*_: object) -> "asyncio.Task[object]":
        raise error

    loop = asyncio.get_running_loop()
    runner = Runner(run)
    before = loop.get_task_factory()
    loop.set_task_factory(factory)  # type: ignore[arg-type]
    try:
        runner.executor.submit(pb.GatewayExecutorRequestData(request_id="r"))
        runner.executor._work.drain()
    finally:
        loop.set_task_factory(before)

    result = (await runner.finished()).result
    assert result is not None
    assert json.loads(result.body)["name"] == type(error).__name__


async def test_a_task_factory_without_a_context_gets_that_of_the_start() -> None:
    seen: list[str] = []
    variable = contextvars.ContextVar("variable", default="none")
    variable.set("of the start")

    async def run(_: pb.GatewayExecutorRequestData) -> ExecutionResult:
        seen.append(variable.get())
        variable.set("of a function")
        return DONE

    def factory(loop: asyncio.AbstractEventLoop, work: object) -> "asyncio.Task[object]":
        return asyncio.Task(work, loop=loop)  # type: ignore[arg-type]

    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    loop.set_task_factory(factory)  # type: ignore[arg-type]
    try:
        runner = Runner(run)
        variable.set("of the caller")
        for name in ("one", "two"):
            runner.submit(name)
            await runner.finished()
    finally:
        loop.set_task_factory(before)

    assert seen == ["of the start", "of the start"]


class Endless:
    """Functions that wait until they are cancelled."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[object]] = []
        self.started = asyncio.Event()

    async def __call__(self, _: pb.GatewayExecutorRequestData) -> ExecutionResult:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        self.started.set()
        await asyncio.Event().wait()
        return DONE


async def test_a_request_that_is_repeated_is_not_taken_for_the_one_that_was_cancelled() -> None:
    functions = Endless()
    runner = Runner(functions)
    runner.submit("r")
    await functions.started.wait()
    runner.executor.cancel("r")
    first = await runner.finished()
    functions.started.clear()
    runner.submit("r")
    await functions.started.wait()
    functions.tasks[-1].cancel()  # by other code on the loop
    second = await runner.finished()

    assert first.result is None
    assert second.result is not None


async def test_a_request_that_is_cancelled_after_other_code_did_so_has_no_result() -> None:
    functions = Endless()
    runner = Runner(functions)
    runner.submit("r")
    await functions.started.wait()
    functions.tasks[0].cancel()
    await asyncio.wait(functions.tasks)
    runner.executor.cancel("r")

    assert await runner.finished() == ExecutionFinished("r", None)
