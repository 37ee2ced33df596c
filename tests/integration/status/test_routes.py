"""The status server's routes: a real worker, a real gateway, real HTTP."""

import asyncio
import contextlib
import dataclasses
import inspect
import logging
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import inngest
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import inngest_connect.status.application as application
import inngest_connect.status.guard as guard
from inngest_connect import (
    ConfigurationError,
    ConnectionState,
    LocalMistake,
    WebSocketWorkerConnection,
    connect,
)
from inngest_connect.observability.debug_state import InFlightRequest
from inngest_connect.observability.subscriptions import Where
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.status import StatusServer, status_app
from inngest_connect.testing import ConnectionTestHarness, EmbeddedGateway, GatewayThread
from tests.integration.demo_apps import make_app, make_client

pytestmark = pytest.mark.integration

K = pb.GatewayMessageType
KEY = "signkey-test-" + "5e" * 32
GETTABLE = (
    "/", "/healthz", "/readyz", "/metrics", "/state.json", "/status.css", "/status.js", "/dom.js",
    "/words.js", "/tables.js", "/charts.js",
)  # fmt: skip


@contextlib.contextmanager
def serving(worker: WebSocketWorkerConnection, **options: float) -> Iterator[str]:
    server = StatusServer(worker, "0", **options)  # type: ignore[arg-type]
    url = server.start()
    try:
        yield url
    finally:
        server.stop()


def idle_worker() -> WebSocketWorkerConnection:
    return connect([make_app("http://127.0.0.1:1").pair], logger=False)


@pytest.mark.scenario("security-status")
async def test_every_route_answers_get_and_head_and_nothing_else() -> None:
    async with ConnectionTestHarness() as harness, httpx.AsyncClient() as client:
        worker = await harness.start_worker([make_app(harness.api_origin).pair])
        with serving(worker) as url:
            got = {path: await client.get(url + path) for path in GETTABLE}
            head = {path: await client.head(url + path) for path in GETTABLE}
            posted = [await client.post(url + path) for path in GETTABLE]
            missing = await client.get(f"{url}/nothing")

    assert {path: response.status_code for path, response in got.items()} == dict.fromkeys(
        GETTABLE, 200
    )
    assert {response.status_code for response in head.values()} == {200}
    assert not any(response.content for response in head.values())
    assert {response.status_code for response in posted} == {405}
    assert missing.status_code == 404
    for response in (*got.values(), *head.values(), *posted, missing):
        for name, value in guard.HEADERS.items():
            assert response.headers[name] == value
    assert (got["/healthz"].text, got["/readyz"].text) == ("ok\n", "ok\n")


async def test_health_is_json_on_request() -> None:
    async with ConnectionTestHarness() as harness, httpx.AsyncClient() as client:
        app = make_app(harness.api_origin, app_version="v7")
        worker = await harness.start_worker([app.pair])
        with serving(worker) as url:
            by_query = await client.get(f"{url}/healthz?format=json")
            by_header = await client.get(f"{url}/readyz", headers={"Accept": "application/json"})
            as_text = await client.get(
                f"{url}/readyz?format=text", headers={"Accept": "application/json"}
            )

    rest = {"reason": None, "state": "ACTIVE", "app_versions": {"app": "v7"}}
    assert by_query.json() == {"live": True, **rest}
    assert by_header.json() == {"ready": True, **rest}
    assert as_text.text == "ok\n"


async def test_a_worker_that_reconnects_is_not_ready_but_live() -> None:
    async with ConnectionTestHarness() as harness, httpx.AsyncClient() as client:
        worker = await harness.start_worker([make_app(harness.api_origin).pair])
        with serving(worker) as url:
            lost = asyncio.create_task(
                harness.wait_for_state_transition(ConnectionState.RECONNECTING)
            )
            await asyncio.sleep(0)
            await harness.simulate_network_partition()
            await lost
            ready = await client.get(f"{url}/readyz")
            ready_json = await client.get(f"{url}/readyz?format=json")
            live = await client.get(f"{url}/healthz")
            state = (await client.get(f"{url}/state.json")).json()
            active = asyncio.create_task(worker.wait_for_state(ConnectionState.ACTIVE))
            await harness.heal_network_partition()
            async with asyncio.timeout(20):
                await active
            healed = await client.get(f"{url}/readyz")

    assert ready.status_code == ready_json.status_code == 503
    assert "CONNECTING" in ready.text
    assert ready_json.json()["ready"] is False
    assert (live.status_code, healed.status_code) == (200, 200)
    assert state["history"][-1]["state"] in ("RECONNECTING", "CONNECTING")
    assert "disconnected" in [error["kind"] for error in state["errors"]]


async def test_a_drain_stays_ready_though_the_page_shows_it() -> None:
    async with ConnectionTestHarness(sync_delay=0.3) as harness, httpx.AsyncClient() as client:
        worker = await harness.start_worker([make_app(harness.api_origin).pair])
        with serving(worker) as url:
            draining = asyncio.create_task(
                harness.wait_for_state_transition(ConnectionState.DRAINING_RECONNECTING)
            )
            await asyncio.sleep(0)
            seen: list[tuple[str, int]] = []
            await harness.simulate_gateway_draining(wait=False)
            await draining
            async with asyncio.timeout(20):
                while "DRAINING_RECONNECTING" not in dict(seen) or seen[-1][0] != "ACTIVE":
                    state = (await client.get(f"{url}/state.json")).json()["state"]["state"]
                    seen.append((state, (await client.get(f"{url}/readyz")).status_code))

    assert {status for _, status in seen} == {200}


async def test_a_worker_that_shuts_down_is_not_ready_and_one_that_is_closed_not_live() -> None:
    async with EmbeddedGateway() as gateway, httpx.AsyncClient() as client:
        app = make_app(gateway)
        worker = connect([app.pair], shutdown_signals=[])
        with serving(worker) as url:
            before = await client.get(f"{url}/readyz")
            async with worker:
                running = asyncio.create_task(gateway.invoke("app-wait"))
                await app.seen.started.wait()
                await worker.close()
                async with asyncio.timeout(20):
                    # The wish to close crosses to another thread; each request gives it time.
                    while (ready := await client.get(f"{url}/readyz")).status_code == 200:
                        continue
                live = await client.get(f"{url}/healthz")
                app.seen.release.set()
                await running
            closed = await client.get(f"{url}/healthz")

    assert (before.status_code, before.text) == (503, "the connection is CONNECTING\n")
    assert ready.text == "shutting down\n"
    assert live.status_code == 200
    assert (closed.status_code, closed.text) == (503, "the worker is CLOSED\n")


def test_a_blocked_application_loop_is_reported_while_it_is_blocked() -> None:
    blocked, release = threading.Event(), threading.Event()
    answers: list[httpx.Response] = []

    def probe(url: str) -> None:
        """On a thread, because the application's loop is the one that is blocked."""
        blocked.wait(20)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            response = httpx.get(f"{url}/healthz")
            if response.status_code == 503:
                answers.append(response)
                answers.extend(httpx.get(url + path) for path in ("/readyz", "/state.json", "/"))
                break
            time.sleep(0.02)
        release.set()

    with GatewayThread() as thread:
        client = make_client(thread.api_origin)

        @client.create_function(fn_id="block", trigger=inngest.TriggerEvent(event="x"), retries=0)
        async def block(ctx: inngest.Context) -> str:
            blocked.set()
            release.wait(30)
            return "done"

        async def main() -> None:
            worker = connect([(client, [block])], shutdown_signals=[])
            with serving(worker, blocked_limit=0.3) as url:
                async with worker:
                    prober = threading.Thread(target=probe, args=(url,))
                    prober.start()
                    invoked = thread.call(lambda gateway: gateway.invoke("app-block"))
                    await asyncio.wrap_future(invoked)
                    await asyncio.to_thread(prober.join)

        asyncio.run(main())

    health, ready, state, page = answers
    assert "the application's event loop is blocked for" in health.text
    assert ready.status_code == 503
    assert state.json()["state"]["in_flight"][0]["function_slug"] == "app-block"
    assert page.status_code == 200


@pytest.mark.scenario("security-status", "security-keys")
async def test_no_route_shows_a_key_a_token_or_a_payload() -> None:
    async with EmbeddedGateway(signing_keys=(KEY,)) as gateway, httpx.AsyncClient() as client:
        app = make_app(gateway, signing_key=KEY, is_production=True, event_key="canary-event-key")
        worker = connect([app.pair], shutdown_signals=[])
        with serving(worker) as url:
            async with worker:
                await gateway.invoke("app-echo", {"data": {"x": "canary-payload"}})
                running = asyncio.create_task(
                    gateway.invoke("app-wait", {"data": {"x": "canary-payload"}})
                )
                await app.seen.started.wait()
                texts = [(await client.get(url + path)).text for path in GETTABLE]
                app.seen.release.set()
                await running
            (start,) = gateway.http.get_request_history("/v0/connect/start")
            hello = gateway.gateways[0].assert_message_received(K.WORKER_CONNECT)

    secrets = [KEY, "5e" * 16, "canary", start.headers["authorization"].removeprefix("Bearer ")]
    auth = pb.WorkerConnectRequestData.FromString(hello.payload).auth_data
    secrets += [auth.session_token, auth.sync_token]
    assert all(len(secret) >= 6 for secret in secrets)
    assert not [secret for secret in secrets for text in texts if secret in text]
    assert "app-wait" in texts[GETTABLE.index("/state.json")]


async def test_many_clients_get_one_state_which_is_made_anew_when_it_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(application, "FRESH_SECONDS", 3600.0)
    with serving(idle_worker()) as url:
        async with httpx.AsyncClient() as client:
            answers = [(await client.get(f"{url}/state.json")).json()["at"] for _ in range(5)]
            brief = (await client.get(f"{url}/state.json?brief")).json()["at"]
            monkeypatch.setattr(application, "FRESH_SECONDS", 0.0)
            later = (await client.get(f"{url}/state.json")).json()["at"]

    assert len(set(answers)) == 1
    assert answers[0] < brief < later


@pytest.mark.scenario("security-status")
async def test_only_names_of_loopback_are_answered_there() -> None:
    async with httpx.AsyncClient() as client:
        with serving(idle_worker()) as url:
            answers = {
                host: (await client.get(f"{url}/state.json", headers={"Host": host})).status_code
                for host in ("localhost", "127.0.0.1:1", "[::1]:80", "evil.example", "")
            }
        server = StatusServer(idle_worker(), "0", allowed_hosts=["worker.example"])
        allowed = await client.get(
            f"{server.start()}/state.json", headers={"Host": "worker.example"}
        )
        server.stop()

    assert answers == {
        "localhost": 200, "127.0.0.1:1": 200, "[::1]:80": 200, "evil.example": 421, "": 421,
    }  # fmt: skip
    assert allowed.status_code == 200


@pytest.mark.scenario("security-status")
def test_another_address_than_loopback_is_warned_about_once_and_answers_every_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = StatusServer(idle_worker(), "0.0.0.0:0")
    url = server.start()
    answer = httpx.get(
        f"{url.replace('0.0.0.0', '127.0.0.1')}/state.json", headers={"Host": "10.1.2.3:8080"}
    )
    server.stop()

    assert answer.status_code == 200
    warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert ["not" in w.getMessage() or "everybody" in w.getMessage() for w in warnings] == [True]


def test_a_port_that_is_taken_is_named_with_the_remedy() -> None:
    with serving(idle_worker()) as url:
        port = url.rpartition(":")[2]
        with pytest.raises(ConfigurationError, match=f"port {port}: the port is taken; choose"):
            StatusServer(idle_worker(), port).start()


def test_a_host_that_this_machine_has_not_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1"):
        StatusServer(idle_worker(), "192.0.2.1:0").start()
    with pytest.raises(ConfigurationError, match=r"no-such-name\.invalid"):
        StatusServer(idle_worker(), "no-such-name.invalid:0").start()


def test_it_touches_neither_logging_nor_signals_and_logs_no_access(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    access = logging.getLogger("uvicorn.access")
    names = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")

    def configured() -> list[object]:
        loggers = [logging.getLogger(name) for name in names]
        return [(each.level, each.propagate, tuple(each.handlers)) for each in loggers]

    access.addHandler(logging.NullHandler())
    before = configured(), signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with serving(idle_worker()) as url:
        httpx.get(f"{url}/healthz")
        during = configured(), signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    access.handlers.clear()

    assert during == before
    assert not [record for record in caplog.records if record.name == "uvicorn.access"]


def of_events(worker: WebSocketWorkerConnection) -> list[object]:
    """Who is called on the thread that observes an event."""
    subscribers = worker._announcer.subscriptions._subscribers[Where.OBSERVING_THREAD]
    return list(subscribers.get("state_change", ()))


def test_stop_closes_the_port_forgets_the_worker_and_may_be_repeated() -> None:
    worker = idle_worker()
    server = StatusServer(worker, "0")
    server.stop()
    observers = of_events(worker)
    url = server.start()
    attached = len(of_events(worker))
    with pytest.raises(LocalMistake, match="called before"):
        server.start()

    server.stop()
    server.stop()

    assert attached == len(observers) + 2
    assert of_events(worker) == observers
    assert "inngest-connect-status" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


async def test_metrics_are_those_of_the_worker() -> None:
    async with EmbeddedGateway() as gateway, httpx.AsyncClient() as client:
        app = make_app(gateway)
        worker = connect([app.pair], shutdown_signals=[])
        with serving(worker) as url:
            async with worker:
                await gateway.invoke("app-echo")
                metrics = await client.get(f"{url}/metrics")

    assert metrics.headers["content-type"].startswith("text/plain")
    assert "inngest_connect_" in metrics.text
    assert 'requests_completed_total{function="app-echo",status="DONE"} 1.0' in metrics.text


async def test_the_page_asks_for_the_oldest_requests_and_the_full_state_has_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = idle_worker()
    requests = tuple(
        InFlightRequest(f"r{age}", "run", "app-fn", "RUNNING", float(age), None, None)
        for age in range(103, 0, -1)
    )
    crowded = dataclasses.replace(worker.get_debug_state(), in_flight=requests)
    monkeypatch.setattr(worker, "get_debug_state", lambda: crowded)

    with serving(worker) as url:
        async with httpx.AsyncClient() as client:
            full = (await client.get(f"{url}/state.json")).json()["state"]
            brief = (await client.get(f"{url}/state.json?brief")).json()["state"]
    shown = {request["request_id"] for request in brief["in_flight"]}

    assert len(full["in_flight"]) == full["in_flight_total"] == 103
    assert shown == {f"r{age}" for age in range(84, 104)}
    assert brief["in_flight_total"] == 103


def test_without_the_exporter_metrics_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inngest_connect.status.prometheus", None)
    with serving(idle_worker()) as url:
        metrics, health = httpx.get(f"{url}/metrics"), httpx.get(f"{url}/readyz")

    assert metrics.status_code == 501
    assert 'pip install "inngest-connect[status]"' in metrics.text
    assert health.status_code == 503


async def test_it_can_be_mounted_in_another_server_under_a_prefix() -> None:
    inside = Starlette(routes=[Mount("/ops/worker", status_app(idle_worker()))])
    transport = httpx.ASGITransport(inside)
    async with httpx.AsyncClient(transport=transport, base_url="http://any.example") as client:
        page = await client.get("/ops/worker/")
        links = re.findall(r'(?:href|src)="([^"]*)"', page.text)
        answers = {link: await client.get(f"/ops/worker/{link}") for link in links}

    assert page.status_code == 200
    assert {"status.css", "status.js", "icon.svg", "state.json", "healthz"} <= set(links)
    assert not [link for link in links if link.startswith(("/", "http"))]
    assert all(answer.status_code in (200, 503) for answer in answers.values())
    assert answers["icon.svg"].headers["content-type"] == "image/svg+xml"


def test_the_page_keeps_to_its_own_policy() -> None:
    with serving(idle_worker()) as url:
        page = httpx.get(f"{url}/").text

    assert "<style" not in page
    assert " style=" not in page
    assert page.count("<script") == 1
    assert '<script type="module" src="status.js"></script>' in page


def test_the_servers_options_are_those_of_the_application() -> None:
    server, app = (
        set(inspect.signature(each).parameters) for each in (StatusServer.__init__, status_app)
    )

    assert server - {"self", "address"} == app
