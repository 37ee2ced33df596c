"""``status_app``: the routes, as an ASGI application of their own or inside the user's server."""

import contextlib
from collections.abc import Callable, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..connection import WebSocketWorkerConnection
from ..observability.health import BLOCKED_LIMIT, SILENCE_LIMIT, Health
from .diagram import describe, draw
from .feed import EventFeed
from .guard import Guard
from .recorder import Recorder
from .report import PAGE_REQUESTS, make_report, to_json

if TYPE_CHECKING:
    from .prometheus import PrometheusMetrics

_ASSETS: Final = {
    "status.css": "text/css",
    "status.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_NO_METRICS: Final = (
    'metrics need OpenTelemetry\'s exporter: pip install "inngest-connect[status]"\n'
)


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
    """The handlers of one worker's routes, and what has to be ended with them."""

    def __init__(
        self, worker: WebSocketWorkerConnection, blocked_limit: float, silence_limit: float
    ) -> None:
        self._worker = worker
        self._limits = {"blocked_limit": blocked_limit, "silence_limit": silence_limit}
        self.feed = EventFeed(self._page_report)
        self._recorder = Recorder(self.feed.wake)
        self._metrics = _metrics(worker)
        self._stop_recording = worker.add_counter(self._recorder.observe)

    def application(self, allowed_hosts: Sequence[str] | None) -> Starlette:
        """GET and HEAD; Starlette answers 405 to the rest."""
        handlers: dict[str, Callable[[Request], Response]] = {
            "/": self._page,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics_text,
            "/state.json": self._state_json,
            **{f"/{name}": self._asset for name in _ASSETS},
        }
        routes = [Route(path, _on_the_loop(handler)) for path, handler in handlers.items()]
        routes.append(Route("/events", self.feed, methods=["GET"]))
        return Starlette(routes=routes, middleware=[Middleware(Guard, allowed_hosts=allowed_hosts)])

    def stop(self) -> None:
        """End all streams and forget the worker. From any thread."""
        self.feed.stop()
        self._stop_recording()
        if self._metrics is not None:
            self._metrics.close()

    # --- routes -----------------------------------------------------------------------------

    def _healthz(self, request: Request) -> Response:
        health = self._health()
        return self._verdict(request, "live", health.not_live)

    def _readyz(self, request: Request) -> Response:
        health = self._health()
        return self._verdict(request, "ready", health.not_ready)

    def _verdict(self, request: Request, what: str, reason: str | None) -> Response:
        status = 200 if reason is None else 503
        if not _wants_json(request):
            return PlainTextResponse(f"{reason or 'ok'}\n", status)
        state = self._worker.get_debug_state()
        body = {
            what: reason is None,
            "reason": reason,
            "state": state.external_state.value,
            "app_versions": state.app_versions,
        }
        return JSONResponse(body, status)

    def _metrics_text(self, _: Request) -> Response:
        if self._metrics is None:
            return PlainTextResponse(_NO_METRICS, 501)
        body, content_type = self._metrics.render()
        return Response(body, headers={"Content-Type": content_type})

    def _state_json(self, _: Request) -> Response:
        report = make_report(self._worker, self._recorder, self._health())
        return Response(to_json(report), media_type="application/json")

    def _page(self, _: Request) -> Response:
        state = self._worker.get_debug_state().state
        page = _read("index.html")
        for mark, text in (
            ("{{diagram}}", draw(state)),
            ("{{arrows}}", describe()),
            ("{{report}}", self._page_report()),
        ):
            page = page.replace(mark, text)
        return Response(page, media_type="text/html")

    def _asset(self, request: Request) -> Response:
        name = request.url.path.rpartition("/")[2]
        return Response(_read(name), media_type=_ASSETS[name])

    # --- what they tell -----------------------------------------------------------------------

    def _health(self) -> Health:
        return self._worker.get_health(**self._limits)

    def _page_report(self) -> str:
        report = make_report(self._worker, self._recorder, self._health(), PAGE_REQUESTS)
        return to_json(report)


def _on_the_loop(handler: Callable[[Request], Response]) -> Callable[[Request], Any]:
    """Starlette runs a sync handler in a thread; these are done before one would have started."""

    async def endpoint(request: Request) -> Response:
        return handler(request)

    return endpoint


def _wants_json(request: Request) -> bool:
    wanted = request.query_params.get("format")
    return wanted == "json" or (
        wanted is None and "application/json" in request.headers.get("accept", "")
    )


def _read(name: str) -> str:
    return resources.files(__package__).joinpath("page", name).read_text(encoding="utf-8")


def _metrics(worker: WebSocketWorkerConnection) -> "PrometheusMetrics | None":
    """None when the exporter is not installed, which is no reason to have no status page."""
    with contextlib.suppress(ImportError):
        from .prometheus import PrometheusMetrics

        return PrometheusMetrics(worker)
    return None
