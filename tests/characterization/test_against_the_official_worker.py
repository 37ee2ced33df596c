"""The same scenario with the official SDK's worker and with ours: what does the server see?

Each scenario names the facts that are allowed to differ. Every one of them is explained in the
table "What a gateway sees" of docs/migration.md; one that is not, or no longer exists, fails.
"""

import asyncio
import contextlib
import importlib.util
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import inngest.connect
import pytest

import inngest_connect
from inngest_connect.protocol import FLUSH_PATH, START_PATH
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import EmbeddedGateway
from tests.characterization.observed import (
    KEY,
    LEASE,
    OFFICIAL,
    OURS,
    Facts,
    K,
    Peer,
    Scenario,
    Stage,
    differing,
    observe,
)
from tests.integration.demo_apps import make_app

pytestmark = [pytest.mark.characterization, pytest.mark.timeout(900)]
MIGRATION = Path(__file__).parents[2] / "docs" / "migration.md"
OTHER_KEY = "signkey-test-" + "cd" * 32


async def connecting(stage: Stage) -> None:
    await stage.handshake()
    stage.note_state("when ready")


async def beating(stage: Stage) -> None:
    """The first heartbeat with the connection, the others every ten seconds."""
    await stage.gateway.wait_for_message(K.WORKER_CONNECT, timeout=60)
    moments = [time.monotonic()]
    stage.gateway.send_connection_ready()
    for count in (1, 2):
        await stage.gateway.wait_for_message(K.WORKER_HEARTBEAT, count, timeout=60)
        stage.gateway.send_heartbeat()
        moments.append(time.monotonic())
    stage.note_about("first heartbeat", moments[1] - moments[0], 0)
    stage.note_about("between heartbeats", moments[2] - moments[1], 10)


async def closed_by_the_gateway(stage: Stage) -> None:
    await stage.handshake()
    stage.gateway.close_connection(1001, "going away")
    await stage.handshake(2)


async def executing(stage: Stage) -> None:
    await stage.handshake()
    functions = ("app-echo", "app-steps", "app-hopeless", "app-final", "app-sync")
    for count, function in enumerate(functions, 1):
        stage.request(function, function)
        await stage.replied(count)


async def asked_for_what_it_does_not_have(stage: Stage) -> None:
    await stage.handshake()
    stage.request("an-unknown-app", app="nobody")
    stage.request("an-unknown-function", "app-none")
    stage.request("last")
    await stage.gateway.until(lambda: "last" in replies(stage))
    for request_id in replies(stage):
        stage.gateway.send_reply_ack(request_id)


async def extending_a_lease(stage: Stage) -> None:
    await stage.handshake(extend_lease_interval="2s")
    stage.request("r1", "app-wait")
    await stage.gateway.wait_for_message(K.WORKER_REQUEST_EXTEND_LEASE, timeout=60)
    first = time.monotonic()
    stage.gateway.send_lease_ack("r1", LEASE[:-1] + "W")
    again = await stage.gateway.wait_for_message(K.WORKER_REQUEST_EXTEND_LEASE, 2, timeout=60)
    stage.note_about("between extensions", time.monotonic() - first, 2)
    sent = pb.WorkerRequestExtendLeaseData.FromString(again.payload)
    stage.facts["second lease id"] = sent.lease_id
    stage.app.seen.release.set()
    await stage.replied()


async def losing_a_lease(stage: Stage) -> None:
    await stage.handshake(extend_lease_interval="1s")
    stage.request("r1", "app-wait")
    await stage.gateway.wait_for_message(K.WORKER_REQUEST_EXTEND_LEASE)
    stage.gateway.send_lease_ack("r1", None)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stage.app.seen.cancelled.wait(), 5)
    stage.facts["a function whose lease is refused is cancelled"] = (
        stage.app.seen.cancelled.is_set()
    )
    stage.app.seen.release.set()


async def given_a_request_twice(stage: Stage) -> None:
    await stage.handshake()
    for count in (1, 2):
        stage.request("r1")
        await stage.replied(count)
    stage.facts["executions of a repeated request"] = stage.app.seen.calls["echo"]


async def drained(stage: Stage) -> None:
    await stage.handshake()
    stage.request("r1", "app-wait")
    await stage.app.seen.started.wait()
    stage.gateway.send_draining_message()
    await stage.gateway.wait_for_message(K.WORKER_CONNECT, 2, timeout=20)
    stage.facts["old connection is open when the new one is made"] = stage.gateway.connections[
        0
    ].is_open
    stage.note_state("during a drain")
    await stage.handshake(2)
    stage.app.seen.release.set()
    await stage.replied()


async def left_without_an_acknowledgement(stage: Stage) -> None:
    await stage.handshake(extend_lease_interval="1s")
    stage.request("an-answered-request")
    await stage.api.wait_for_request(FLUSH_PATH)


async def cut_off(stage: Stage) -> None:
    await stage.handshake()
    stage.gateway.simulate_connection_drop()
    await stage.handshake(2)
    stage.request("r1")
    await stage.replied()


async def closed_with_work_in_flight(stage: Stage) -> None:
    await stage.handshake()
    stage.request("r1", "app-wait")
    await stage.app.seen.started.wait()
    await stage.worker.close()
    await stage.gateway.wait_for_message(K.WORKER_PAUSE)
    stage.note_state("when closing")
    stage.app.seen.release.set()
    await stage.replied()


async def told_nonsense(stage: Stage) -> None:
    await stage.handshake()
    stage.gateway.send_malformed("garbage")
    stage.request("r1")
    await stage.replied()


async def refused_once_by_the_api(stage: Stage) -> None:
    stage.api.simulate_server_error(times=1)
    await stage.api.wait_for_request(START_PATH)
    stage.note_state("while it waits")
    await stage.handshake()


async def without_a_valid_key(stage: Stage) -> None:
    await asyncio.wait_for(stage.worker.closed(), 30)


def replies(stage: Stage) -> list[str]:
    received = stage.gateway.get_received_messages(K.WORKER_REPLY)
    return [pb.SDKResponse.FromString(message.payload).request_id for message in received]


ALWAYS = {
    "WORKER_CONNECT.apps[0].app_version",
    "WORKER_CONNECT.started_at.seconds",
    "WORKER_CONNECT.started_at.nanos",
    "WORKER_CONNECT.worker_manual_readiness_ack",
    "WORKER_READY is sent",
    "close.reason",
    "upgrade.extensions",
}
REQUEST = {"WORKER_REQUEST_ACK.run_id", "WORKER_REPLY.run_id"}

CANCELLED_BEFORE_0_5_20 = {
    "a function whose lease is refused is cancelled",
    "WORKER_REPLY is sent",
    "WORKER_REPLY of r1",
}
"""After a refused lease the official worker used to cancel the function and to send nothing."""

DIFFERENCES: dict[Scenario, set[str]] = {
    connecting: ALWAYS,
    beating: ALWAYS,
    closed_by_the_gateway: ALWAYS | {"POST /v0/connect/start.exclude_gateways"},
    executing: ALWAYS | REQUEST,
    asked_for_what_it_does_not_have: ALWAYS
    | REQUEST
    | {
        "WORKER_REQUEST_ACK of an-unknown-app",
        "WORKER_REPLY of an-unknown-app",
        "WORKER_REPLY.body",
        "WORKER_REPLY.request_version",
        "order",
    },
    extending_a_lease: ALWAYS | REQUEST | {"WORKER_REQUEST_EXTEND_LEASE.app_id"},
    losing_a_lease: ALWAYS
    | {
        "WORKER_REQUEST_ACK.run_id",
        "WORKER_REQUEST_EXTEND_LEASE.app_id",
        "POST /v0/connect/flush of 1",
    }
    | (
        {"WORKER_REPLY.run_id"}
        if importlib.util.find_spec("inngest.experimental.deferred")
        else CANCELLED_BEFORE_0_5_20
    ),
    given_a_request_twice: ALWAYS | REQUEST | {"executions of a repeated request"},
    drained: ALWAYS
    | REQUEST
    | {
        "old connection is open when the new one is made",
        "POST /v0/connect/start.exclude_gateways",
        "state during a drain",
        "states",
    },
    left_without_an_acknowledgement: ALWAYS
    | REQUEST
    | {
        "POST /v0/connect/flush.run_id",
        "POST /v0/connect/flush.header x-inngest-env",
        "WORKER_REQUEST_EXTEND_LEASE is sent",
        "WORKER_REQUEST_EXTEND_LEASE of an-answered-request",
    },
    # A connection that was lost so young counts against its gateway.
    cut_off: ALWAYS | REQUEST | {"POST /v0/connect/start.exclude_gateways"},
    closed_with_work_in_flight: ALWAYS | REQUEST,
    told_nonsense: ALWAYS | REQUEST,
    refused_once_by_the_api: ALWAYS,
    without_a_valid_key: {"states"},
}

KEYS: dict[Scenario, dict[str, str]] = {
    # Both workers have to find out that only the second key is valid.
    connecting: {"signing_key": OTHER_KEY, "fallback": KEY},
    without_a_valid_key: {"signing_key": OTHER_KEY},
}


@pytest.fixture(scope="module")
def observations() -> dict[Scenario, Any]:
    """All scenarios with both workers, several at a time: the official one waits for seconds."""
    # All of them together start so slowly that the official worker's time limits pass.
    several = asyncio.Semaphore(6)

    async def both(scenario: Scenario) -> tuple[Facts, Facts]:
        options = KEYS.get(scenario, {})
        async with several:
            official, ours = await asyncio.gather(
                observe(OFFICIAL, scenario, **options), observe(OURS, scenario, **options)
            )
        return official, ours

    async def everything() -> list[Any]:
        return await asyncio.gather(*map(both, DIFFERENCES), return_exceptions=True)

    return dict(zip(DIFFERENCES, asyncio.run(everything()), strict=True))


@pytest.mark.parametrize("scenario", DIFFERENCES, ids=lambda each: each.__name__)
def test_a_server_sees_only_the_differences_that_are_explained(
    scenario: Scenario, observations: dict[Scenario, Any]
) -> None:
    observed = observations[scenario]
    if isinstance(observed, BaseException):
        raise observed
    official, ours = observed

    assert differing(official, ours) == DIFFERENCES[scenario], {
        name: (official.get(name), ours.get(name))
        for name in official.keys() | ours.keys()
        if official.get(name) != ours.get(name)
    }


async def sent_many(stage: Stage) -> None:
    await stage.handshake()
    for number in range(20):
        stage.request(f"r{number}")
    for count in range(20):
        await stage.replied(count + 1)
    stage.facts["order of starts"] = [request_id for request_id, _ in stage.app.seen.ids]


@pytest.mark.parametrize("peer", [OFFICIAL, OURS], ids=lambda peer: peer.name)
async def test_both_start_functions_in_the_order_in_which_requests_arrive(peer: Peer) -> None:
    facts = await observe(peer, sent_many)

    assert facts["order of starts"] == [f"r{number}" for number in range(20)]


@pytest.mark.parametrize("connect", [inngest.connect.connect, inngest_connect.connect])
async def test_both_give_middleware_the_request_as_it_arrived(connect: Any) -> None:
    """The classes differ, and have one name: each package has its own generated module."""
    given: list[Any] = []

    class Recording(inngest.Middleware):
        def __init__(self, client: inngest.Inngest, raw_request: object) -> None:
            super().__init__(client, raw_request)
            given.append(raw_request)

    async with EmbeddedGateway() as gateway:
        app = make_app(gateway, middleware=[Recording])
        worker = connect([app.pair], shutdown_signals=[])
        started = asyncio.create_task(worker.start())
        await asyncio.wait_for(gateway.wait_for_worker(), 30)
        await gateway.invoke("app-echo")
        await worker.close(wait=True)
        await asyncio.wait([started])

    names = [descriptor.name for descriptor in pb.GatewayExecutorRequestData.DESCRIPTOR.fields]
    (request,) = given
    assert type(request).__name__ == "GatewayExecutorRequestData"
    assert (request.app_name, request.function_slug) == ("app", "app-echo")
    assert {descriptor.name for descriptor in request.DESCRIPTOR.fields} <= set(names)


def test_every_difference_is_explained_in_the_documentation() -> None:
    _, _, table = MIGRATION.read_text(encoding="utf-8").partition("## What a gateway sees")
    explained = {
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.M)
        for name in re.findall(r"`(.*?)`", row)
    }

    assert explained == set.union(*DIFFERENCES.values(), CANCELLED_BEFORE_0_5_20)


@dataclass(frozen=True, slots=True)
class WrongOption:
    apps: list[dict[str, Any]]
    """What makes each app; every one of them has functions, so that nothing else is wrong."""
    official: tuple[str, str]
    """The class and the text of the official worker's exception."""
    ours: str


ORIGIN = "http://127.0.0.1:1"
WRONG_OPTIONS = {
    "no apps": WrongOption(
        [],
        ("Exception", "no apps provided"),
        "apps is []; pass a list of (inngest.Inngest, [functions]) tuples",
    ),
    "API origin": WrongOption(
        [{}, {"gateway": "http://127.0.0.1:2"}],
        ("Exception", "inconsistent app config: API base URL"),
        "apps 'app' and 'two' differ in their API origin: 'http://127.0.0.1:1' and "
        "'http://127.0.0.1:2'. Use one connect() call for each",
    ),
    "environment": WrongOption(
        [{}, {"env": "another"}],
        ("Exception", "inconsistent app config: env"),
        "apps 'app' and 'two' differ in their environment: None and 'another'. "
        "Use one connect() call for each",
    ),
    "mode": WrongOption(
        [{"signing_key": KEY}, {"signing_key": KEY, "is_production": True}],
        ("Exception", "inconsistent app config: mode"),
        "apps 'app' and 'two' differ in their mode (is_production): False and True. "
        "Use one connect() call for each",
    ),
    "signing key": WrongOption(
        [{}, {"signing_key": KEY}],
        ("Exception", "inconsistent app config: signing key"),
        "apps 'app' and 'two' have different signing keys. Use one connect() call for each",
    ),
    "no signing key": WrongOption(
        [{"is_production": True}],
        ("SigningKeyMissingError", ""),
        "app 'app' is in production mode and has no signing key: set INNGEST_SIGNING_KEY, "
        "or INNGEST_DEV=1 for a development server",
    ),
}


@pytest.mark.scenario("8")
@pytest.mark.parametrize("name", WRONG_OPTIONS)
def test_both_refuse_wrong_options_for_that_reason(name: str) -> None:
    """The texts differ: ours names the value and the remedy."""
    wrong = WRONG_OPTIONS[name]
    apps = [
        make_app(**{"gateway": ORIGIN, "app_id": app_id, **options}).pair
        for app_id, options in zip(("app", "two"), wrong.apps, strict=False)
    ]

    with pytest.raises(Exception, match=r"^") as official:
        inngest.connect.connect(apps, shutdown_signals=[])
    with pytest.raises(inngest_connect.ConfigurationError) as ours:
        inngest_connect.connect(apps, shutdown_signals=[])

    assert (type(official.value).__name__, str(official.value)) == wrong.official
    assert str(ours.value) == wrong.ours


@pytest.mark.parametrize("connect", [inngest.connect.connect, inngest_connect.connect])
@pytest.mark.parametrize(
    "form",
    [
        lambda client, functions: [(client, functions)],
        lambda client, functions: [[client, functions]],
        lambda client, functions: ((client, tuple(functions)),),
        lambda client, functions: [(client, set(functions))],
    ],
    ids=["pair", "list", "tuples", "set"],
)
def test_both_accept_apps_in_these_forms(connect: Any, form: Any) -> None:
    worker = connect(form(*make_app(ORIGIN).pair), shutdown_signals=[])

    assert worker.get_state() == inngest.connect.ConnectionState.CONNECTING


@pytest.mark.parametrize("connect", [inngest.connect.connect, inngest_connect.connect])
async def test_both_have_no_connection_id_before_a_connection(connect: Any) -> None:
    worker = connect([make_app("http://127.0.0.1:1").pair], shutdown_signals=[])

    with pytest.raises(Exception, match=r"connection"):
        worker.get_connection_id()
    assert worker.get_state().value == "CONNECTING"


@pytest.mark.parametrize("connect", [inngest.connect.connect, inngest_connect.connect])
async def test_both_send_the_names_of_headers_in_lower_case(connect: Any) -> None:
    """A server that is not a real one may compare them so; the mock server hides the case."""
    asked: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if not asked.done():
            asked.set_result(head)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        app = make_app(f"http://127.0.0.1:{port}", is_production=True, signing_key=KEY, env="e")
        worker = connect([app.pair], shutdown_signals=[])
        started = asyncio.create_task(worker.start())
        head = (await asyncio.wait_for(asked, 30)).decode()
        await worker.close(wait=True)
        await asyncio.wait([started])

    names = {line.partition(":")[0] for line in head.splitlines()}
    assert {"authorization", "content-type", "x-inngest-env"} <= names


def test_ours_has_every_public_name_of_the_official_worker() -> None:
    official = inngest.connect.connect([make_app("http://127.0.0.1:1").pair], shutdown_signals=[])
    names = {name for name in dir(official) if not name.startswith("_")}

    assert names - set(dir(inngest_connect.WebSocketWorkerConnection)) == set()
    assert {s.name for s in inngest.connect.ConnectionState} <= {
        s.name for s in inngest_connect.ConnectionState
    }
