"""Both paths against an API: steps that are fetched, and events that are sent."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import inngest
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.sdk.adapter import client_at
from inngest_connect.testing.http_listener import HTTPListener
from tests.unit.sdk.both_paths import EVENT, BothPaths, hashed, hook_middleware, request

pytestmark = pytest.mark.integration

SENT = [inngest.Event(name="a", data={"n": 1}), inngest.Event(name="b")]


class Api(HTTPListener):
    """Has the steps and the batch of the run "run"; takes events."""

    def __init__(self) -> None:
        super().__init__(
            [
                Route("/v0/runs/{run}/{what}", self._fetched),
                Route("/e/{key}", self._taken, methods=["POST"]),
            ],
            "127.0.0.1",
            0,
            None,
        )
        self.asked: list[str] = []
        self.sent: list[str] = []

    async def _fetched(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        match request.path_params["run"], request.path_params["what"]:
            case (("run" | "text" | "other"), "batch"):
                return JSONResponse([EVENT, {"name": "x", "data": {"program": []}}])
            case "run", "actions":
                return JSONResponse({hashed("a"): {"data": "fetched"}})
            case "text", "actions":
                return PlainTextResponse("no JSON")
            case "other", "actions":
                return JSONResponse("another shape")
        return PlainTextResponse("no such run", 404)

    async def _taken(self, request: Request) -> Response:
        events = json.loads(await request.body())
        self.sent += [each["name"] for each in events]
        return JSONResponse({"ids": [f"id of {each['name']}" for each in events], "status": 200})


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    listener = Api()
    await listener.start()
    yield listener
    await listener.stop()


def make_functions(client: inngest.Inngest, middleware: Any) -> list[inngest.Function[Any]]:
    options: dict[str, Any] = {
        "trigger": inngest.TriggerEvent(event="x"),
        "middleware": list(middleware),
    }

    async def one() -> str:
        return "run"

    @client.create_function(fn_id="steps", **options)
    async def steps(ctx: inngest.Context) -> Any:
        return [await ctx.step.run("a", one), repr(ctx.events), repr(ctx.event)]

    @client.create_function(fn_id="steps-sync", **options)
    def steps_sync(ctx: inngest.ContextSync) -> Any:
        return [ctx.step.run("a", lambda: "run"), repr(ctx.events), repr(ctx.event)]

    @client.create_function(fn_id="send", **options)
    async def send(ctx: inngest.Context) -> Any:
        return [await ctx.step.send_event("s", SENT), await client.send(SENT)]

    @client.create_function(fn_id="send-sync", **options)
    def send_sync(ctx: inngest.ContextSync) -> Any:
        return [ctx.step.send_event("s", SENT), client.send_sync(SENT)]

    return [steps, steps_sync, send, send_sync]


@contextlib.asynccontextmanager
async def paths_to(api: Api, *, is_async: bool) -> AsyncIterator[BothPaths]:
    paths = BothPaths(
        lambda hooks: [hook_middleware(hooks, "one", is_async=is_async)],
        make=make_functions,
        event_key="key",
    )
    async with (
        client_at(paths.plain.client, api.origin, is_production=False),
        client_at(paths.fast.client, api.origin, is_production=False),
    ):
        yield paths


@pytest.mark.parametrize(
    "in_the_request",
    [{"events": None}, {"events": [], "steps": {}}, {"steps": {hashed("a"): {"data": "sent"}}}],
)
@pytest.mark.parametrize("slug", ["app-steps", "app-steps-sync"])
async def test_steps_and_events_that_the_api_has(
    api: Api, slug: str, in_the_request: dict[str, Any]
) -> None:
    calls = ["actions", "batch"] * 2
    statuses = []
    async with paths_to(api, is_async=slug == "app-steps") as paths:
        for run in ("run", "text", "other", "unknown"):
            api.asked.clear()
            body = {"use_api": True, **in_the_request}

            found = await paths.compare(request((), slug, body=body, ctx={"run_id": run}))

            assert not paths.was_fast
            assert sorted(api.asked) == sorted(f"/v0/runs/{run}/{what}" for what in calls)
            assert [hook for _, hook, *_ in found["hooks"]].count("__init__") == 1
            result = found["result"]
            statuses.append("escaped" if isinstance(result, tuple) else result.status)
    done, error = pb.SDKResponseStatus.DONE, pb.SDKResponseStatus.ERROR
    assert statuses == [done, "escaped", "escaped", error]


@pytest.mark.parametrize("slug", ["app-send", "app-send-sync"])
async def test_events_that_a_function_sends(api: Api, slug: str) -> None:
    memo = {hashed("s"): {"data": ["memo"]}}
    async with paths_to(api, is_async=slug == "app-send") as paths:
        first = await paths.compare(request((), slug))
        second = await paths.compare(request((), slug, steps=memo))

    assert paths.was_fast
    assert json.loads(first["result"].body)[0]["data"] == ["id of a", "id of b"]
    assert json.loads(second["result"].body) == [["memo"], ["id of a", "id of b"]]
    assert api.sent == ["a", "b"] * 4
    assert "before_send_events" in [hook for _, hook, *_ in first["hooks"]]
