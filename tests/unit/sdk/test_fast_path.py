"""Where the fast path is used, and what has all requests take the plain path instead."""

import functools
import importlib.util
import types
from collections.abc import Iterator
from typing import Any

import inngest
import pytest
from inngest._internal import comm_lib, const, net, transforms

from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.sdk import fast_path
from inngest_connect.sdk.adapter import SdkApp
from inngest_connect.sdk.fast_path import FAST, FAST_PATH_VARIABLE, sdk_path, source_digests

from .both_paths import BothPaths, Hooks, request
from .path_functions import make_functions

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def checked_again() -> Iterator[None]:
    fast_path._unknown_source.cache_clear()
    yield
    fast_path._unknown_source.cache_clear()


def make_app() -> SdkApp:
    client = inngest.Inngest(app_id="app", is_production=False)
    return SdkApp(client, make_functions(client))


async def result_of(app: SdkApp) -> Any:
    return await app.run(request([["return", "text"]]))


def test_the_installed_release_is_one_that_the_fast_path_was_written_from() -> None:
    """If not: compare what changed with ``FastPath``, and add the digests that are printed."""
    assert sdk_path() == FAST, f"inngest {const.VERSION}: {source_digests()}"
    assert make_app().path == FAST


async def test_the_variable_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = await result_of(make_app())

    for value in ("0", " 0\n"):
        monkeypatch.setenv(FAST_PATH_VARIABLE, value)
        app = make_app()
        assert app.path == "plain (INNGEST_CONNECT_FAST_PATH=0)"
        assert app._fast_path is None
        assert await result_of(app) == expected
    for value in ("", "1"):
        monkeypatch.setenv(FAST_PATH_VARIABLE, value)
        assert make_app().path == FAST


def changed(function: Any) -> Any:
    def another(*arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    return another


def wrapped(function: Any) -> Any:
    """As tools for tracing do; it passes for the function."""
    return functools.wraps(function)(changed(function))


class Proxy:
    """As wrapt does: everything but its type is the function's."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._function(*arguments, **named)

    @property
    def __class__(self) -> Any:
        return types.FunctionType


REPLACED = {
    "CommHandler.post": (comm_lib.CommHandler, "post"),
    "get_server_kind": (transforms, "get_server_kind"),
    "dump_json": (transforms, "dump_json"),
    "ServerTiming.__enter__": (net.ServerTiming, "__enter__"),
    "ServerTiming.__exit__": (net.ServerTiming, "__exit__"),
    "parse_query_params": (comm_lib.handler, "parse_query_params"),
    "_prep_call_result": (comm_lib.models, "_prep_call_result"),
}


@pytest.mark.parametrize("change", [changed, wrapped, Proxy])
@pytest.mark.parametrize("name", REPLACED)
async def test_a_function_of_the_sdk_that_is_another_one_turns_it_off(
    monkeypatch: pytest.MonkeyPatch, name: str, change: Any
) -> None:
    """A release that changed it, or a tool that patched it: what it does is not skipped."""
    expected = await result_of(make_app())
    owner, attribute = REPLACED[name]
    monkeypatch.setattr(owner, attribute, change(getattr(owner, attribute)))
    fast_path._unknown_source.cache_clear()

    app = make_app()

    assert app._fast_path is None
    assert "plain (the SDK's " in app.path
    assert await result_of(app) == expected


@pytest.mark.parametrize("name", fast_path._WRITTEN_FROM)
def test_every_source_counts(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(fast_path._WRITTEN_FROM, name, ("0" * 16,))

    assert sdk_path() == (
        f"plain (the SDK's {name} is not one that the fast path was written from)"
    )


def test_without_the_sdk_s_sources_it_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may be shipped without them."""
    monkeypatch.setattr("linecache.getlines", lambda name: [])

    assert sdk_path().startswith("plain (the SDK's source cannot be checked (OSError: there is no ")


def test_a_release_without_one_of_the_modules_takes_the_plain_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("inngest._internal.step_lib")
    monkeypatch.setitem(importlib.import_module("sys").modules, "inngest._internal.step_lib", None)
    spec = importlib.util.spec_from_file_location(fast_path.__name__, fast_path.__file__)
    assert spec is not None
    assert spec.loader is not None
    other = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other)

    assert other.sdk_path().startswith("plain (the SDK has other modules (")


async def test_what_a_function_defers() -> None:
    """Since inngest 0.5.20."""
    deferred: Any = pytest.importorskip("inngest.experimental.deferred")

    def make(client: inngest.Inngest, middleware: Any) -> list[inngest.Function[Any]]:
        @deferred.create_defer(client, fn_id="child")
        async def child(ctx: inngest.Context) -> Any:
            parents: Any = ctx
            return [repr(ctx.event), repr(parents.parents)]

        def add(ctx: Any) -> None:
            ctx.defer("later", function=child, data={"n": 1})
            ctx.defer("never", function=child, data={"n": 2}).abort()
            ctx.defer("wrong", function=child, data=[])

        @client.create_function(fn_id="async", trigger=inngest.TriggerEvent(event="x"))
        async def parent(ctx: inngest.Context) -> Any:
            add(ctx)
            return float("nan") if "nan" in ctx.event.data else "done"

        @client.create_function(fn_id="sync", trigger=inngest.TriggerEvent(event="x"))
        def parent_sync(ctx: inngest.ContextSync) -> Any:
            add(ctx)
            return ctx.step.run("a", lambda: 1)

        return [child, parent, parent_sync]

    paths = BothPaths(make=make)
    routing = {"_inngest": {"parent_fn_slug": "app-async", "parent_run_id": "r"}}

    statuses = []
    for slug, data in (
        ("app-async", {}),
        ("app-async", {"nan": 1}),
        ("app-sync", {}),
        ("app-child", routing),
        ("app-child", {}),
    ):
        found = await paths.compare(request((), slug, data=data))
        assert paths.was_fast
        statuses.append(pb.SDKResponseStatus.Name(found["result"].status))
    assert statuses == ["NOT_COMPLETED", "ERROR", "NOT_COMPLETED", "DONE", "ERROR"]


async def test_middleware_is_created_once_for_a_request() -> None:
    """Also for one that is left to the plain path."""
    for given_request in (request([["return", "text"]]), request(payload=b"{")):
        created: Hooks = []

        class Counted(inngest.MiddlewareSync):
            def __init__(
                self, client: inngest.Inngest, raw_request: object, created: Hooks = created
            ) -> None:
                super().__init__(client, raw_request)
                created.append(raw_request)

        client = inngest.Inngest(app_id="app", is_production=False, middleware=[Counted])
        await SdkApp(client, make_functions(client)).run(given_request)

        assert created == [given_request]
