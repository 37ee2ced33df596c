"""``status_app``: the routes as an ASGI application, for the status server or the user's server."""

import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..connection import WebSocketWorkerConnection
from ..observability.debug_state import DebugState
from ..observability.health import BLOCKED_LIMIT, SILENCE_LIMIT, Health, judge
from ..observability.recent_activity import RecentActivity
from .guard import Guard
from .state import state_json

if TYPE_CHECKING:
    from .prometheus import PrometheusMetrics

FRESH_SECONDS: Final = 0.1
"""For how long an answer of ``/state.json`` is given to further clients."""

_ASSETS: Final = {
    "status.css": "text/css",
    "status.js": "text/javascript",
    "charts.js": "text/javascript",
    "dom.js": "text/javascript",
    "tables.js": "text/javascript",
    "words.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


def status_app(
    worker: WebSocketWorkerConnection,
    *,
    blocked_limit: float = BLOCKED_LIMIT,
    silence_limit: float = SILENCE_LIMIT,
    allowed_hosts: Sequence[str] | None = None,
) -> Starlette:
    """The status page and its routes, which can be mounted under any prefix.

    Args:
        blocked_limit: Seconds that an event loop may be late before ``/healthz`` is 503.
        silence_limit: Seconds without a message of the gateway before ``/readyz`` is 503.
        allowed_hosts: Names in the Host header that are answered, without ports. Default: all.
    """
    return Site(worker, blocked_limit, silence_limit).application(allowed_hosts)


class Site:
    """The handlers of one worker's routes, and the subscriptions that end with them."""

    def __init__(
        self, worker: WebSocketWorkerConnection, blocked_limit: float, silence_limit: float
    ) -> None:
        self._worker = worker
        self._limits = (blocked_limit, silence_limit)
        slugs = [slug for slugs in worker.functions.values() for slug in slugs]
        self._recent = RecentActivity(function_slugs=slugs)
        self._metrics = _metrics(worker)
        self._stop_observing = worker.add_counter(self._recent.observe)
        self._states: dict[bool, tuple[float, str]] = {}

    def application(self, allowed_hosts: Sequence[str] | None) -> Starlette:
        """GET and HEAD; Starlette answers 405 to other methods."""
        handlers: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/": self._page,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics_text,
            "/state.json": self._state_json,
            **{f"/{name}": self._asset for name in _ASSETS},
        }
        return Starlette(
            routes=[Route(path, handler) for path, handler in handlers.items()],
            middleware=[Middleware(Guard, allowed_hosts=allowed_hosts)],
        )

    def stop(self) -> None:
        """End the subscriptions. From any thread."""
        self._stop_observing()
        if self._metrics is not None:
            self._metrics.close()

    # The handlers are coroutines that never wait: Starlette would run a plain function in a thread,
    # which takes longer than any of them.

    async def _healthz(self, request: Request) -> Response:
        state, health = self._judged()
        return _verdict(request, "live", health.not_live, state)

    async def _readyz(self, request: Request) -> Response:
        state, health = self._judged()
        return _verdict(request, "ready", health.not_ready, state)

    def _judged(self) -> tuple[DebugState, Health]:
        state = self._worker.get_debug_state()
        return state, judge(state, *self._limits)

    async def _metrics_text(self, _: Request) -> Response:
        if self._metrics is None:
            remedy = 'pip install "inngest-connect[status]"'
            return PlainTextResponse(f"metrics need OpenTelemetry's exporter: {remedy}\n", 501)
        body, content_type = self._metrics.render()
        return Response(body, headers={"Content-Type": content_type})

    async def _state_json(self, request: Request) -> Response:
        """All requests in flight, or the oldest ones for ``?brief``, as the page asks.

        The answer is kept for a moment, so that many clients cost no more than ten a second.
        """
        brief = "brief" in request.query_params
        made_at, text = self._states.get(brief, (float("-inf"), ""))
        now = time.monotonic()
        if now - made_at >= FRESH_SECONDS:
            text = state_json(self._worker, self._recent, *self._judged(), brief=brief)
            self._states[brief] = (now, text)
        return Response(text, media_type="application/json")

    async def _page(self, _: Request) -> Response:
        # Not images: the script lights the state by a class, which takes one document.
        page = _read("index.html")
        for name in ("state_machine.svg", "phases.svg", "stages.svg"):
            page = page.replace(f"{{{{{name}}}}}", _read(name))
        return Response(page, media_type="text/html")

    async def _asset(self, request: Request) -> Response:
        name = request.url.path.rpartition("/")[2]
        return Response(_read(name), media_type=_ASSETS[name])


def _verdict(request: Request, what: str, reason: str | None, state: DebugState) -> Response:
    status = 200 if reason is None else 503
    wanted = request.query_params.get("format")
    if wanted is None and "application/json" in request.headers.get("accept", ""):
        wanted = "json"
    if wanted != "json":
        return PlainTextResponse(f"{reason or 'ok'}\n", status)
    body = {
        what: reason is None,
        "reason": reason,
        "state": state.external_state.value,
        "app_versions": state.app_versions,
    }
    return JSONResponse(body, status)


def _read(name: str) -> str:
    return resources.files(__package__).joinpath("page", name).read_text(encoding="utf-8")


def _metrics(worker: WebSocketWorkerConnection) -> "PrometheusMetrics | None":
    """None when the exporter is not installed; the other routes work without it."""
    with contextlib.suppress(ImportError):
        from .prometheus import PrometheusMetrics

        return PrometheusMetrics(worker)
    return None
