"""Runs one request with the plain path and with the fast path, and notes all that can be seen."""

import asyncio
import base64
import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import inngest

from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.sdk.adapter import SdkApp
from inngest_connect.sdk.fast_path import FAST_PATH_VARIABLE

from .path_functions import make_functions

Hooks = list[Any]
MakeMiddleware = Callable[[Hooks], Sequence[Any]]

SLUGS = ("app-async", "app-sync", "app-async-failure", "app-sync-failure")
EVENT = {"name": "e", "data": {"y": [1]}, "id": "id", "ts": 5}
ERROR = {"error": {"message": "m", "name": "n", "stack": "s"}}
SERIALIZER: dict[str, Any] = {"serializer": inngest.PydanticSerializer()}


@dataclasses.dataclass
class Path:
    """One path's app, with what it noted."""

    client: inngest.Inngest
    app: SdkApp
    hooks: Hooks
    logs: Hooks

    async def observe(self, request: pb.GatewayExecutorRequestData) -> dict[str, Any]:
        self.hooks.clear()
        self.logs.clear()
        try:
            # In a task of its own, as the executor runs it.
            result: Any = await asyncio.create_task(self.app.run(request))
        except BaseException as error:
            result = "escaped", type(error), error.args
        return {"result": result, "hooks": list(self.hooks), "logs": list(self.logs)}


class BothPaths:
    """The same functions twice. ``was_fast`` is whether the fast path ran the last request."""

    def __init__(
        self,
        make_middleware: MakeMiddleware = lambda hooks: [],
        make_own: MakeMiddleware = lambda hooks: [],
        make: Callable[..., list[inngest.Function[Any]]] = make_functions,
        **client: Any,
    ) -> None:
        """Middleware of the client, and of the functions."""
        self.plain = _path(make_middleware, make_own, make, client, "0")
        self.fast = _path(make_middleware, make_own, make, client, "1")
        assert self.plain.app._fast_path is None
        fast_path = self.fast.app._fast_path
        assert fast_path is not None, self.fast.app.path
        self.was_fast = False
        run = fast_path.run

        async def noted(request: pb.GatewayExecutorRequestData) -> Any:
            self.was_fast = True
            result = await run(request)
            self.was_fast = result is not None
            return result

        fast_path.run = noted  # type: ignore[method-assign]

    async def compare(self, request: pb.GatewayExecutorRequestData) -> dict[str, Any]:
        """What both paths did; fails where they differ."""
        expected = await self.plain.observe(request)
        found = await self.fast.observe(request)
        assert found == expected, f"fast: {found}\nplain: {expected}"
        return found


def _path(
    make_middleware: MakeMiddleware,
    make_own: MakeMiddleware,
    make: Callable[..., list[inngest.Function[Any]]],
    client: dict[str, Any],
    variable: str,
) -> Path:
    hooks: Hooks = []
    logs: Hooks = []
    logger = logging.Logger(f"path {variable}")
    logger.addHandler(_Noting(logs))
    made = inngest.Inngest(
        **{
            "app_id": "app",
            "is_production": False,
            "logger": logger,
            "middleware": list(make_middleware(hooks)),
            **SERIALIZER,
            **client,
        }
    )
    with mock.patch.dict(os.environ, {FAST_PATH_VARIABLE: variable}):
        app = SdkApp(made, make(made, make_own(hooks)))
    return Path(made, app, hooks, logs)


class _Noting(logging.Handler):
    def __init__(self, logs: Hooks) -> None:
        super().__init__()
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        self._logs.append((record.levelname, record.getMessage()))


def hashed(step_id: str) -> str:
    return hashlib.sha1(step_id.encode()).hexdigest()


def request(
    program: Any = (),
    slug: str = "app-async",
    *,
    data: Any = None,
    steps: dict[str, Any] | None = None,
    body: dict[str, Any] | None = None,
    ctx: dict[str, Any] | None = None,
    payload: bytes | None = None,
    **fields: Any,
) -> pb.GatewayExecutorRequestData:
    """``body`` and ``ctx`` replace fields of the usual ones; ``fields`` are of the message."""
    event = {"name": "x", "id": "e", "ts": 1, "data": {"program": program, **(data or {})}}
    content = {
        "ctx": {
            "attempt": 0,
            "disable_immediate_execution": False,
            "run_id": "run",
            "stack": {"stack": list(steps or {})},
            **(ctx or {}),
        },
        "event": event,
        "events": [event],
        "steps": steps or {},
        "use_api": False,
        **(body or {}),
    }
    return pb.GatewayExecutorRequestData(
        **{
            "request_id": "r",
            "job_id": "j",
            "function_slug": slug,
            "request_payload": json.dumps(content).encode() if payload is None else payload,
            **fields,
        }
    )


def hook_middleware(
    hooks: Hooks, name: str, *, is_async: bool, raises: str | None = None
) -> type[Any]:
    """Notes every call of a hook with what it gets; ``raises`` is the hook that fails."""

    def note(self: Any, hook: str, *seen: Any) -> None:
        hooks.append((name, hook, type(self.raw_request).__name__, *seen))
        if hook == raises:
            raise ValueError(f"{name} {hook}")

    def plain(hook: str) -> Any:
        def method(self: Any, *arguments: Any) -> None:
            note(self, hook, *map(_described, arguments))

        return method

    def asynchronous(hook: str) -> Any:
        async def method(self: Any, *arguments: Any) -> None:
            await asyncio.sleep(0)
            note(self, hook, *map(_described, arguments))

        return method

    base: Any = inngest.Middleware if is_async else inngest.MiddlewareSync

    def init(self: Any, client: Any, raw_request: Any) -> None:
        base.__init__(self, client, raw_request)
        note(self, "__init__", getattr(raw_request, "request_id", None))

    method = asynchronous if is_async else plain
    return type(name, (base,), {"__init__": init, **{hook: method(hook) for hook in HOOKS}})


HOOKS = (
    "transform_input", "before_execution", "after_execution", "transform_output",
    "before_response", "before_send_events", "after_send_events",
)  # fmt: skip


def _described(argument: Any) -> Any:
    match argument:
        case inngest.TransformOutputResult():
            return repr(argument.error), repr(argument.output)[:200], repr(argument.step)
        case inngest.Function():
            return argument.id
        case inngest.StepMemos():
            return [repr(each) for each in argument.values()]
        case inngest.Context() | inngest.ContextSync():
            shown = "attempt", "event", "events", "run_id", "job_id", "request_id"
            return [repr(getattr(argument, name, "absent")) for name in shown]
    return repr(argument)


class Encryption(inngest.MiddlewareSync):
    """With the hooks of the published middleware, and a cipher that is the same each time."""

    def transform_input(self, ctx: Any, function: Any, steps: Any) -> None:
        for step in steps.values():
            step.data = opened(step.data)
        ctx.event.data = {name: opened(value) for name, value in ctx.event.data.items()}
        for event in ctx.events:
            event.data = {name: opened(value) for name, value in event.data.items()}

    def transform_output(self, result: inngest.TransformOutputResult) -> None:
        if result.has_output():
            result.output = closed(result.output)


def closed(value: object) -> dict[str, str]:
    return {"closed": base64.b64encode(json.dumps(value).encode()).decode()}


def opened(value: Any) -> Any:
    if isinstance(value, dict) and "closed" in value:
        return json.loads(base64.b64decode(value["closed"]))
    return value
