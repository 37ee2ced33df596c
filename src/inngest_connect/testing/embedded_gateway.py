"""EmbeddedGateway: an Inngest server for one process, on loopback, speaking the real wire.

``result = await gateway.invoke(function, event)`` drives a run to its end through API, WebSocket
and worker. Several gateways, drains and faults are at hand for tests and for the demo.
"""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..protocol import connect_pb2 as pb
from .gateway_store import GatewayStore
from .http_server import MockHTTPServer
from .model.ledger import Ledger
from .model.settings import GatewaySettings
from .run_driver import Event, FunctionInfo, RunDriver, RunResult
from .websocket_server import MockWebSocketServer

if TYPE_CHECKING:
    import inngest

_DEFAULT_RETRIES = 3


class EmbeddedGateway:
    """``async with EmbeddedGateway() as gateway``. Point clients at ``gateway.api_origin``."""

    def __init__(
        self,
        *,
        gateways: int = 1,
        retry_delay: float = 0.0,
        signing_keys: tuple[str, ...] = (),
        record: bool = True,
        port: int = 0,
        gateway_port: int = 0,
        on_run: Callable[[RunResult], None] | None = None,
        **settings: Any,
    ) -> None:
        """``settings`` are the fields of ``GatewaySettings``; ``retry_delay`` is in seconds.

        ``record`` False keeps no messages, for load. With ``on_run``, an event that is sent to
        the server runs the functions that it triggers, and each result is told. The first gateway
        listens on ``gateway_port``; 0 stands for any port that is free.
        """
        self.settings = GatewaySettings(**settings)
        self.store = GatewayStore(self.settings)
        self.http = MockHTTPServer(
            store=self.store,
            signing_keys=signing_keys,
            port=port,
            routes=[Route("/invoke/{slug}", self._invoke_over_http, methods=["POST"])],
            on_event=self._run_triggered,
        )
        self.gateways: list[MockWebSocketServer] = []
        self._first_gateways = gateways
        self._record = record
        self._gateway_port = gateway_port
        self._on_run = on_run
        self._runs: set[asyncio.Task[None]] = set()
        self._events: dict[str, list[Event]] = {}
        self._driver = RunDriver(
            self.store.dispatch, self._find, self._event_for, retry_delay=retry_delay
        )

    @property
    def api_origin(self) -> str:
        return self.http.origin

    @property
    def ledger(self) -> Ledger:
        return self.store.model.ledger

    @property
    def sent_events(self) -> list[Event]:
        return self.http.sent_events

    async def start(self) -> None:
        """Raises OSError when a port is taken."""
        await self.http.start()
        try:
            for _ in range(self._first_gateways):
                await self.add_gateway()
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)
        self.store.close()
        for gateway in self.gateways:
            await gateway.stop()
        await self.http.stop()

    async def __aenter__(self) -> "EmbeddedGateway":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def add_gateway(self) -> MockWebSocketServer:
        """Start one more gateway, which the API names from now on."""
        name = f"gateway-{len(self.gateways)}"
        port = 0 if self.gateways else self._gateway_port
        gateway = MockWebSocketServer(name=name, store=self.store, record=self._record, port=port)
        await gateway.start()
        self.gateways.append(gateway)
        self.http.add_gateway(name, await self.advertised_url(gateway))
        return gateway

    async def advertised_url(self, gateway: MockWebSocketServer) -> str:
        """The address that the API names for a gateway."""
        return gateway.url

    def client(
        self, app_id: str = "app", *, api_origin: str | None = None, **options: Any
    ) -> "inngest.Inngest":
        """An ``inngest.Inngest`` that talks to this gateway. ``options`` are that class's."""
        import inngest

        origin = api_origin or self.api_origin
        defaults = {
            "api_base_url": origin,
            "event_api_base_url": origin,
            "is_production": False,
        }
        return inngest.Inngest(app_id=app_id, **{**defaults, **options})

    async def drain(self, index: int | None = None) -> MockWebSocketServer:
        """Drain a gateway, the newest unless told otherwise; a fresh one takes its place."""
        drained = self.gateways[-1 if index is None else index]
        self.http.remove_gateway(drained.name)
        if not self.http.gateways:
            await self.add_gateway()
        self.store.drain(drained.name)
        return drained

    async def wait_for_worker(self, count: int = 1) -> None:
        """Wait until ``count`` connections are ready for requests."""
        await self.store.until(lambda _: len(self.store.ready_connections()) >= count)

    async def wait_until_idle(self) -> None:
        """Wait until no request is under way."""
        await self.store.until(lambda model: not model.requests)

    async def invoke(
        self,
        function: "inngest.Function[Any] | str",
        event: "Event | inngest.Event | None" = None,
    ) -> RunResult:
        """Run a function, given itself or as "app-function", to its end.

        Waits up to fifteen seconds for a first worker. Raises LookupError when none has brought it.
        """
        if not self.store.ready_connections():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.wait_for_worker(), 15.0)
        slug = function if isinstance(function, str) else function.get_id()
        return await self._driver.run(slug, _event(event))

    def _run_triggered(self, event: Event) -> None:
        """Start a run of every function that the event triggers."""
        if self._on_run is None:
            return
        for info in self._functions().values():
            if event.get("name") in info.events:
                run = asyncio.create_task(self._run_and_tell(info.slug, event, self._on_run))
                self._runs.add(run)
                run.add_done_callback(self._runs.discard)

    async def _run_and_tell(
        self, slug: str, event: Event, on_run: Callable[[RunResult], None]
    ) -> None:
        on_run(await self._driver.run(slug, _event(event)))

    async def _invoke_over_http(self, request: Request) -> Response:
        """``POST /invoke/{slug}`` with an event as JSON, or nothing, answers with the result."""
        body = await request.body()
        try:
            event = json.loads(body) if body else {}
            result = await self.invoke(request.path_params["slug"], event)
        except (LookupError, ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, 400)
        if self._on_run is not None:
            self._on_run(result)
        return JSONResponse(dataclasses.asdict(result))

    def provide_event(self, name: str, data: dict[str, Any]) -> None:
        """Answer the next ``step.wait_for_event`` for ``name``; without one it times out."""
        self._events.setdefault(name, []).append({"name": name, "data": data, "id": "", "ts": 0})

    def _event_for(self, opcode: dict[str, Any]) -> Event | None:
        waiting = self._events.get(
            str((opcode.get("opts") or {}).get("event") or opcode.get("name"))
        )
        return waiting.pop(0) if waiting else None

    def _find(self, slug: str) -> FunctionInfo:
        functions = self._functions()
        if slug not in functions:
            known = ", ".join(sorted(functions)) or "none"
            raise LookupError(f"no worker has brought the function {slug!r}; there are: {known}")
        return functions[slug]

    def _functions(self) -> dict[str, FunctionInfo]:
        """What workers have introduced, by slug."""
        apps = self.store.model.apps.values()
        return {info.slug: info for app in apps for info in _functions(app)}


def _functions(app: pb.AppConfiguration) -> list[FunctionInfo]:
    found = []
    for config in json.loads(app.functions):
        steps = config.get("steps") or {}
        step: dict[str, Any] = next(iter(steps.values()), {})
        retries = (step.get("retries") or {}).get("attempts", _DEFAULT_RETRIES)
        events = tuple(t["event"] for t in config.get("triggers") or () if "event" in t)
        found.append(FunctionInfo(app.app_name, config["id"], int(retries), events))
    return found


def _event(event: Any) -> Event:
    if event is None:
        event = {}
    elif not isinstance(event, dict) and hasattr(event, "name"):
        event = {"name": event.name, "data": dict(event.data), "id": event.id, "ts": event.ts}
    return {"name": "test/invoked", "data": {}, "id": "", "ts": 0, **event}
