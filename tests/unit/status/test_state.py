"""``state_json``: a worker as JSON, in which no secret and nothing unprintable is left."""

import hashlib
import json
import time
from typing import Any

import inngest
import pytest

from inngest_connect import (
    ConnectionEvent,
    ConnectionState,
    Disconnected,
    ErrorOccurred,
    FunctionFailed,
    LeaseLost,
    Reconnecting,
    RequestCompleted,
    StateChange,
    WebSocketFailed,
    WebSocketWorkerConnection,
    connect,
)
from inngest_connect.observability.error_figures import ErrorEvent
from inngest_connect.observability.recent_activity import RecentActivity
from inngest_connect.status.state import errors, state_json, timeline

pytestmark = pytest.mark.unit
S = ConnectionState
KEY = "signkey-test-" + "ab" * 32
HASH = hashlib.sha256(bytes.fromhex("ab" * 32)).hexdigest()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> WebSocketWorkerConnection:
    monkeypatch.setenv("INNGEST_CONNECT_APP_VERSION", "v7")  # the oldest SDK takes none
    client = inngest.Inngest(app_id="app", is_production=True, signing_key=KEY, event_key="e")

    @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="x"))
    async def fn(ctx: inngest.Context) -> None: ...

    return connect([(client, [fn])], logger=False)


def state_of(worker: WebSocketWorkerConnection, recent: RecentActivity) -> Any:
    return json.loads(state_json(worker, recent, worker.get_debug_state(), worker.get_health()))


def test_it_is_json_without_a_secret_however_the_secret_came_in(
    worker: WebSocketWorkerConnection,
) -> None:
    recent = RecentActivity()
    for event in (
        ErrorOccurred("start_failed", f"refused {KEY}"),
        WebSocketFailed("c", f"Authorization: Bearer {HASH} refused"),
        Disconnected("c", "g", 1002, f"bad key {HASH}", False),
        Reconnecting(1, 5.0, f"because of {KEY}"),
    ):
        recent.observe(event)

    text = state_json(worker, recent, worker.get_debug_state(), worker.get_health())

    assert "ab" * 16 not in text
    assert HASH not in text
    body = json.loads(text)
    assert body["state"]["app_versions"] == {"app": "v7"}
    assert body["state"]["in_flight"] == []
    assert len(body["errors"]) == 3
    assert [kind["kind"] for kind in body["errors_by_kind"]] == [
        "disconnected",
        "websocket_error",
        "start_failed",
    ]
    assert body["situation"]["failures"] == 1
    assert "because of" in body["situation"]["cause"]
    assert body["health"]["not_ready"] == "the connection is CONNECTING"


def test_it_has_every_field_of_the_debug_state(worker: WebSocketWorkerConnection) -> None:
    body = state_of(worker, RecentActivity())

    assert set(worker.get_debug_state().__slots__) <= set(body["state"])


def test_it_says_where_and_what_the_worker_is(worker: WebSocketWorkerConnection) -> None:
    body = state_of(worker, RecentActivity(function_slugs=["app-fn"]))

    assert body["worker"]["production"] is True
    assert body["worker"]["api_origin"] == "https://api.inngest.com/"
    assert body["worker"]["functions"] == {"app": ["app-fn"]}
    assert body["worker"]["uptime"] >= 0
    assert body["versions"]["sdk_path"] == "fast"
    assert body["functions"] == [
        {
            "function_slug": "app-fn", "executions": 0, "failures": 0, "failure_age": None,
            "last_error": None, "p50": None, "p95": None, "p99": None,
        }
    ]  # fmt: skip
    assert body["in_flight_by_function"] == []
    assert body["state"]["child_processes"] == []


def test_rates_are_of_the_time_there_is_and_not_of_an_empty_minute(
    worker: WebSocketWorkerConnection,
) -> None:
    now = [1000.0]
    recent = RecentActivity(lambda: now[0])
    for _ in range(30):
        recent.observe(RequestCompleted("r", "run", "app-fn", "DONE", 0.1, 0.0))
    now[0] += 3.0

    rates = state_of(worker, recent)["rates"]

    assert (rates["seconds"], rates["lately"]["completed"]) == (3, 10.0)


def test_equal_errors_in_a_row_are_counted_newest_first() -> None:
    refused, lost = ErrorOccurred("start_failed", "no"), LeaseLost("r", "run", "app-fn")
    events: list[tuple[float, ErrorEvent]] = [
        (1.0, refused),
        (2.0, refused),
        (3.0, lost),
        (4.0, refused),
    ]

    listed = errors(events, now=10.0)

    assert [(e["kind"], e["count"], e["age"]) for e in listed] == [
        ("start_failed", 1, 6.0),
        ("lease_lost", 1, 7.0),
        ("start_failed", 2, 8.0),
    ]


def test_a_function_that_failed_is_listed_with_its_reason() -> None:
    failed = FunctionFailed("r", "run", "app-fn", "ValueError", "ValueError: no", step="charge")
    silent = FunctionFailed("r", "run", "app-fn", "", "")
    listed = errors([(0.0, failed), (1.0, silent)], now=2.0)

    assert [(each["kind"], each["message"], each["request_id"]) for each in listed] == [
        ("function_failed", "app-fn raised an exception", "r"),
        ("function_failed", "app-fn raised in the step 'charge' ValueError: no", "r"),
    ]


def test_control_characters_of_a_peer_are_escaped() -> None:
    (listed,) = errors([(0.0, Disconnected("c", "g", 1002, "red\x1b[31m", False))], now=1.0)

    assert listed["message"] == "the connection was lost, code 1002: red\\x1b[31m"


def test_the_timeline_has_no_gaps(worker: WebSocketWorkerConnection) -> None:
    now = time.monotonic()
    history = [
        StateChange(S.CONNECTING, S.ACTIVE, ConnectionEvent.GATEWAY_READY, now - 9.0),
        StateChange(S.ACTIVE, S.RECONNECTING, ConnectionEvent.CONNECTION_LOST, now - 4.0),
    ]

    spans = timeline(worker.get_debug_state(), history, now)

    assert [(s["state"], s["begun"], s["ended"]) for s in spans] == [
        ("CONNECTING", None, pytest.approx(9.0)),
        ("ACTIVE", pytest.approx(9.0), pytest.approx(4.0)),
        ("CONNECTING", pytest.approx(4.0), 0.0),
    ]


def test_a_state_whose_beginning_is_forgotten_is_left_out(
    worker: WebSocketWorkerConnection,
) -> None:
    lost = StateChange(S.CONNECTING, S.RECONNECTING, ConnectionEvent.RECONNECT_STARTED, 0.0)

    spans = timeline(worker.get_debug_state(), [lost] * 50, 60.0)

    assert len(spans) == 50
    assert spans[0]["begun"] == 60.0


@pytest.mark.parametrize(("expected", "kept"), [(True, 0), (False, 1)])
def test_a_connection_that_was_meant_to_end_is_no_trouble(expected: bool, kept: int) -> None:
    recent = RecentActivity()

    recent.observe(Disconnected("c", "g", 1000, "", expected))

    assert len(recent.errors()) == kept
