"""MockHTTPServer: the API's two Connect endpoints, as strict as the real ones, on loopback.

Also takes events at ``/e/{key}`` and records them, so that ``client.send`` and ``step.send_event``
work against it.
"""

import asyncio
import contextlib
import hashlib
import json
import re
import secrets
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import uvicorn
from google.protobuf.message import DecodeError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..protocol import FLUSH_PATH, START_PATH
from ..protocol import connect_pb2 as pb
from .gateway_store import GatewayStore
from .issued_sessions import ISSUED
from .model.ulid import make_ulid


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One HTTP request. ``answered`` is the status it got."""

    path: str
    headers: dict[str, str]
    body: bytes
    answered: int

    def start_request(self) -> pb.StartRequest:
        return pb.StartRequest.FromString(self.body)

    def sdk_response(self) -> pb.SDKResponse:
        return pb.SDKResponse.FromString(self.body)


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    group: str
    url: str


class _Server(uvicorn.Server):
    """Leaves signal handlers alone: they belong to the program, or to the worker under test."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class MockHTTPServer:
    """``async with MockHTTPServer(...) as api: api.origin``."""

    def __init__(
        self,
        *,
        store: GatewayStore | None = None,
        signing_keys: Sequence[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        routes: Sequence[Route] = (),
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Without ``signing_keys`` it is a development server, which accepts anything.

        ``routes`` are served too; ``on_event`` hears of every event that is sent to it.
        """
        self.gateways: list[GatewayAddress] = []
        self.sent_events: list[dict[str, Any]] = []
        self.flushed: dict[str, pb.SDKResponse] = {}
        self._store = store
        self._routes = routes
        self._on_event = on_event
        self._keys = tuple(_digest(key) for key in signing_keys)
        self._host, self._port = host, port
        self._ssl_context = ssl_context
        self._history: list[ReceivedRequest] = []
        self._faults: dict[str, deque[Response | None]] = {}
        self._lasting: dict[str, Response] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._turn = 0
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def origin(self) -> str:
        scheme = "http" if self._ssl_context is None else "https"
        return f"{scheme}://{self._host}:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    def add_gateway(self, group: str, url: str) -> None:
        """Let the start endpoint name this gateway."""
        self.gateways.append(GatewayAddress(group, url))

    def remove_gateway(self, group: str) -> None:
        self.gateways = [g for g in self.gateways if g.group != group]

    async def start(self) -> None:
        app = Starlette(
            routes=[
                Route(START_PATH, self._start, methods=["POST"]),
                Route(FLUSH_PATH, self._flush, methods=["POST"]),
                Route("/e/{key}", self._event, methods=["POST"]),
                *self._routes,
            ]
        )
        config = uvicorn.Config(
            app,
            host=self._host,
            port=self._port,
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        config.load()
        config.ssl = self._ssl_context
        # Bound here, because uvicorn ends the process when it cannot.
        listening = socket.create_server((self._host, self._port))
        self._port = listening.getsockname()[1]
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve([listening]))
        while not self._server.started:
            if self._serving.done():
                await self._serving
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving

    async def __aenter__(self) -> "MockHTTPServer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # --- endpoints ---------------------------------------------------------------------------

    async def _start(self, request: Request) -> Response:
        return await self._answer(request, self.handle_start_request)

    async def _flush(self, request: Request) -> Response:
        return await self._answer(request, self.handle_flush_request)

    async def _answer(self, request: Request, handle: Any) -> Response:
        body = await request.body()
        response = self._fault(request.url.path) or self._unauthorised(request)
        if response is None:
            response = handle(body, request.headers.get("authorization", ""))
        headers = {key.lower(): value for key, value in request.headers.items()}
        self._history.append(ReceivedRequest(request.url.path, headers, body, response.status_code))
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        return response

    def handle_start_request(self, body: bytes, authorization: str) -> Response:
        """Name a gateway, another than the excluded ones if there is one."""
        try:
            excluded = set(pb.StartRequest.FromString(body).exclude_gateways)
        except DecodeError:
            return _error(400, "could not parse request")
        if not self.gateways:
            return _error(500, "no gateway found")
        candidates = [g for g in self.gateways if g.group not in excluded] or self.gateways
        self._turn += 1
        gateway = candidates[self._turn % len(candidates)]
        answer = pb.StartResponse(
            connection_id=make_ulid(time.time(), secrets.randbits),
            gateway_endpoint=gateway.url,
            gateway_group=gateway.group,
            session_token=secrets.token_hex(16),
            sync_token=authorization[7:],
        )
        tokens = answer.connection_id, answer.session_token, answer.sync_token
        if self._store is not None:
            self._store.issued(*tokens)
        else:
            ISSUED.add(*tokens)
        return Response(answer.SerializeToString(), media_type="application/octet-stream")

    def handle_flush_request(self, body: bytes, authorization: str) -> Response:
        """Store a reply; its trace context has to be JSON (PROTOCOL.md, SDKResponse)."""
        try:
            response = pb.SDKResponse.FromString(body)
            trace = json.loads(response.system_trace_ctx)
            valid = bool(body) and (trace is None or isinstance(trace, dict))
        except (DecodeError, ValueError):
            valid = False
        if not valid:
            return _error(400, "invalid response")
        self.flushed.setdefault(response.request_id, response)
        if self._store is not None:
            self._store.flush(response)
        answer = pb.FlushResponse(request_id=response.request_id)
        return Response(answer.SerializeToString(), media_type="application/octet-stream")

    async def _event(self, request: Request) -> Response:
        body = await request.json()
        events = body if isinstance(body, list) else [body]
        self.sent_events += events
        if self._on_event is not None:
            for event in events:
                self._on_event(event)
        ids = [make_ulid(time.time(), secrets.randbits) for _ in events]
        return JSONResponse({"ids": ids, "status": 200})

    def _unauthorised(self, request: Request) -> Response | None:
        if not self._keys:
            return None
        presented = request.headers.get("authorization", "")
        if not presented:
            return _error(401, "missing Authorization header")
        if _strip(presented[7:]) not in self._keys:
            return _error(401, "invalid signing key")
        return None

    # --- faults ------------------------------------------------------------------------------

    def simulate_auth_failure(
        self, times: int | None = None, status: int = 401, endpoint: str = START_PATH
    ) -> None:
        """Refuse the next ``times`` calls, or all until ``restore``."""
        self._plan(endpoint, times, _error(status, "authentication failed"))

    def simulate_rate_limiting(
        self,
        times: int | None = None,
        retry_after: int | None = None,
        endpoint: str = START_PATH,
    ) -> None:
        response = _error(429, "too many connections")
        if retry_after is not None:
            response.headers["Retry-After"] = str(retry_after)
        self._plan(endpoint, times, response)

    def simulate_server_error(
        self, times: int | None = None, status: int = 500, endpoint: str = START_PATH
    ) -> None:
        self._plan(endpoint, times, PlainTextResponse("internal error", status))

    def simulate_redirect(
        self, location: str, times: int | None = None, endpoint: str = START_PATH
    ) -> None:
        redirect = PlainTextResponse("", 302, headers={"Location": location})
        self._plan(endpoint, times, redirect)

    def restore(self) -> None:
        """End all faults."""
        self._faults.clear()
        self._lasting.clear()

    def _plan(self, endpoint: str, times: int | None, response: Response) -> None:
        if times is None:
            self._lasting[endpoint] = response
        else:
            self._faults.setdefault(endpoint, deque()).extend([response] * times)

    def _fault(self, path: str) -> Response | None:
        planned = self._faults.get(path)
        if planned:
            return planned.popleft()
        return self._lasting.get(path)

    # --- what was received -------------------------------------------------------------------

    def get_request_history(self, endpoint: str | None = None) -> list[ReceivedRequest]:
        return [r for r in self._history if endpoint is None or r.path == endpoint]

    def assert_endpoint_called(self, endpoint: str) -> ReceivedRequest:
        """Return the first call; AssertionError names what was called instead."""
        calls = self.get_request_history(endpoint)
        others = ", ".join(r.path for r in self._history) or "nothing"
        assert calls, f"{endpoint} was not called; called were: {others}"
        return calls[0]

    async def wait_for_request(
        self, endpoint: str, count: int = 1, timeout: float = 10.0
    ) -> ReceivedRequest:
        """Wait until ``count`` calls have come; returns the last of them."""
        async with asyncio.timeout(timeout):
            while len(self.get_request_history(endpoint)) < count:
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                await waiter
        return self.get_request_history(endpoint)[count - 1]


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message, "data": None, "status": status}, status)


def _strip(key: str) -> str:
    return re.sub(r"^signkey-\w+-", "", key)


def _digest(key: str) -> str:
    return hashlib.sha256(bytes.fromhex(_strip(key))).hexdigest()
