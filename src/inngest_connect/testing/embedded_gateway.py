"""EmbeddedGateway: an Inngest server inside one process, on loopback.

``result = await gateway.invoke(function, event)`` drives a run to its end through API, WebSocket
and worker. Tests and the demo can have several gateways, drains and faults.
"""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..connection import WebSocketWorkerConnection
from ..core.settings import Timing
from ..options import OPTIONS, resolve_options
from ..sdk.adapter import client_at
from ..sdk.apps import Apps, clients_of
from .gateway_store import GatewayStore
from .http_server import MockHTTPServer, check_event, parse_json
from .model.ledger import Ledger
from .model.settings import GatewaySettings
from .one_loop import OneLoop
from .realtime import Realtime
from .run_driver import Event, FunctionInfo, RunDriver, RunResult
from .websocket_server import MockWebSocketServer

if TYPE_CHECKING:
    import inngest

_DEFAULT_RETRIES: Final = 3
_FIRST_WORKER: Final = 15.0
"""Seconds that ``invoke`` waits for a worker."""
_SHORT_PAUSE: Final = Timing(pause_delay=0.02)
"""The pause is for messages that overtake each other between machines."""


class EmbeddedGateway:
    """``async with EmbeddedGateway() as gateway``. Point clients at ``gateway.api_origin``."""

    def __init__(
        self,
        *,
        gateways: int = 1,
        retry_delay: float = 0.0,
        signing_keys: tuple[str, ...] = (),
        record: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
        gateway_port: int = 0,
        on_run: Callable[[RunResult], None] | None = None,
        on_event: Callable[[Event, list[str]], None] | None = None,
        **settings: Any,
    ) -> None:
        """``settings`` are the fields of ``GatewaySettings``; ``retry_delay`` is in seconds.

        With ``record`` False no messages are kept, for load. With ``on_run``, an event that is sent
        to the server runs the functions that it triggers, and ``on_run`` is called with each
        result; ``on_event`` is called with each event and the functions that it runs. The API
        listens on ``port`` of ``host`` and the first gateway on ``gateway_port``; 0 is any free
        port.
        """
        self.settings = GatewaySettings(**settings)
        self.store = GatewayStore(self.settings)
        invoke = Route("/invoke/{slug}", self._invoke_over_http, methods=["GET", "POST"])
        realtime = Realtime()
        self.http = MockHTTPServer(
            store=self.store,
            signing_keys=signing_keys,
            host=host,
            port=port,
            routes=[invoke, *realtime.routes],
            on_event=self._run_triggered,
        )
        self.gateways: list[MockWebSocketServer] = []
        """All that were started, drained ones too, in their order."""
        self.ledger: Ledger = self.store.model.ledger
        """What happened to every request."""
        self.sent_events: list[Event] = self.http.sent_events
        """The events that were sent to the API, as JSON objects."""
        self.event_loop = OneLoop("this gateway", "gateway_thread, which has a thread of its own")
        self.published = realtime.published
        """What functions published: "channel", "topic" and "data" of each message."""
        self._host = host
        self._first_gateways = gateways
        self._record = record
        self._gateway_port = gateway_port
        self._on_run = on_run
        self._on_event = on_event
        self._runs: set[asyncio.Task[None]] = set()
        self._events: dict[str, list[Event]] = {}
        self._driver = RunDriver(
            self.store.dispatch, self._find, self._event_for, retry_delay=retry_delay
        )

    @property
    def api_origin(self) -> str:
        """The address of the API, for clients."""
        return self.http.origin

    async def start(self) -> None:
        """Start the servers, which belong to this event loop. Raises OSError for a taken port."""
        self.event_loop.begin()
        await self.http.start()
        try:
            for _ in range(self._first_gateways):
                await self.add_gateway()
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Cancel the runs that events triggered, and stop all servers."""
        self.event_loop.check()
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
        """Start another gateway, which the API names from now on."""
        self.event_loop.check()
        name = f"gateway-{len(self.gateways)}"
        port = 0 if self.gateways else self._gateway_port
        gateway = MockWebSocketServer(
            name=name, store=self.store, record=self._record, host=self._host, port=port
        )
        await gateway.start()
        self.gateways.append(gateway)
        self.http.add_gateway(name, await self.advertised_url(gateway))
        return gateway

    async def advertised_url(self, gateway: MockWebSocketServer) -> str:
        """Return the address that the API names for a gateway."""
        return gateway.url

    def client(
        self, app_id: str = "app", *, api_origin: str | None = None, **options: Any
    ) -> "inngest.Inngest":
        """Return an ``inngest.Inngest`` for this gateway, with that class's ``options``.

        ``api_origin`` is the address of something in front of this gateway, such as a FaultProxy.
        """
        import inngest

        origin = api_origin or self.api_origin
        defaults = {
            "api_base_url": origin,
            "event_api_base_url": origin,
            "is_production": False,
        }
        return inngest.Inngest(app_id=app_id, **{**defaults, **options})

    @contextlib.asynccontextmanager
    async def connect(self, apps: Apps, **options: Any) -> AsyncIterator[WebSocketWorkerConnection]:
        """``async with gateway.connect(apps) as worker``: a worker that is ready.

        It talks to this gateway wherever the clients point, and so do they until it ends: the
        events that functions send arrive here, and nothing reaches a real server. ``options`` are
        those of ``connect()``; their variables are not read.
        """
        self.event_loop.check()
        unknown = sorted(options.keys() - OPTIONS.keys())
        if unknown:
            raise TypeError(f"there is no option {unknown[0]!r}; there are: {', '.join(OPTIONS)}")
        given = {"wait": True, "timing": _SHORT_PAUSE, **options, "api_origin": self.api_origin}
        async with contextlib.AsyncExitStack() as stack:
            for client in clients_of(apps):
                await stack.enter_async_context(
                    client_at(client, self.api_origin, is_production=self.http.has_keys)
                )
            # Not from the environment: a gateway or a journal of a real worker may be named there.
            worker = WebSocketWorkerConnection(apps, resolve_options({}, **given))
            yield await stack.enter_async_context(worker)

    async def drain(self, index: int | None = None) -> MockWebSocketServer:
        """Drain a gateway, by default the newest; another one is started if it was the last."""
        self.event_loop.check()
        drained = self.gateways[-1 if index is None else index]
        self.http.remove_gateway(drained.name)
        if not self.http.gateways:
            await self.add_gateway()
        self.store.drain(drained.name)
        return drained

    async def wait_for_worker(self, count: int = 1) -> None:
        """Wait until ``count`` connections are ready for requests."""
        self.event_loop.check()
        await self.store.until(lambda _: len(self.store.ready_connections()) >= count)

    async def wait_until_idle(self) -> None:
        """Wait until every request has ended."""
        self.event_loop.check()
        await self.store.until(lambda model: not model.requests)

    async def invoke(
        self,
        function: "inngest.Function[Any] | str",
        event: "Event | inngest.Event | None" = None,
        *,
        steps: Mapping[str, Any] | None = None,
    ) -> RunResult:
        """Run a function, given itself or by its id "app-function", to its end.

        ``steps`` mocks steps by their ids: what each returns, or an exception that it raises. The
        function of such a step is not called; a wait gets an event such as {"data": {}}, or None.

        Without a ready worker, waits fifteen seconds for one. Raises LookupError for a function
        that no worker has introduced, and AssertionError for a mock of a step that a completed run
        did not have.
        """
        self.event_loop.check()
        if not self.store.ready_connections():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.wait_for_worker(), _FIRST_WORKER)
        slug = function if isinstance(function, str) else function.get_id()
        return await self._driver.run(slug, _event(event), steps)

    @property
    def functions(self) -> tuple[str, ...]:
        """The ids, "app-function", of all functions that workers have introduced."""
        return tuple(self._functions())

    def provide_event(self, name: str, data: dict[str, Any]) -> None:
        """Answer the next ``step.wait_for_event`` for ``name``; without one it times out."""
        self._events.setdefault(name, []).append({"name": name, "data": data, "id": "", "ts": 0})

    def _event_for(self, opcode: dict[str, Any]) -> Event | None:
        name = (opcode.get("opts") or {}).get("event") or opcode.get("name")
        provided = self._events.get(str(name))
        return provided.pop(0) if provided else None

    def _run_triggered(self, event: Event) -> None:
        on_run = self._on_run
        if on_run is None:
            return

        async def run_to_its_end(slug: str) -> None:
            on_run(await self._driver.run(slug, _event(event)))

        triggered = [i.slug for i in self._functions().values() if event.get("name") in i.events]
        if self._on_event is not None:
            self._on_event(event, triggered)
        for slug in triggered:
            run = asyncio.create_task(run_to_its_end(slug))
            self._runs.add(run)
            run.add_done_callback(self._runs.discard)

    async def _invoke_over_http(self, request: Request) -> Response:
        # /invoke/{slug} with an event as JSON, or no body, is answered with the result.
        body = await request.body()
        try:
            event = parse_json(body) if body else {}
            check_event(event, needs_name=False)
            result = await self.invoke(request.path_params["slug"], event)
        except (LookupError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        if self._on_run is not None:
            self._on_run(result)
        return JSONResponse(dataclasses.asdict(result))

    def _find(self, slug: str) -> FunctionInfo:
        functions = self._functions()
        if slug not in functions:
            known = ", ".join(sorted(functions)) or "none"
            raise LookupError(f"no worker has introduced the function {slug!r}; known are: {known}")
        return functions[slug]

    def _functions(self) -> dict[str, FunctionInfo]:
        # What workers have introduced in WORKER_CONNECT, by slug.
        found = {}
        for app in self.store.model.apps.values():
            for config in json.loads(app.functions):
                step: dict[str, Any] = next(iter((config.get("steps") or {}).values()), {})
                retries = (step.get("retries") or {}).get("attempts", _DEFAULT_RETRIES)
                events = tuple(t["event"] for t in config.get("triggers") or () if "event" in t)
                slug = config["id"]
                found[slug] = FunctionInfo(app.app_name, slug, int(retries), events)
        return found


def _event(event: Any) -> Event:
    if event is None:
        event = {}
    elif not isinstance(event, dict) and hasattr(event, "name"):
        event = {"name": event.name, "data": dict(event.data), "id": event.id, "ts": event.ts}
    return {"name": "test/invoked", "data": {}, "id": "", "ts": 0, **event}
