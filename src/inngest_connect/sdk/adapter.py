"""The apps, and the plain path of their requests: through the handler of the ``inngest`` SDK.

This module and ``fast_path``, which checks its own, are the only ones that use the SDK's internals.
Of ``inngest._internal`` these are used here, and none of them is part of the SDK's public
interface:

- ``comm_lib.CommHandler`` and ``CommRequest``: the handler runs the function that a request names.
- ``CommHandler._thread_pool``: where sync functions run. It is replaced.
- ``comm_lib.get_function_configs``: what the server is to know of the functions.
- ``net.ServerTimings``, ``server_lib`` and ``const``: parts of a request, names and versions.
- ``net.AuthenticatedHTTPClient`` and private attributes of ``Inngest``: the test kit points a
  client to another server. No worker outside of tests does that.

They change between patch releases. A check of version strings would refuse new releases that work,
so the handler and an empty request are created once per app, when the worker is: what has changed
is an UnsupportedSDKError then, not a failure of every execution later. The tests run on the oldest
release that is allowed, the newest, and the newest pre-release.
"""

import contextlib
import contextvars
import inspect
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import inngest
import pydantic_core
from inngest._internal import comm_lib, const, errors, net, server_lib

from ..core.settings import AppIdentity
from ..core.wire.messages import ExecutionResult
from ..core.wire.user_text import is_a, shown_value
from ..errors import ConfigurationError, UnsupportedSDKError
from ..protocol import connect_pb2 as pb
from .fast_path import FAST, FastPath, sdk_path
from .outputs import NotJson, encode, shorten_error

SDK_LANGUAGE: Final = str(const.LANGUAGE)
SDK_VERSION: Final = str(const.VERSION)
DEFAULT_API_ORIGINS: Final = (const.DEFAULT_API_ORIGIN, const.DEV_SERVER_ORIGIN)
FRAMEWORK: Final = str(server_lib.Framework.CONNECT.value)
WORKING_VERSIONS: Final = "0.5.12 to 0.5.19"

_FUNCTION_ID: Final = str(server_lib.QueryParamKey.FUNCTION_ID.value)
_STEP_ID: Final = str(server_lib.QueryParamKey.STEP_ID.value)
_HAS_BLOCK_TIMING: Final = "timings" in comm_lib.CommRequest.model_fields and hasattr(
    net.ServerTimings(), "async_block"
)
_STATUS: Final = {200: pb.SDKResponseStatus.DONE, 206: pb.SDKResponseStatus.NOT_COMPLETED}


def client_version(client: inngest.Inngest) -> str | None:
    """The version of the app. Without the property, in old releases, only the attribute is set."""
    return getattr(client, "app_version", None) or getattr(client, "_app_version", None)


@contextlib.asynccontextmanager
async def client_at(
    client: inngest.Inngest, origin: str, *, is_production: bool
) -> AsyncIterator[None]:
    """Until the end of the block the client calls ``origin``, in that mode, for everything.

    With its own HTTP clients: connections belong to an event loop, and each test may have another.
    """
    mode = server_lib.ServerKind.CLOUD if is_production else server_lib.ServerKind.DEV_SERVER
    http = net.AuthenticatedHTTPClient(
        env=client.env,
        signing_key=client.signing_key,
        signing_key_fallback=client.signing_key_fallback,
    )
    changes = {
        "_api_origin": origin,
        "_event_api_origin": origin,
        "_mode": mode,
        "is_production": is_production,
        "_http_client": http,
    }
    before = {name: getattr(client, name) for name in changes}
    vars(client).update(changes)
    try:
        yield
    finally:
        vars(client).update(before)
        await http._http_client.aclose()
        http._http_client_sync.close()


def capabilities() -> bytes:
    """JSON that states what this SDK can do, for the gateway."""
    return server_lib.Capabilities().model_dump_json().encode()


class SdkApp:
    """One client with its functions: their identity for the gateway, and how requests are run."""

    def __init__(self, client: inngest.Inngest, functions: Sequence[inngest.Function[Any]]) -> None:
        """Raises ConfigurationError for wrong functions, UnsupportedSDKError for a wrong SDK."""
        seen = set()
        if not functions:
            raise ConfigurationError(
                f"app {client.app_id!r} has no functions; pass those that this worker runs: "
                "(client, [function])"
            )
        for position, function in enumerate(functions):
            if not is_a(function, inngest.Function):
                raise ConfigurationError(
                    f"app {client.app_id!r}: functions[{position}] is {shown_value(function)}, "
                    "which is not an Inngest function; decorate it with "
                    "@client.create_function(...)"
                )
            if function.get_id() in seen:
                raise ConfigurationError(
                    f"two functions have the id {function.get_id()!r}, and one would replace the "
                    "other; give one of them another fn_id, or leave it out"
                )
            seen.add(function.get_id())
        self._handler = _create_handler(client, functions)
        _check_request()
        self._logger = client.logger
        self.path = sdk_path()
        """"fast", or "plain" and why the SDK's handler runs all requests."""
        self._fast_path: FastPath | None = None
        if self.path == FAST:
            self._fast_path = FastPath(self._handler, self._result)
        self._is_async = {each.get_id(): each.is_handler_async for each in functions}
        for each in functions:
            if each.on_failure_fn_id is not None:
                self._is_async[each.on_failure_fn_id] = bool(each.is_on_failure_handler_async)
        by_id = {function.id: function for function in functions}
        configs = comm_lib.get_function_configs("wss://connect", by_id)
        if isinstance(configs, Exception):
            raise ConfigurationError(f"app {client.app_id!r}: {configs}") from configs
        self.identity = AppIdentity(
            name=client.app_id,
            functions=pydantic_core.to_json(configs, exclude_none=True),
            function_slugs=frozenset(self._is_async),
            version=client_version(client),
        )

    def is_async(self, function_slug: str) -> bool:
        """Whether the function can be cancelled; one in a thread cannot."""
        full_slug = f"{self.identity.name}-{function_slug}"
        return self._is_async.get(function_slug, self._is_async.get(full_slug, True))

    async def run(self, request: pb.GatewayExecutorRequestData) -> ExecutionResult:
        """Execute one request. User errors are results; only what escapes the SDK is raised."""
        if self._fast_path is not None:
            result = await self._fast_path.run(request)
            if result is not None:
                return result
        return self._result(request, await self._handler.post(_comm_request(request)))

    def _result(
        self, request: pb.GatewayExecutorRequestData, response: comm_lib.CommResponse
    ) -> ExecutionResult:
        status = _STATUS.get(response.status_code, pb.SDKResponseStatus.ERROR)
        request_version = response.request_version or 0
        if status != pb.SDKResponseStatus.DONE:
            shorten_error(response.body, is_error=status == pb.SDKResponseStatus.ERROR)
        try:
            body = encode(response.body)
        except NotJson as error:
            # The same error as the SDK's for a set, or for bytes.
            unusable = errors.OutputUnserializableError(
                f"function {request.function_slug!r} returned data that is not JSON: {error}"
            )
            response = comm_lib.CommResponse.from_error(self._logger, unusable)
            status, body = pb.SDKResponseStatus.ERROR, encode(response.body)
        return ExecutionResult(
            status=status,
            body=body,
            no_retry=response.no_retry,
            retry_after=response.retry_after,
            request_version=request_version,
            sdk_version=response.sdk_version or f"inngest-{SDK_LANGUAGE}:v{SDK_VERSION}",
        )


def _create_handler(client: inngest.Inngest, functions: Sequence[inngest.Function[Any]]) -> Any:
    """A CommHandler whose pool of threads is ours. Raises UnsupportedSDKError."""
    factory: Any = comm_lib.CommHandler
    arguments = {
        "client": client,
        "enable_unauthed_sync": None,
        "framework": server_lib.Framework.CONNECT,
        "functions": list(functions),
        "streaming": const.Streaming.DISABLE,
    }
    # Older releases lack some. One that this module does not know is a TypeError.
    known = inspect.signature(factory).parameters
    try:
        handler = factory(**{name: value for name, value in arguments.items() if name in known})
    except TypeError as error:
        raise _unsupported(factory.__name__, error) from error
    pool = getattr(handler, "_thread_pool", None)
    if isinstance(pool, ThreadPoolExecutor):  # there is none when the user asked for 0 threads
        # As many threads as the SDK wanted; it has started none of its own yet.
        handler._thread_pool = _ContextPool(pool._max_workers)
        pool.shutdown(wait=False)
    return handler


call_context: contextvars.ContextVar[Callable[[], contextlib.AbstractContextManager[object]] | None]
call_context = contextvars.ContextVar("inngest_connect_call_context", default=None)
"""What a sync function is called in, on its thread; set in the context of the execution."""


class _ContextPool(ThreadPoolExecutor):
    """Runs calls in the context of the submitter, as ``asyncio.to_thread`` does.

    ``run_in_executor``, which the SDK uses, does not: the span of a request would not be the parent
    of what a sync function traces.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Overrides ``ThreadPoolExecutor.submit``."""
        return super().submit(contextvars.copy_context().run, _run_once, fn, *args, **kwargs)


def _run_once(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    process = os.getpid()
    context = call_context.get()
    try:
        if context is None:
            return fn(*args, **kwargs)
        with context():
            return fn(*args, **kwargs)
    finally:
        if os.getpid() != process:
            # The function forked and returned in both processes. Only the first one answers; the
            # other one, of which this thread is the only one, would wait here indefinitely for the
            # next function.
            os._exit(1)


def _comm_request(request: pb.GatewayExecutorRequestData) -> comm_lib.CommRequest:
    headers = {}
    if request.request_id:
        headers["x-request-id"] = request.request_id
    if request.job_id:
        headers["x-inngest-job-id"] = request.job_id
    return comm_lib.CommRequest(
        body=request.request_payload,
        headers=headers,
        is_connect=True,
        public_path=None,
        query_params={
            _FUNCTION_ID: request.function_slug,
            # An absent step id means "no step in particular", which the SDK spells "step".
            _STEP_ID: request.step_id or server_lib.UNSPECIFIED_STEP_ID,
        },
        raw_request=request,
        request_url="",
        serve_origin=None,
        serve_path=None,
        **_timings(),
    )


def _timings() -> dict[str, Any]:
    """Timings without the SDK's watch for a blocked event loop.

    That is a task for each request which wakes up every 0.1 s, half of the handler's processor time
    at 100 in flight (docs/performance.md), for a header that Connect does not carry. ``LoopWatch``
    measures the same, once for all requests.
    """
    if not _HAS_BLOCK_TIMING:
        return {}
    timings: Any = net.ServerTimings()
    timings.async_block = net.ServerTiming("async_block")  # one that starts no task
    return {"timings": timings}


def _check_request() -> None:
    """A new required field of ``CommRequest`` would fail each execution; here it fails once."""
    try:
        _comm_request(pb.GatewayExecutorRequestData())
    except Exception as error:
        raise _unsupported("comm_lib.CommRequest", error) from error


def _unsupported(what: str, error: Exception) -> UnsupportedSDKError:
    return UnsupportedSDKError(
        f"the installed inngest {SDK_VERSION} has a {what} that this package does not know "
        f"({error}); versions that work: {WORKING_VERSIONS}"
    )
