"""Whatever a function returns or raises, its reply is JSON: its output, or an error."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inngest_connect import connect, process_executor
from inngest_connect.sdk.outputs import NotJson, encode
from inngest_connect.testing import EmbeddedGateway, RunResult
from tests.field import odd_functions as odd

pytestmark = pytest.mark.field
LIMIT = 20.0
WAYS = pytest.mark.parametrize("way", ["thread", "none", "children"])


@contextlib.asynccontextmanager
async def running(way: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EmbeddedGateway]:
    async with EmbeddedGateway() as gateway:
        options: dict[str, Any] = {"isolation": "none"} if way == "none" else {}
        if way == "children":
            monkeypatch.setenv("ODD_ORIGIN", gateway.api_origin)
            options["executor"] = process_executor(odd.apps, 1)
        apps = odd.make(gateway.api_origin)
        async with connect(apps, shutdown_signals=[], logger=False, **options) as worker:
            await gateway.wait_for_worker()
            yield gateway
            assert worker.get_debug_state().running == 0


async def call(gateway: EmbeddedGateway, function: str, name: str) -> RunResult:
    event = {"data": {"name": name}}
    return await asyncio.wait_for(gateway.invoke(f"odd-{function}", event), LIMIT)


@WAYS
async def test_outputs_that_are_not_json_are_errors(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = ["returns", "returns_sync", "returns_in_step"]
    async with running(way, monkeypatch) as gateway:
        results = {
            (function, name): await call(gateway, function, name)
            for function in functions
            for name in odd.OUTPUTS
        }

    assert {key: result.status for key, result in results.items()} == dict.fromkeys(
        results, "failed"
    )
    nan = results["returns", "nested nan"].error or {}
    assert nan["name"] == "OutputUnserializableError"
    assert "'odd-returns'" in nan["message"]
    assert "nan at [0]['a'][1]" in nan["message"]


@WAYS
async def test_odd_outputs_that_are_json_are_delivered(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(way, monkeypatch) as gateway:
        outputs = {name: (await call(gateway, "returns", name)).output for name in odd.VALID}

    assert outputs == {name: expected for name, (_, expected) in odd.VALID.items()}


@pytest.mark.parametrize("function", ["sends", "sends_in_step"])
@pytest.mark.parametrize("name", ["nan", "set", "circular"])
async def test_events_that_are_not_json_fail_the_run(
    function: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running("thread", monkeypatch) as gateway:
        result = await call(gateway, function, name)

    assert result.status == "failed"


@WAYS
async def test_whatever_is_raised_is_an_error_reply(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = ["raises", "raises_sync", "raises_in_step"]
    async with running(way, monkeypatch) as gateway:
        results = {
            (function, name): await call(gateway, function, name)
            for function in functions
            for name in odd.ERRORS
        }

    assert {key: result.status for key, result in results.items()} == dict.fromkeys(
        results, "failed"
    )


def test_the_search_for_the_wrong_value_ends() -> None:
    with pytest.raises(NotJson, match="Circular"):
        encode(odd.circular())


class NoItems(dict[str, object]):
    def items(self) -> Any:
        raise RuntimeError("no items")


def deep() -> list[object]:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ({1, 2}, "TypeError: Object of type set"),
        ({"a": object()}, "TypeError: Object of type object"),
        ({("a", 1): 2}, "TypeError: keys must be"),
        (deep(), "RecursionError"),
        (NoItems(a=float("nan")), "RuntimeError"),
    ],
    ids=["set", "object", "key", "deep", "raises"],
)
def test_whatever_stops_the_encoder_is_named(output: object, text: str) -> None:
    with pytest.raises(NotJson, match=text):
        encode(output)


def test_what_is_encoded_is_what_the_sdk_encodes() -> None:
    value = {"a": [1, 2.5, None, True, "\ud800é"], "b": {"c": []}}

    assert encode(value) == json.dumps(value).encode()


@WAYS
@pytest.mark.parametrize("name", ["huge", "huge and not ASCII"])
async def test_a_huge_error_keeps_its_name_and_the_beginning_of_its_text(
    way: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(way, monkeypatch) as gateway:
        errors = [
            (await call(gateway, function, name)).error or {}
            for function in ("raises", "raises_sync", "raises_in_step")
        ]

    for error in errors:
        assert error["name"] in ("ValueError", "StepError")
        assert error["message"][:5] in ("xxxxx", "ééééé")
