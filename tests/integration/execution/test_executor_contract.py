"""What every executor promises, whatever it runs functions on."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from inngest_connect.execution.executor import ExecutorFactory
from inngest_connect.execution.loop_executor import LoopExecutor
from inngest_connect.execution.processes.executor import process_executor
from inngest_connect.protocol import connect_pb2 as pb
from tests.integration.execution.running import TARGET, Running, running, until

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
_S = pb.SDKResponseStatus
FACTORIES: dict[str, ExecutorFactory] = {
    "loop": LoopExecutor,
    "process": process_executor(TARGET, 2, stop_timeout=1.0),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=list(FACTORIES))
async def run(request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    """One executor for all tests of this module, since processes are slow to start."""
    async with running(FACTORIES[request.param]) as made:
        yield made


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {"started": tmp_path / "started", "release": tmp_path / "release"}


def data(files: dict[str, Path]) -> dict[str, Any]:
    return {name: str(path) for name, path in files.items()}


async def test_every_request_ends_once_with_its_own_result(run: Running) -> None:
    calls = {}
    for number in range(60):
        function = "echo" if number % 3 else "echo_in_thread"
        calls[run.submit(function, number=number)] = number
    run.executor.flush()

    for request_id, number in calls.items():
        result = await run.ended(request_id)
        assert result is not None
        assert (result.status, json.loads(result.body)) == (_S.DONE, {"number": number})
        assert result.sdk_version.startswith("inngest-py:v")


@pytest.mark.parametrize(("function", "name"), [("raises", "ValueError"), ("exits", "SystemExit")])
async def test_what_a_function_raises_is_a_retryable_error(
    run: Running, function: str, name: str
) -> None:
    result = await run.result(function)

    assert (result.status, result.no_retry) == (_S.ERROR, False)
    assert json.loads(result.body)["name"] == name


async def test_an_async_function_is_cancelled(run: Running, files: dict[str, Path]) -> None:
    request_id = run.call("waits", **data(files))
    await until(files["started"].exists)
    run.executor.cancel(request_id)

    assert await run.ended(request_id) is None


async def test_a_function_in_a_thread_runs_to_its_end(run: Running, files: dict[str, Path]) -> None:
    request_id = run.call("waits_in_thread", **data(files))
    await until(files["started"].exists)
    run.executor.cancel(request_id)
    await run.result("echo")  # the wish to cancel has arrived
    files["release"].touch()
    result = await run.ended(request_id)

    assert result is not None
    assert json.loads(result.body) == "released"


async def test_what_is_cancelled_before_it_starts_never_does(
    run: Running, files: dict[str, Path]
) -> None:
    request_id = run.submit("waits", **data(files))
    run.executor.cancel(request_id)
    run.executor.flush()

    assert await run.ended(request_id) is None
    assert not files["started"].exists()


async def test_cancelling_what_is_unknown_or_over_does_nothing(run: Running) -> None:
    over = run.call("echo")
    await run.ended(over)
    run.executor.cancel(over)
    run.executor.cancel("unknown")
    await run.result("echo")

    assert len(run.results[over]) == 1
    assert run.executor.failure() is None


async def test_a_large_request_and_a_large_result_pass(run: Running) -> None:
    text = "x" * 3_000_000
    result = await run.result("echo", text=text)

    assert json.loads(result.body) == {"text": text}


@pytest.mark.parametrize("name", list(FACTORIES))
async def test_stopping_ends_whatever_was_submitted(name: str, tmp_path: Path) -> None:
    release = str(tmp_path / "never")
    factories = {**FACTORIES, "process": process_executor(TARGET, 1, stop_timeout=1.0)}
    async with running(factories[name]) as run:
        started = [tmp_path / str(number) for number in range(3)]
        calls = [run.call("waits", started=str(path), release=release) for path in started]
        for path in started:
            await until(path.exists)
        calls.append(run.submit("echo"))

    assert [await run.ended(request_id) for request_id in calls[:3]] == [None] * 3
