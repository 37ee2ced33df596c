"""Runs a request with the SDK's own classes, without the HTTP request and response around them.

``CommHandler.post``, the plain path, serves every framework. It builds and checks a model of an
HTTP request, starts a task in case the response is streamed, measures the parts for a header, and
answers with headers. Connect has none of that, and it is more than half of the processor time of a
small function. What is left is what ``post`` does in between, in the same order: parse the request,
create the middleware, the memos and the context, call the function.

Two rules keep the results the same, byte by byte:

1. This module repeats the logic of some functions of the SDK, which are those in ``_WRITTEN_FROM``.
   It is used only if their sources are ones that it was written from when the first app is created.
   The plain path runs every request of a release that changes one, and of a program that patches
   one. What is called instead of repeated may change: functions, steps, middleware, serializers.
2. A request that is not plain (it cannot be parsed, names no function, or wants its steps fetched
   from the API) is left to the plain path before anything of the user's has run. So are the
   results that are not plain: whatever is not the output of a function goes through
   ``CommResponse.from_call_result``.

One thing differs: an async function runs in the task of its request instead of one more task. The
executor's task belongs to that request alone, so its context and its cancellation do too. A
function that cancels its own task fails either way; the executor cannot distinguish that from a
cancellation by other code any more, and reports it as one, a moment later.
"""

import asyncio
import functools
import hashlib
import inspect
import linecache
import os
import types
from collections.abc import Callable
from typing import Any, Final

from ..core.wire.messages import ExecutionResult
from ..protocol import connect_pb2 as pb
from .outputs import NotJson, encode

_import_failure: ImportError | None = None
try:
    from inngest._internal import (
        comm_lib,
        execution_lib,
        middleware_lib,
        net,
        server_lib,
        step_lib,
        transforms,
    )
    from inngest._internal import types as sdk_types
except ImportError as error:  # another release, which the plain path may suit
    _import_failure = error

FAST_PATH_VARIABLE: Final = "INNGEST_CONNECT_FAST_PATH"
FAST: Final = "fast"

_DONE: Final = pb.SDKResponseStatus.DONE

Request = pb.GatewayExecutorRequestData
Finish = Callable[[Request, "comm_lib.CommResponse"], ExecutionResult]

_WRITTEN_FROM: Final[dict[str, tuple[str, ...]]] = {
    "CommHandler.post": ("f5757aeffab586bb", "1dff1a75d68acae0"),
    "wrap_handler": ("12143ab356c3f707", "8dbccf8dc8f97e47"),
    "parse_query_params": ("250f1b6c37c09ed8",),
    "get_server_kind": ("3848a02b6e777848",),
    "from_call_result": ("a3a7dce76e997309",),
    "_prep_call_result": ("f721d5746f018b00",),
    "dump_json": ("e62ded4e374544bc",),
    "ServerTiming.__enter__": ("575d1908650c1bee",),
    "ServerTiming.__exit__": ("4c6a782475870e6e",),
}
"""Digests of the sources in inngest 0.5.12 to 0.5.20a0; where there are two, the second is that of
0.5.19 and 0.5.20a0."""


def sdk_path() -> str:
    """``FAST``, or "plain" and why the plain path runs all requests."""
    if os.environ.get(FAST_PATH_VARIABLE, "").strip() == "0":
        return f"plain ({FAST_PATH_VARIABLE}=0)"
    reason = _unknown_source()
    return FAST if reason is None else f"plain ({reason})"


@functools.cache
def _unknown_source() -> str | None:
    if _import_failure is not None:
        return f"the SDK has other modules ({_import_failure})"
    try:
        for name, digest in source_digests().items():
            if digest not in _WRITTEN_FROM[name]:
                return f"the SDK's {name} is not one that the fast path was written from"
    except Exception as error:  # noqa: BLE001 - no source, or no such function
        return f"the SDK's source cannot be checked ({type(error).__name__}: {error})"
    return None


def source_digests() -> dict[str, str]:
    """The installed ones, by the names of ``_WRITTEN_FROM``."""
    post: Any = comm_lib.CommHandler.post
    method = post.__closure__[post.__code__.co_freevars.index("method")].cell_contents
    from_call_result: Any = comm_lib.CommResponse.from_call_result
    replaced = {
        "CommHandler.post": method,
        "wrap_handler": post,
        "parse_query_params": method.__globals__["parse_query_params"],
        "get_server_kind": transforms.get_server_kind,
        "from_call_result": from_call_result.__func__,
        "_prep_call_result": from_call_result.__func__.__globals__["_prep_call_result"],
        "dump_json": transforms.dump_json,
        "ServerTiming.__enter__": net.ServerTiming.__enter__,
        "ServerTiming.__exit__": net.ServerTiming.__exit__,
    }
    return {name: _digest(function) for name, function in replaced.items()}


def _digest(function: Any) -> str:
    # Tools that trace or patch wrap functions. Their wrappers pass for the function everywhere
    # else: ``isinstance``, ``inspect.getsource`` and some even ``__code__``.
    if type(function) is not types.FunctionType:
        return f"of a {type(function).__name__}"
    code = function.__code__
    # What inspect.getsource does, in a tenth of the time.
    lines = linecache.getlines(code.co_filename)
    if not lines:
        raise OSError(f"there is no {code.co_filename}")
    lines = inspect.getblock(lines[code.co_firstlineno - 1 :])
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


class FastPath:
    """One for an app. Only where ``sdk_path()`` is ``FAST``."""

    def __init__(self, handler: Any, finish: Finish) -> None:
        """``finish`` makes a result of what the plain path's ``CommHandler`` would answer."""
        self._handler = handler
        self._client = handler._client
        self._finish = finish
        self._functions: dict[str, tuple[Any, bool]] = {}
        """By function slug, and whether they are async."""
        # The SDK measures into one of these for each request, and nobody reads it here. A timing
        # keeps the first moments that it gets, so that sharing it, even among threads, is safe.
        self._timings = net.ServerTimings()
        answer = comm_lib.CommResponse(headers=self._headers())
        self._request_version = answer.request_version or 0
        self._sdk_version = answer.sdk_version or ""
        self._has_ids = "job_id" in execution_lib.Context.__dataclass_fields__

    async def run(self, request: Request) -> ExecutionResult | None:
        """None leaves the request to the plain path. User errors are results."""
        slug = request.function_slug
        found = self._functions.get(slug) or self._find(slug)
        parsed = server_lib.ServerRequest.from_raw(request.request_payload)
        if found is None or isinstance(parsed, Exception):
            return None
        if parsed.use_api or parsed.events is None:
            return None
        function, is_async = found
        client = self._client
        middleware = middleware_lib.MiddlewareManager.from_client(client, request, self._timings)
        memos = step_lib.StepMemos.from_raw(parsed.steps)
        target = request.step_id or None
        if target == server_lib.UNSPECIFIED_STEP_ID:
            target = None
        about: dict[str, Any] = {
            "attempt": parsed.ctx.attempt,
            "event": parsed.event,
            "events": parsed.events,
            "logger": client.logger,
            "run_id": parsed.ctx.run_id,
        }
        if self._has_ids:  # since 0.5.19
            about["job_id"] = request.job_id or None
            about["request_id"] = request.request_id or None
        counter = step_lib.StepIDCounter()
        if is_async:
            execution = execution_lib.ExecutionV0(memos, middleware, parsed, target, self._timings)
            step = step_lib.Step(client, execution, middleware, counter, target)
            context = execution_lib.Context(group=step_lib.Group(), step=step, **about)
            result = await function.call(client, context, slug, middleware)
        else:
            call = functools.partial(
                function.call_sync,
                client,
                execution_lib.ContextSync(
                    group=step_lib.GroupSync(),
                    step=step_lib.StepSync(
                        client,
                        execution_lib.ExecutionV0Sync(
                            memos, middleware, parsed, target, self._timings
                        ),
                        middleware,
                        counter,
                        target,
                    ),
                    **about,
                ),
                slug,
                middleware,
            )
            pool = self._handler._thread_pool
            if pool is None:  # the user asked for 0 threads
                result = call()
            else:
                result = await asyncio.get_running_loop().run_in_executor(pool, call)
        return self._answer(request, result)

    def _find(self, slug: str) -> tuple[Any, bool] | None:
        function = self._handler._get_function(slug)
        if isinstance(function, Exception):
            return None
        found = self._functions[slug] = function, function.is_handler_async
        return found

    def _answer(self, request: Request, result: "execution_lib.CallResult") -> ExecutionResult:
        if result.error is None and result.multi is None and result.step is None:
            output = result.output
            try:
                body = encode(None if output is sdk_types.empty_sentinel else output)
            except NotJson:
                pass  # the SDK says so in its own way below
            else:
                return ExecutionResult(
                    status=_DONE,
                    body=body,
                    request_version=self._request_version,
                    sdk_version=self._sdk_version,
                )
        client = self._client
        response = comm_lib.CommResponse.from_call_result(
            client.logger, result, client.env, self._handler._framework, None
        )
        response.headers = {**response.headers, **self._headers()}
        return self._finish(request, response)

    def _headers(self) -> dict[str, str]:
        """What the plain path adds to every response."""
        client = self._client
        return net.create_headers(
            env=client.env, framework=self._handler._framework, server_kind=client._mode
        )
