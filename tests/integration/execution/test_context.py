"""No execution sees what another one sets, and all see what the program has set."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import sentry_sdk
from opentelemetry import baggage

from inngest_connect import (
    ConfigurationError,
    ErrorOccurred,
    FunctionFailed,
    connect,
    process_executor,
)
from inngest_connect.testing import EmbeddedGateway
from tests.integration.execution import context_apps as shop

pytestmark = pytest.mark.integration
LIMIT = 30.0
PREFIX = shop.__name__


@pytest.fixture(autouse=True)
def sentry() -> Iterator[None]:
    shop.start_sentry()
    shop.EVENTS.clear()
    shop.LEFT.clear()
    yield
    sentry_sdk.Scope.get_global_scope().set_client(None)


@pytest.fixture(params=["loop", "none", "children"])
def where(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """On the event loop, or in a thread of the pool."""
    return str(request.param)


@contextlib.asynccontextmanager
async def worker(
    where: str, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> AsyncIterator[EmbeddedGateway]:
    async with EmbeddedGateway() as gateway:
        if where == "none":
            options["isolation"] = "none"
        if where == "children":
            monkeypatch.setenv("TEST_CALLER", "the program")
            monkeypatch.setenv("TEST_API_ORIGIN", gateway.api_origin)
            options["executor"] = process_executor(f"{PREFIX}:apps", 1)
        token = shop.CALLER.set("the program")
        try:
            async with gateway.connect(shop.apps, **options):
                yield gateway
        finally:
            shop.CALLER.reset(token)


async def call(gateway: EmbeddedGateway, function: str) -> Any:
    return await asyncio.wait_for(gateway.invoke(f"app-{function}"), LIMIT)


async def test_two_executions_that_overlap_see_only_what_each_has_set(
    where: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker(where, monkeypatch, execution_context=shop.entered) as gateway:
        two = await asyncio.gather(*(call(gateway, f"marks_{kind}") for _ in range(2)))
        after = (await call(gateway, f"looks_{kind}")).output
        left = (await call(gateway, "reported")).output["left"]

    for result in two:
        run = result.output.pop("run")
        own = dict.fromkeys(("own", "tag", "baggage", "log", "entered"), run)
        assert result.output == {"caller": "the program", **own}
    assert after == {
        "run": after["run"],
        "caller": "the program",
        "own": "",
        "tag": None,
        "baggage": None,
        "log": after["run"],
        "entered": after["run"],
    }
    assert len(set(left)) == 3
    assert (shop.OWN.get(), shop.ENTERED.get(), baggage.get_baggage("own")) == ("", "", None)
    assert "own" not in sentry_sdk.Scope.get_isolation_scope()._tags


async def test_failures_that_overlap_are_reported_to_sentry_under_their_own_runs(
    where: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker(where, monkeypatch) as gateway:
        two = await asyncio.gather(*(call(gateway, f"fails_{kind}") for _ in range(2)))
        events = (await call(gateway, "reported")).output["events"]

    assert {result.error["message"] for result in two} == {failed for failed, _ in events}
    assert [failed for failed, _ in events] == [tagged for _, tagged in events]
    assert len(events) == 2


async def test_an_execution_whose_context_cannot_be_entered_is_tried_again(
    where: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop, "_refusals", type(shop._refusals)(1))
    failed: list[FunctionFailed] = []
    on = {"function_failed": failed.append}
    options = {"execution_context": shop.refuses_once, "on": on}
    async with worker(where, monkeypatch, **options) as gateway:
        result = await call(gateway, f"looks_{kind}")

    assert result.output["run"]
    (event,) = failed
    assert event.will_retry is not False
    assert f"execution_context {PREFIX}.refuses_once raised ValueError: not yet" in event.error


async def test_an_error_on_leaving_is_reported_and_the_result_counts(
    where: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[ErrorOccurred] = []
    on = {"error": errors.append}
    options = {"execution_context": shop.raises_on_leaving, "on": on}
    async with worker(where, monkeypatch, **options) as gateway:
        result = await call(gateway, f"looks_{kind}")

    assert result.output["run"]
    (error,) = errors
    assert error.kind == "function_misbehaved"
    text = f"execution_context {PREFIX}.raises_on_leaving raised ValueError: too late"
    assert text in error.message
    assert error.request_id is not None


async def test_a_context_that_children_cannot_import_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    executor = process_executor(f"{PREFIX}:apps", 1)
    worker = connect(
        shop.apps, executor=executor, execution_context=lambda: contextlib.nullcontext()
    )

    with pytest.raises(ConfigurationError, match=r"execution_context .* pass a function"):
        await worker.start()
