"""The contract with the SDK's internals; runs on the oldest and the newest release we allow."""

import asyncio
import contextvars
import inspect
import json
import os
import signal
import threading
import time
from typing import Any

import inngest
import pytest
from inngest._internal import comm_lib, server_lib

from inngest_connect.errors import ConfigurationError, UnsupportedSDKError
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.sdk import adapter
from inngest_connect.sdk.adapter import SdkApp, _comm_request

pytestmark = pytest.mark.unit


# The oldest release we allow has no app versions yet.
VERSION = {"app_version": "v3"}
if "app_version" not in inspect.signature(inngest.Inngest).parameters:
    VERSION = {}


def make_app() -> SdkApp:
    client = inngest.Inngest(app_id="app", is_production=False, **VERSION)  # type: ignore[arg-type]

    async def on_failure(ctx: inngest.Context) -> None: ...

    @client.create_function(
        fn_id="fn",
        trigger=inngest.TriggerEvent(event="x"),
        retries=2,
        on_failure=on_failure,
    )
    async def fn(ctx: inngest.Context) -> Any:
        if "fail" in ctx.event.data:
            raise inngest.RetryAfterError("later", 5000)
        if "never" in ctx.event.data:
            raise inngest.NonRetriableError("never")
        if "step" in ctx.event.data:

            async def one() -> int:
                return 1

            return await ctx.step.run("one", one)
        return {"ok": True}

    return SdkApp(client, [fn])


def request(data: dict[str, Any], **fields: Any) -> pb.GatewayExecutorRequestData:
    event = {"name": "x", "data": data}
    body = {
        "ctx": {
            "attempt": 0,
            "disable_immediate_execution": False,
            "run_id": "run",
            "stack": {"stack": []},
        },
        "event": event,
        "events": [event],
        "steps": {},
        "use_api": False,
    }
    defaults = {"function_slug": "app-fn", "request_payload": json.dumps(body).encode()}
    return pb.GatewayExecutorRequestData(request_id="r", **{**defaults, **fields})


def test_an_app_introduces_its_functions() -> None:
    identity = make_app().identity

    assert (identity.name, identity.version) == ("app", VERSION.get("app_version"))
    assert make_app().is_async("app-fn") == make_app().is_async("fn") is True
    assert identity.function_slugs == {"app-fn", "app-fn-failure"}
    configs = json.loads(identity.functions)
    assert {config["id"] for config in configs} == {"app-fn", "app-fn-failure"}
    assert json.loads(adapter.capabilities())["connect"] == "v1"


async def test_a_result_a_step_and_errors_have_their_statuses() -> None:
    app = make_app()

    done = await app.run(request({}))
    step = await app.run(request({"step": 1}, step_id="step"))
    later = await app.run(request({"fail": 1}))
    never = await app.run(request({"never": 1}))

    assert (done.status, json.loads(done.body)) == (pb.SDKResponseStatus.DONE, {"ok": True})
    assert step.status == pb.SDKResponseStatus.NOT_COMPLETED
    assert json.loads(step.body)[0]["op"] == "StepRun"
    assert later.status == never.status == pb.SDKResponseStatus.ERROR
    assert (later.no_retry, never.no_retry) == (False, True)
    assert later.retry_after is not None
    assert done.sdk_version == f"inngest-py:v{adapter.SDK_VERSION}"


async def test_what_cannot_be_read_or_found_is_a_retryable_error() -> None:
    app = make_app()

    for broken in (request({}, request_payload=b"{"), request({}, function_slug="app-none")):
        result = await app.run(broken)
        assert (result.status, result.no_retry) == (pb.SDKResponseStatus.ERROR, False)


@pytest.mark.scenario("security-json")
async def test_json_that_is_nested_too_deep_is_an_error_of_that_request() -> None:
    app = make_app()
    deep = b"[" * 100_000 + b"]" * 100_000

    refused = await app.run(request({}, request_payload=b'{"event": ' + deep + b"}"))
    next_one = await app.run(request({}))

    assert refused.status == pb.SDKResponseStatus.ERROR
    assert next_one.status == pb.SDKResponseStatus.DONE


def test_an_sdk_with_other_internals_is_refused_with_the_versions_that_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NewRequest:
        def __init__(self, *, something_new: int, **_: object) -> None: ...

    monkeypatch.setattr("inngest._internal.comm_lib.CommRequest", NewRequest)
    with pytest.raises(UnsupportedSDKError, match=r"CommRequest.*something_new.*0\.5\.12"):
        make_app()

    class NewHandler:
        def __init__(self, *, client: object, something_else: int) -> None: ...

    monkeypatch.setattr("inngest._internal.comm_lib.CommHandler", NewHandler)
    with pytest.raises(UnsupportedSDKError, match=r"NewHandler.*something_else"):
        make_app()


def test_two_functions_with_one_id_are_refused() -> None:
    client = inngest.Inngest(app_id="app", is_production=False)

    def make() -> inngest.Function[Any]:
        @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="x"))
        async def fn(ctx: inngest.Context) -> None: ...

        return fn

    with pytest.raises(ConfigurationError, match="two functions have the id 'app-fn'"):
        SdkApp(client, [make(), make()])


async def test_a_body_that_is_not_json_is_the_error_that_the_sdk_has_for_a_set() -> None:
    client = inngest.Inngest(app_id="app", is_production=False)

    @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="x"))
    async def fn(ctx: inngest.Context) -> Any:
        return {1} if "set" in ctx.event.data else {"x": [float("nan")]}

    app = SdkApp(client, [fn])
    ours, theirs = await app.run(request({})), await app.run(request({"set": True}))
    error = json.loads(ours.body)

    for field in ("status", "no_retry", "request_version", "sdk_version"):
        assert getattr(ours, field) == getattr(theirs, field)
    assert ours.request_version > 0
    assert {**error, "message": ""} == {**json.loads(theirs.body), "message": ""}
    assert error["message"].startswith(
        "function 'app-fn' returned data that is not JSON: nan at ['x'][0]"
    )


CALLER: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="nobody")


async def test_sync_functions_and_their_steps_see_the_context_of_the_caller() -> None:
    client = inngest.Inngest(app_id="app", is_production=False)
    found: list[tuple[str, bool]] = []

    @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="x"))
    def fn(ctx: inngest.ContextSync) -> None:
        def look() -> None:
            found.append((CALLER.get(), threading.current_thread() is threading.main_thread()))

        look()
        ctx.step.run("one", look)
        CALLER.set("changed in the thread")

    app = SdkApp(client, [fn])
    for name in ("first", "second"):
        CALLER.set(name)
        await app.run(request({}))

    assert found == [("first", False), ("first", False), ("second", False), ("second", False)]
    assert CALLER.get() == "second"


@pytest.mark.parametrize("variable", [None, "3", "0"])
def test_the_thread_pool_is_as_large_as_the_sdk_makes_it(
    monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    if variable is None:
        monkeypatch.delenv("INNGEST_THREAD_POOL_MAX_WORKERS", raising=False)
    else:
        monkeypatch.setenv("INNGEST_THREAD_POOL_MAX_WORKERS", variable)
    client = inngest.Inngest(app_id="app", is_production=False)
    theirs: Any = comm_lib.CommHandler
    known = inspect.signature(theirs).parameters
    arguments = {"client": client, "framework": server_lib.Framework.CONNECT, "functions": []}
    optional = {name: None for name in ("enable_unauthed_sync", "streaming") if name in known}
    pool = theirs(**arguments, **optional)._thread_pool
    ours = make_app()._handler._thread_pool

    assert (pool is None) == (ours is None) == (variable == "0")
    if pool is not None:
        assert ours._max_workers == pool._max_workers
        assert type(ours) is not type(pool)


async def test_no_task_watches_the_loop_for_each_request() -> None:
    """The SDK's own watch wakes up ten times a second for every function in flight."""
    seen: list[str] = []
    client = inngest.Inngest(app_id="app", is_production=False)

    @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="x"))
    async def fn(ctx: inngest.Context) -> None:
        await asyncio.sleep(0)
        seen.extend(getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())

    result = await SdkApp(client, [fn]).run(request({}))

    assert result.status == pb.SDKResponseStatus.DONE
    assert seen
    assert not [name for name in seen if "Timing" in name]


async def test_an_sdk_without_such_a_watch_is_asked_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapter, "_HAS_BLOCK_TIMING", False)

    result = await make_app().run(request({}))

    assert result.status == pb.SDKResponseStatus.DONE


def test_a_targeted_step_is_named_to_the_sdk_and_none_is_step() -> None:
    named = [_comm_request(request({}, **fields)) for fields in ({}, {"step_id": "abc"})]

    assert [each.query_params["stepId"] for each in named] == ["step", "abc"]


def test_a_failure_handler_in_a_thread_is_not_cancelled() -> None:
    """It would only run on, uncounted."""
    client = inngest.Inngest(app_id="app", is_production=False)

    def in_a_thread(ctx: inngest.ContextSync) -> None: ...

    async def on_the_loop(ctx: inngest.Context) -> None: ...

    def function(name: str, handler: Any, on_failure: Any) -> Any:
        trigger = inngest.TriggerEvent(event=name)
        made = client.create_function(fn_id=name, trigger=trigger, on_failure=on_failure)
        return made(handler)

    threads = function("threads", in_a_thread, in_a_thread)
    loop = function("loop", on_the_loop, on_the_loop)
    app = SdkApp(client, [threads, loop])

    assert [app.is_async(f"app-threads{end}") for end in ("", "-failure")] == [False, False]
    assert [app.is_async(f"app-loop{end}") for end in ("", "-failure")] == [True, True]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_function_in_a_thread_that_forks_and_returns_twice_leaves_no_process() -> None:
    """The thread is the only one of the forked process, and would wait there for a function."""
    pool = adapter._ContextPool(1)

    child = pool.submit(os.fork).result(20)
    ends = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < ends:
        time.sleep(0.01)
    if ended[0] == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    pool.shutdown()

    assert ended[0] == child
    assert os.waitstatus_to_exitcode(ended[1]) == 1
