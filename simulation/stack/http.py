"""The API over HTTP: ``httpx``'s transport interface in front of the model API."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, Final

import httpx

from inngest_connect.core import inputs
from inngest_connect.protocol import FLUSH_PATH, START_PATH
from inngest_connect.protocol import connect_pb2 as pb

from ..invariants import SECRET

if TYPE_CHECKING:
    from .stack import StackSimulation

_HANGS: Final = 100.0
"""Seconds; longer than the worker waits for any answer."""
ODD_ANSWERS: Final = (
    "trickle",
    "huge",
    "reset in the answer",
    "garbage",
    "page of a proxy",
    "redirect",
    "empty",
    "wrong request",
    "raises",
)
"""What comes between the worker and the API; see ``_odd``."""


class _Content(httpx.AsyncByteStream):
    """Chunks, with a pause in virtual seconds before each, and an error at their end if any."""

    def __init__(
        self, chunks: Iterable[bytes], pause: float = 0.0, error: Exception | None = None
    ) -> None:
        self._chunks = chunks
        self._pause = pause
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            if self._pause:
                await asyncio.sleep(self._pause)
            yield chunk
        if self._error is not None:
            raise self._error


class HttpTransport(httpx.AsyncBaseTransport):
    """Carries each request to the model API, whose answer takes its time to come back."""

    def __init__(self, sim: "StackSimulation") -> None:
        self._sim = sim
        self.open = 0
        """Exchanges that have not ended."""
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises what httpx raises when there is no answer."""
        sim = self._sim
        self.open += 1
        try:
            body = await request.aread()
            await asyncio.sleep(sim.network.delay())
            refusal = sim.refused_key(request.headers.get("authorization", ""))
            if refusal is not None:
                return _error(refusal, "the signing key is not valid")
            delay, answer = self._answer(request.url.path, body)
            await asyncio.sleep(delay + sim.network.delay())
            return answer(request)  # type: ignore[no-any-return]
        finally:
            self.open -= 1

    def _answer(self, path: str, body: bytes) -> tuple[float, Any]:
        sim = self._sim
        odd = sim.odd_answer()
        if path == START_PATH:
            excluded = tuple(pb.StartRequest.FromString(body).exclude_gateways)
            delay, result = sim.api.start(0, excluded, SECRET, sim.now)
        else:
            assert path == FLUSH_PATH
            response = pb.SDKResponse.FromString(body)
            stored, delay, result = sim.api.flush(response.request_id, sim.now)
            sim.flush_arrived(response, stored)
        answer = _response(result)
        if odd is not None:
            return 0.0, lambda request: _odd(odd, answer, request)
        if answer is None:
            return _HANGS if delay else 0.0, _unreachable
        return delay, lambda _: answer

    async def aclose(self) -> None:
        """The client is closed."""
        self.closed = True


def _unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("no answer", request=request)


def _response(result: inputs.Input) -> httpx.Response | None:
    """The HTTP answer for what the core would be told; None if there is none."""
    match result:
        case inputs.StartSucceeded():
            start = pb.StartResponse(
                connection_id=result.connection_id,
                gateway_endpoint=result.gateway_endpoint,
                gateway_group=result.gateway_group,
                session_token=result.session_token,
                sync_token=result.sync_token,
            )
            return httpx.Response(200, stream=_Content([start.SerializeToString()]))
        case inputs.FlushSucceeded(request_id):
            flushed = pb.FlushResponse(request_id=request_id)
            return httpx.Response(200, stream=_Content([flushed.SerializeToString()]))
        case inputs.StartFailed() | inputs.FlushFailed() if result.status is not None:
            headers = {}
            if result.retry_after is not None:
                headers["Retry-After"] = f"{result.retry_after:.0f}"
            return _error(result.status, "refused", headers)
    return None


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> httpx.Response:
    content = json.dumps({"error": text, "status": status}).encode()
    return httpx.Response(status, headers=headers, stream=_Content([content]))


def _odd(kind: str, answer: httpx.Response | None, request: httpx.Request) -> httpx.Response:
    match kind:
        case "trickle":
            return httpx.Response(200, stream=_Content([b"\x0a"] * 1000, pause=1.0))
        case "huge":
            return httpx.Response(200, stream=_Content([bytes(100_000)] * 12))
        case "reset in the answer":
            error = httpx.ReadError("reset", request=request)
            return httpx.Response(200, stream=_Content([b"\x0a\x10"], error=error))
        case "garbage":
            return httpx.Response(200, stream=_Content([b"\xff\xfe\xfd"]))
        case "page of a proxy":
            page = b"<html>Access denied</html>"
            return httpx.Response(403, headers={"Retry-After": "-1"}, stream=_Content([page]))
        case "redirect":
            return httpx.Response(302, headers={"Location": "http://elsewhere/"})
        case "empty":
            return httpx.Response(200, stream=_Content([]))
        case "wrong request":
            other = pb.FlushResponse(request_id="another").SerializeToString()
            return httpx.Response(200, stream=_Content([other]))
        case _:
            raise RuntimeError("an exception that httpx does not document")
