"""The public API: a drop-in for the official SDK's ``inngest.connect``, and what is beyond it."""

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import inngest
import pytest

import inngest_connect
from inngest_connect import (
    ConfigurationError,
    ConnectApp,
    ConnectionState,
    LocalMistake,
    NotConnectedError,
    connect,
)
from inngest_connect.testing import EmbeddedGateway, GatewayThread
from tests.integration.demo_apps import App, make_app, make_client

pytestmark = pytest.mark.integration
OFFLINE = "http://127.0.0.1:1"


def test_connect_takes_everything_that_the_sdks_connect_takes() -> None:
    official = pytest.importorskip("inngest.connect")
    theirs = inspect.signature(official.connect).parameters
    ours = inspect.signature(connect).parameters

    assert list(ours)[: len(theirs)] == list(theirs)
    for name, parameter in theirs.items():
        assert (ours[name].kind, ours[name].default) == (parameter.kind, parameter.default)
    assert all(p.default is not inspect.Parameter.empty for p in list(ours.values())[1:])


def test_the_connection_has_every_method_of_the_sdks() -> None:
    official = pytest.importorskip("inngest.connect._internal.connection")
    ours = inngest_connect.WebSocketWorkerConnection
    for name, method in vars(official.WorkerConnection).items():
        if name.startswith("_") or not inspect.isfunction(method):
            continue
        mine = getattr(ours, name)
        theirs = inspect.signature(method).parameters
        assert list(inspect.signature(mine).parameters) == list(theirs)
        assert inspect.iscoroutinefunction(mine) == inspect.iscoroutinefunction(method)


def test_the_states_have_the_sdks_names_and_values() -> None:
    official = pytest.importorskip("inngest.connect")

    for state in official.ConnectionState:
        assert ConnectionState[state.name].value == state.value


def client_with(**options: object) -> inngest.Inngest:
    return make_client(OFFLINE, **options)  # type: ignore[arg-type]


def app_with(app_id: str = "app", **options: object) -> App:
    return make_app(OFFLINE, app_id, **options)


KEY = "signkey-test-" + "ab" * 32
OTHER_KEY = "signkey-test-" + "cd" * 32


@pytest.mark.scenario("8")
def test_apps_that_cannot_share_a_connection_are_refused() -> None:
    cases = [
        (app_with("a"), app_with("a"), "two apps have the id 'a'"),
        (app_with("a"), app_with("b", env="branch"), "environment"),
        (app_with("a"), make_app("http://127.0.0.1:2", "b"), "API origin"),
        (
            app_with("a", signing_key=KEY),
            app_with("b", signing_key=OTHER_KEY),
            "different signing keys",
        ),
        (
            app_with("a", signing_key=KEY),
            app_with("b", signing_key=KEY, is_production=True),
            "is_production",
        ),
    ]
    for first, second, message in cases:
        with pytest.raises(ConfigurationError, match="app") as caught:
            connect([first.pair, second.pair])
        assert message in str(caught.value)
        assert KEY not in str(caught.value)


@pytest.mark.scenario("8")
@pytest.mark.parametrize("apps", [[], "app", [("only",)], [object()], [("no client", [])]])
def test_apps_that_are_not_a_list_are_refused(apps: object) -> None:
    with pytest.raises(ConfigurationError):
        connect(apps)  # type: ignore[arg-type]


def test_an_app_without_functions_or_with_something_else_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no functions"):
        connect([(client_with(), [])])
    with pytest.raises(ConfigurationError, match="is not an Inngest function"):
        connect([(client_with(), [print])])  # type: ignore[list-item]


def test_wrong_options_are_named_with_their_value() -> None:
    pair = app_with().pair
    with pytest.raises(ConfigurationError, match="-1"):
        connect([pair], max_worker_concurrency=-1)
    with pytest.raises(ConfigurationError, match="http://x"):
        connect([pair], gateway_url="http://x")
    with pytest.raises(ConfigurationError, match="did you mean 'connected'"):
        connect([pair], on={"conected": print})


def test_a_signing_key_that_is_none_is_refused_without_being_shown() -> None:
    app = app_with(signing_key="signkey-prod-not-hexadecimal-zzzz", is_production=True)
    with pytest.raises(ConfigurationError) as caught:
        connect([app.pair])

    assert "not-hexadecimal" not in str(caught.value)
    assert "***zzzz" in str(caught.value)


def test_production_without_a_signing_key_says_which_variable_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("INNGEST_SIGNING_KEY", raising=False)
    app = app_with(is_production=True)

    with pytest.raises(ConfigurationError, match="INNGEST_SIGNING_KEY"):
        connect([app.pair])


async def test_connect_app_is_as_good_as_a_tuple() -> None:
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with connect([ConnectApp(*app.pair)], wait=True):
            result = await gateway.invoke("app-echo")

    assert result.status == "completed"


@pytest.mark.scenario("43")
async def test_start_runs_until_close_and_both_may_be_repeated() -> None:
    async with EmbeddedGateway() as gateway:
        worker = connect([make_app(gateway).pair], shutdown_signals=[])
        started = asyncio.create_task(worker.start())
        await worker.wait_for_state(ConnectionState.ACTIVE)
        await asyncio.gather(worker.close(), worker.close(wait=True), worker.close())
        await worker.closed()
        await started
        await worker.close(wait=True)

    assert worker.get_state() is ConnectionState.CLOSED
    with pytest.raises(LocalMistake, match=r"closed.*connect\(\)"):
        await worker.start()


@pytest.mark.scenario("42")
async def test_a_worker_closed_before_its_start_cannot_be_started() -> None:
    worker = connect([app_with().pair])

    await worker.close(wait=True)

    assert worker.state is ConnectionState.CLOSED
    with pytest.raises(LocalMistake, match=r"closed before.*connect\(\)"):
        await worker.start()


@pytest.mark.scenario("42")
async def test_close_before_the_first_connection_ends_it() -> None:
    """Nothing listens at that address."""
    worker = connect([app_with().pair], shutdown_signals=[])
    started = asyncio.create_task(worker.start())
    failed = asyncio.Event()
    worker.add_event_listener("reconnecting", lambda _: failed.set())
    await failed.wait()

    await worker.close(wait=True)
    await started

    assert worker.state is ConnectionState.CLOSED


@pytest.mark.scenario("17")
async def test_cancelling_start_ends_the_worker_and_nothing_is_left() -> None:
    worker = connect([app_with().pair], shutdown_signals=[])
    started = asyncio.create_task(worker.start())
    failed = asyncio.Event()
    worker.add_event_listener("reconnecting", lambda _: failed.set())
    await failed.wait()

    started.cancel()
    with pytest.raises(asyncio.CancelledError):
        await started

    assert worker.state is ConnectionState.CLOSED
    assert "inngest-connect-io" not in {thread.name for thread in threading.enumerate()}


async def test_what_is_known_only_while_connected_says_so() -> None:
    worker = connect([app_with().pair])

    assert worker.connection_id is None
    with pytest.raises(NotConnectedError, match="CONNECTING"):
        worker.get_connection_id()
    await worker.close()
    with pytest.raises(NotConnectedError):
        await worker.wait_for_state(ConnectionState.ACTIVE)


async def test_events_arrive_in_order_on_the_applications_event_loop() -> None:
    names: list[str] = []
    threads: set[str] = set()

    def note(event: inngest_connect.Event) -> None:
        names.append(event.name)
        threads.add(threading.current_thread().name)

    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        listeners = dict.fromkeys(inngest_connect.EVENT_NAMES, note)
        stored = asyncio.Event()
        async with connect([app.pair], on=listeners, wait=True) as worker:
            worker.add_event_listener("reply_acknowledged", lambda _: stored.set())
            await gateway.invoke("app-echo")
            await stored.wait()

    interesting = [name for name in names if name not in ("websocket_error", "heartbeat")]
    assert interesting == [
        "websocket_open",
        "state_change",
        "connected",
        "request_received",
        "request_started",
        "request_completed",
        "reply_acknowledged",
        "state_change",
        "websocket_close",
        "disconnected",
        "state_change",
    ]
    assert threads == {threading.main_thread().name}


async def test_listeners_can_be_removed_and_cannot_break_the_worker() -> None:
    heard: list[object] = []

    def broken(_: object) -> None:
        raise RuntimeError("a listener's own problem")

    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        worker = connect([app.pair], on={"request_completed": broken})
        remove = worker.add_event_listener("request_completed", heard.append)
        worker.add_event_listener("request_received", heard.append)
        worker.remove_event_listener("request_received", heard.append)
        async with worker:
            await gateway.invoke("app-echo")
            await gateway.wait_until_idle()
            remove()
            result = await gateway.invoke("app-echo")

    assert result.status == "completed"
    assert len(heard) == 1


async def test_the_debug_state_shows_what_is_in_flight_and_no_secret() -> None:
    async with EmbeddedGateway(heartbeat_interval="50ms") as gateway:
        app = make_app(gateway)
        async with connect([app.pair], wait=True) as worker:
            running = asyncio.create_task(
                gateway.invoke("app-wait", {"data": {"secret": "canary-payload"}})
            )
            await app.seen.started.wait()
            beats = gateway.store.model
            await gateway.store.until(
                lambda _: all(c.heartbeats >= 3 for c in beats.connections.values())
            )
            state = worker.get_debug_state()
            app.seen.release.set()
            await running

    (request,) = state.in_flight
    assert (request.function_slug, request.progress) == ("app-wait", "RUNNING")
    assert request.attempt_age >= 0
    assert request.lease_age is not None
    assert state.external_state is ConnectionState.ACTIVE
    assert state.active_connection_id is not None
    assert state.last_heartbeat_received_age is not None
    assert state.last_message_age is not None
    assert not state.shutdown_requested
    assert "canary" not in repr(state)


@pytest.mark.scenario("44")
def test_run_needs_no_event_loop_and_restores_signal_handlers() -> None:

    def before(number: int, frame: object) -> None:
        """The program's own handler."""

    default = signal.signal(signal.SIGTERM, before)
    with GatewayThread() as thread:
        app = make_app(thread.api_origin)
        worker = connect([app.pair])
        installed_by_constructor = signal.getsignal(signal.SIGTERM) is not before

        def stop_when_ready() -> None:
            thread.call(lambda gateway: gateway.wait_for_worker()).result(10)
            result = thread.call(lambda gateway: gateway.invoke("app-echo")).result(10)
            results.append(result.status)
            os.kill(os.getpid(), signal.SIGTERM)

        results: list[str] = []
        stopper = threading.Thread(target=stop_when_ready)
        stopper.start()
        worker.run()
        stopper.join()
    after = signal.signal(signal.SIGTERM, default)

    assert results == ["completed"]
    assert not installed_by_constructor
    assert after is before


@pytest.mark.scenario("22")
def test_a_blocked_application_loop_costs_no_heartbeat_and_no_lease() -> None:
    """The loop is blocked for several heartbeats and several leases."""
    options = {"lease": 0.6, "heartbeat_interval": "100ms", "extend_lease_interval": "150ms"}
    with GatewayThread(**options) as thread:
        client = make_client(thread.api_origin)

        @client.create_function(fn_id="block", trigger=inngest.TriggerEvent(event="x"), retries=0)
        async def block(ctx: inngest.Context) -> str:
            time.sleep(3.0)  # noqa: ASYNC251 - blocking the loop is the point
            return "done"

        async def main() -> str:
            async with connect([(client, [block])], wait=True) as worker:
                connection_id = worker.get_connection_id()
                invoked = thread.call(lambda gateway: gateway.invoke("app-block"))
                result = await asyncio.wrap_future(invoked)
                assert worker.get_connection_id() == connection_id
                return str(result.output)

        output = asyncio.run(main())
        ledger = thread.gateway.ledger
        (record,) = ledger.records.values()

    assert output == "done"
    assert record.extensions >= 10
    assert ledger.lost == ledger.duplicates == 0


def test_importing_the_package_imports_none_of_its_tools() -> None:
    code = (
        "import sys, inngest_connect; "
        "bad = [m for m in sys.modules if m.startswith(('inngest_connect.cli', "
        "'inngest_connect.testing', 'inngest_connect.status', 'inngest.connect', 'uvicorn', "
        "'starlette', 'typer', 'opentelemetry.sdk', 'prometheus_client'))]; "
        "sys.exit(str(bad) if bad else 0)"
    )
    source = str(Path(inngest_connect.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


async def test_a_connection_is_reconfigured_in_place_before_it_is_started() -> None:
    """What was attached to it stays: listeners, observers, and those who hold it."""
    seen: list[str] = []
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        worker = connect(
            [app.pair],
            instance_id="from-code",
            max_worker_concurrency=3,
            shutdown_signals=[],
            wait=True,
            on={"connected": lambda event: seen.append(event.connection_id)},
        )
        worker.reconfigure(instance_id="from-the-command-line")
        async with worker:
            state = worker.get_debug_state()
            await gateway.invoke(app.functions["echo"])
            with pytest.raises(LocalMistake, match="before"):
                worker.reconfigure(instance_id="too-late")

    assert (state.instance_id, state.max_worker_concurrency) == ("from-the-command-line", 3)
    assert seen == [state.active_connection_id]
    assert worker.api_origin == gateway.api_origin
    assert "app-echo" in worker.functions["app"]


def test_a_wrong_change_leaves_the_connection_as_it_was() -> None:
    worker = connect([make_app(OFFLINE).pair], instance_id="mine")

    with pytest.raises(ConfigurationError, match="max_worker_concurrency is 0"):
        worker.reconfigure(max_worker_concurrency=0)

    assert worker.get_debug_state().instance_id == "mine"


@pytest.mark.parametrize("by", ["option", "variable"])
async def test_the_api_that_is_called_can_be_another_than_the_clients(
    by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, other = make_client(OFFLINE), make_client("http://127.0.0.1:2", app_id="other")

    @client.create_function(fn_id="one", trigger=inngest.TriggerEvent(event="x"))
    async def one(ctx: inngest.Context) -> int:
        return 1

    @other.create_function(fn_id="two", trigger=inngest.TriggerEvent(event="x"))
    async def two(ctx: inngest.Context) -> int:
        return 2

    async with EmbeddedGateway() as gateway:
        given = gateway.api_origin if by == "option" else None
        if by == "variable":
            monkeypatch.setenv("INNGEST_CONNECT_API_ORIGIN", gateway.api_origin)
        async with connect(
            [(client, [one]), (other, [two])], wait=True, api_origin=given
        ) as worker:
            shown = worker.api_origin
            result = await gateway.invoke(one)

        assert shown == gateway.api_origin
        assert result.output == 1
