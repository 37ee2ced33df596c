"""MockHTTPServer: the two Connect endpoints of the API, as strict as the real ones, on loopback.

It also takes events at ``/e/{key}`` and records them, so that ``client.send`` and
``step.send_event`` work against it.
"""

import hashlib
import json
import re
import secrets
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..protocol import DECODE_ERRORS, FLUSH_PATH, START_PATH
from ..protocol import connect_pb2 as pb
from .changes import Changes
from .gateway_store import GatewayStore
from .http_listener import HTTPListener
from .model.ulid import make_ulid
from .scripted_rules import remember_session


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One HTTP request; ``answered`` is the status of its response."""

    path: str
    headers: dict[str, str]
    """With names in lower case."""
    body: bytes
    answered: int

    def start_request(self) -> pb.StartRequest:
        """Decode the body of a call of ``/v0/connect/start``. Raises one of DECODE_ERRORS."""
        return pb.StartRequest.FromString(self.body)

    def sdk_response(self) -> pb.SDKResponse:
        """Decode the body of a call of ``/v0/connect/flush``. Raises one of DECODE_ERRORS."""
        return pb.SDKResponse.FromString(self.body)


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """A gateway that the start endpoint can name."""

    group: str
    url: str


class MockHTTPServer(HTTPListener):
    """``async with MockHTTPServer() as api``: point clients at ``api.origin``."""

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

        Sessions that it issues are checked by the gateways of the same ``store``. ``routes`` are
        served too; ``on_event`` is called with every event that is sent to it.
        """
        endpoints = [
            Route(START_PATH, self._answer, methods=["POST"]),
            Route(FLUSH_PATH, self._answer, methods=["POST"]),
            Route("/e/{key}", self._event, methods=["POST"]),
        ]
        super().__init__([*endpoints, *routes], host, port, ssl_context)
        self.gateways: list[GatewayAddress] = []
        self.sent_events: list[dict[str, Any]] = []
        """The events of ``client.send`` and ``step.send_event``, as JSON objects."""
        self.flushed: dict[str, pb.SDKResponse] = {}
        """The first reply that was flushed for each request id."""
        self._store = store
        self._on_event = on_event
        self._keys = tuple(
            hashlib.sha256(bytes.fromhex(_without_prefix(key))).hexdigest() for key in signing_keys
        )
        self._history: list[ReceivedRequest] = []
        self._faults: dict[str, deque[Response]] = {}
        """Responses to the next calls, by path."""
        self._lasting: dict[str, Response] = {}
        """Responses to all further calls, by path."""
        self._changes = Changes()
        self._turn = 0

    @property
    def has_keys(self) -> bool:
        """Whether it checks signing keys, as a server in production does."""
        return bool(self._keys)

    def add_gateway(self, group: str, url: str) -> None:
        """Name this gateway in answers to start requests."""
        self.gateways.append(GatewayAddress(group, url))

    def remove_gateway(self, group: str) -> None:
        """Stop naming a gateway; connections to it stay."""
        self.gateways = [g for g in self.gateways if g.group != group]

    async def __aenter__(self) -> "MockHTTPServer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # --- endpoints ---------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        path, authorization = request.url.path, request.headers.get("authorization", "")
        if planned := self._faults.get(path):
            response = planned.popleft()
        elif path in self._lasting:
            response = self._lasting[path]
        elif self._keys and not authorization:
            response = _error(401, "missing Authorization header")
        elif self._keys and _without_prefix(authorization[7:]) not in self._keys:
            response = _error(401, "invalid signing key")
        elif path == START_PATH:
            response = self.handle_start_request(body, authorization)
        else:
            response = self.handle_flush_request(body, authorization)
        headers = {key.lower(): value for key, value in request.headers.items()}
        self._history.append(ReceivedRequest(path, headers, body, response.status_code))
        self._changes.happened()
        return response

    def handle_start_request(self, body: bytes, authorization: str) -> Response:
        """Answer a start request: name a gateway, if possible not an excluded one."""
        try:
            excluded = set(pb.StartRequest.FromString(body).exclude_gateways)
        except DECODE_ERRORS:
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
        remember = remember_session if self._store is None else self._store.issued
        remember(answer.connection_id, answer.session_token, answer.sync_token)
        return Response(answer.SerializeToString(), media_type="application/octet-stream")

    def handle_flush_request(self, body: bytes, authorization: str) -> Response:
        """Answer a flush: store a reply. Its trace context has to be JSON (docs/protocol.md#flush).

        The first reply of a request wins; a repetition is answered in the same way.
        """
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
        try:
            body = parse_json(await request.body())
            events = body if isinstance(body, list) else [body]
            for event in events:
                check_event(event)
        except ValueError as error:
            return _error(400, str(error))
        self.sent_events += events
        if self._on_event is not None:
            for event in events:
                self._on_event(event)
        ids = [make_ulid(time.time(), secrets.randbits) for _ in events]
        return JSONResponse({"ids": ids, "status": 200})

    # --- faults ------------------------------------------------------------------------------

    def simulate_auth_failure(
        self, times: int | None = None, status: int = 401, endpoint: str = START_PATH
    ) -> None:
        """Refuse the next ``times`` calls of an endpoint, or all calls until ``restore``."""
        self._plan(endpoint, times, _error(status, "authentication failed"))

    def simulate_rate_limiting(
        self, times: int | None = None, retry_after: int | None = None, endpoint: str = START_PATH
    ) -> None:
        """Answer 429, with a ``Retry-After`` header of that many seconds if given."""
        response = _error(429, "too many connections")
        if retry_after is not None:
            response.headers["Retry-After"] = str(retry_after)
        self._plan(endpoint, times, response)

    def simulate_server_error(
        self, times: int | None = None, status: int = 500, endpoint: str = START_PATH
    ) -> None:
        """Answer an error that is not in the JSON form of the API, as proxies do."""
        self._plan(endpoint, times, PlainTextResponse("internal error", status))

    def simulate_redirect(
        self, location: str, times: int | None = None, endpoint: str = START_PATH
    ) -> None:
        """Answer 302 with that ``Location``."""
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

    # --- what was received -------------------------------------------------------------------

    def get_request_history(self, endpoint: str | None = None) -> list[ReceivedRequest]:
        """Return all calls, or those of one path, in the order of their answers."""
        return [r for r in self._history if endpoint is None or r.path == endpoint]

    def assert_endpoint_called(self, endpoint: str) -> ReceivedRequest:
        """Return the first call of a path; the AssertionError names the paths that were called."""
        calls = self.get_request_history(endpoint)
        others = ", ".join(r.path for r in self._history) or "nothing"
        assert calls, f"{endpoint} was not called; called were: {others}"
        return calls[0]

    async def wait_for_request(
        self, endpoint: str, count: int = 1, timeout: float = 10.0
    ) -> ReceivedRequest:
        """Wait for ``count`` calls of a path; returns the last of them.

        Raises TimeoutError after ``timeout`` seconds.
        """
        await self._changes.until(lambda: len(self.get_request_history(endpoint)) >= count, timeout)
        return self.get_request_history(endpoint)[count - 1]


def parse_json(body: bytes) -> Any:
    """Raises ValueError with a sentence."""
    try:
        return json.loads(body)
    except ValueError as error:
        raise ValueError(f"the body is not JSON: {error}") from None


def check_event(event: Any, *, needs_name: bool = True) -> None:
    """Raises ValueError with a sentence for what is no event."""
    form = 'an event is an object such as {"name": "shop/ordered", "data": {}}'
    if not isinstance(event, dict):
        raise ValueError(f"the event is {json.dumps(event)[:100]}; {form}")
    if needs_name and not (isinstance(event.get("name"), str) and event["name"]):
        raise ValueError(f"the event has no name; {form}")
    if not isinstance(event.get("data") or {}, dict):
        raise ValueError(f"the data of the event is {json.dumps(event['data'])[:100]}; {form}")


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message, "data": None, "status": status}, status)


def _without_prefix(key: str) -> str:
    return re.sub(r"^signkey-\w+-", "", key)
