"""What surrounds an execution is entered before it, and left after it whatever happens."""

import asyncio
import contextlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from inngest_connect.core.wire.messages import ExecutionResult
from inngest_connect.execution.context import ExecutionContextFailed, ExecutionContexts
from inngest_connect.execution.user_exits import Origin, current_function
from inngest_connect.protocol import connect_pb2 as pb

pytestmark = pytest.mark.unit
RESULT = ExecutionResult(pb.SDKResponseStatus.DONE, b"1")


@pytest.fixture(autouse=True)
def no_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sentry_sdk", "django.apps"):
        monkeypatch.delitem(sys.modules, name, raising=False)


async def function() -> ExecutionResult:
    return RESULT


async def test_an_execution_without_surroundings_is_not_wrapped() -> None:
    running = function()

    assert ExecutionContexts().around(running) is running
    await running


async def test_a_cancellation_reaches_the_context_and_cannot_be_suppressed_by_it() -> None:
    seen: list[type[BaseException] | None] = []

    class Suppresses:
        def __enter__(self) -> None: ...

        def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
            seen.append(kind)
            return True

    running: Any = asyncio.Event().wait()
    task = asyncio.create_task(ExecutionContexts(Suppresses).around(running))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [asyncio.CancelledError]


@pytest.mark.parametrize("raises", [False, True])
async def test_contexts_are_left_in_the_reverse_order_of_their_beginning(
    raises: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    @contextlib.contextmanager
    def context(name: str) -> Iterator[None]:
        order.append(f"enter {name}")
        try:
            yield
        finally:
            order.append(f"leave {name}")

    async def run() -> ExecutionResult:
        if raises:
            raise ValueError
        return RESULT

    sentry: Any = types.ModuleType("sentry_sdk")
    sentry.isolation_scope = lambda: context("outer")
    sentry.is_initialized = lambda: True
    monkeypatch.setitem(sys.modules, "sentry_sdk", sentry)

    with contextlib.suppress(ValueError):
        await ExecutionContexts(lambda: context("inner")).around(run())

    assert order == ["enter outer", "enter inner", "leave inner", "leave outer"]


def returns_something_else() -> Any:
    return "not one"


@contextlib.contextmanager
def exits() -> Iterator[None]:
    sys.exit(3)
    yield


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        (returns_something_else, "returns_something_else raised TypeError: "),
        (exits, "exits raised SystemExit: 3"),
    ],
)
async def test_a_context_that_cannot_be_entered_is_named_and_the_function_not_called(
    hook: Any, text: str
) -> None:
    with pytest.raises(ExecutionContextFailed) as caught:
        # That the coroutine is closed, too, pytest would say: a warning is an error.
        await ExecutionContexts(hook).around(function())

    assert text in str(caught.value)
    assert "so the function was not called" in str(caught.value)


async def test_what_is_raised_on_leaving_is_reported_with_the_request() -> None:
    @contextlib.contextmanager
    def leaves_badly() -> Iterator[None]:
        yield
        sys.exit(3)

    reported: list[Any] = []
    current_function.set(Origin("request", "run", "function", reported.append))

    result = await ExecutionContexts(leaves_badly).around(function())

    assert result is RESULT
    (report,) = reported
    assert report.request_id == "request"
    assert "leaves_badly raised SystemExit: 3 after the function" in report.text
