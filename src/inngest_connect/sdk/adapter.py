"""The only module that touches the internals of the ``inngest`` SDK.

They change between patch releases, so signatures are checked rather than version strings, once,
when the worker is made; a contract test runs on the oldest and the newest release that we allow.
"""

import contextvars
import inspect
import os
from collections.abc import Callable, Sequence
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
    """The app's version. The attribute is private in some releases, and the oldest has none."""
    return getattr(client, "app_version", None) or getattr(client, "_app_version", None)


def capabilities() -> bytes:
    """JSON that tells the gateway what this SDK can do."""
    return server_lib.Capabilities().model_dump_json().encode()


class SdkApp:
    """One client with its functions: its identity for the gateway, and the running of requests."""

    def __init__(self, client: inngest.Inngest, functions: Sequence[inngest.Function[Any]]) -> None:
        """Raises ConfigurationError for wrong functions, UnsupportedSDKError for a wrong SDK."""
        for function in functions:
            if not is_a(function, inngest.Function):
                raise ConfigurationError(
                    f"app {client.app_id!r}: {shown_value(function)} is no Inngest function; "
                    "decorate it with @client.create_function(...)"
                )
        _check_ids(functions)
        self._handler = _make(
            comm_lib.CommHandler,
            client=client,
            enable_unauthed_sync=None,
            framework=server_lib.Framework.CONNECT,
            functions=list(functions),
            streaming=const.Streaming.DISABLE,
        )
        _carry_context_to_threads(self._handler)
        _check_request()
        self._logger = client.logger
        self._is_async = {each.get_id(): each.is_handler_async for each in functions}
        for each in functions:
            if each.on_failure_fn_id is not None:
                self._is_async[each.on_failure_fn_id] = bool(each.is_on_failure_handler_async)
        self.identity = AppIdentity(
            name=client.app_id,
            functions=_function_configs(client.app_id, functions),
            function_slugs=frozenset(self._is_async),
            version=client_version(client),
        )

    def is_async(self, function_slug: str) -> bool:
        """Whether the function can be cancelled; one in a thread cannot."""
        full_slug = f"{self.identity.name}-{function_slug}"
        return self._is_async.get(function_slug, self._is_async.get(full_slug, True))

    async def run(self, request: pb.GatewayExecutorRequestData) -> ExecutionResult:
        """Execute one request. User errors are results; only what escapes the SDK is raised."""
        response = await self._handler.post(_comm_request(request))
        status = _STATUS.get(response.status_code, pb.SDKResponseStatus.ERROR)
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
            request_version=response.request_version or 0,
            sdk_version=response.sdk_version or f"inngest-{SDK_LANGUAGE}:v{SDK_VERSION}",
        )


class _ContextPool(ThreadPoolExecutor):
    """Threads see the context variables of whoever submits, as ``asyncio.to_thread`` has it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        return super().submit(contextvars.copy_context().run, _run_once, fn, *args, **kwargs)


def _run_once(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    process = os.getpid()
    try:
        return fn(*args, **kwargs)
    finally:
        if os.getpid() != process:
            # The function forked and returned in both processes. Only the first one answers, and
            # the other one would wait here for its next function indefinitely.
            os._exit(1)


def _carry_context_to_threads(handler: Any) -> None:
    """The span of a request reaches sync functions too; as many threads as the SDK wanted."""
    pool = getattr(handler, "_thread_pool", None)
    if isinstance(pool, ThreadPoolExecutor):  # there is none when the user asked for 0 threads
        handler._thread_pool = _ContextPool(pool._max_workers)
        pool.shutdown(wait=False)


def _check_ids(functions: Sequence[inngest.Function[Any]]) -> None:
    seen = set()
    for function in functions:
        if function.get_id() in seen:
            raise ConfigurationError(
                f"two functions have the id {function.get_id()!r}; one would replace the other"
            )
        seen.add(function.get_id())


def _function_configs(app_id: str, functions: Sequence[inngest.Function[Any]]) -> bytes:
    by_id = {function.id: function for function in functions}
    configs = comm_lib.get_function_configs("wss://connect", by_id)
    if isinstance(configs, Exception):
        raise ConfigurationError(f"app {app_id!r}: {configs}") from configs
    return pydantic_core.to_json(configs, exclude_none=True)


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
    """Timings without the SDK's watch for a blocked loop.

    It is a task for each request that wakes up every 0.1 s, half of the handler's processor time at
    100 in flight (docs/performance.md), for a header that Connect has no place for. ``LoopWatch``
    tells the same, once for all.
    """
    if not _HAS_BLOCK_TIMING:
        return {}
    timings: Any = net.ServerTimings()
    timings.async_block = net.ServerTiming("async_block")
    return {"timings": timings}


def _check_request() -> None:
    """A request made from nothing must pass: a new required field would fail each execution."""
    try:
        _comm_request(pb.GatewayExecutorRequestData())
    except Exception as error:
        raise _unsupported("comm_lib.CommRequest", error) from error


def _make(factory: Any, **arguments: object) -> Any:
    """Call ``factory`` with those of ``arguments`` that this SDK release knows."""
    known = inspect.signature(factory).parameters
    try:
        return factory(**{name: value for name, value in arguments.items() if name in known})
    except TypeError as error:
        raise _unsupported(factory.__name__, error) from error


def _unsupported(what: str, error: Exception) -> UnsupportedSDKError:
    return UnsupportedSDKError(
        f"the installed inngest {SDK_VERSION} has a {what} that this package does not know "
        f"({error}); versions that work: {WORKING_VERSIONS}"
    )
