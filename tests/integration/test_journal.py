"""The journal of real workers, in this process. Kills: tests/field/test_ends_of_journals.py."""

import asyncio
import contextlib
import json
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import inngest
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from inngest_connect import ConnectionState, WebSocketWorkerConnection, connect
from inngest_connect.core.events import ErrorOccurred, Recovered
from inngest_connect.core.wire.messages import ExecutionResult, reply_payload
from inngest_connect.errors import AuthenticationError, ConfigurationError, WorkAbandoned
from inngest_connect.journal.file import JournalFile, open_to_read
from inngest_connect.journal.rows import Holder, Row, read
from inngest_connect.protocol import FLUSH_PATH, START_PATH
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import EmbeddedGateway, executor_request
from tests.integration.demo_apps import App, make_app

pytestmark = pytest.mark.integration
THEIRS = Holder("a-host", 4711, "worker-2", 1_700_000_000.0)
KEY, WRONG_KEY = "signkey-prod-" + "a1" * 32, "signkey-prod-" + "b2" * 32
LIMIT = 30.0


def stored(path: Path) -> dict[str, bytes | None]:
    with contextlib.closing(open_to_read(path)) as database:
        return {key: row.reply for key, row in read(database).rows.items()}


def left_behind(path: Path, age: float = 0.0, **replies: bytes | None) -> None:
    """What a process that is dead has not finished."""
    rows = {
        key: Row(
            executor_request("app", "app-fn", {}, request_id=key),
            time.time() - age,
            None if reply is None else response(key, reply),
        )
        for key, reply in replies.items()
    }
    with contextlib.closing(JournalFile(path, "normal", THEIRS)) as file:
        file.open()
        file.write(rows)


def response(request_id: str, body: bytes) -> bytes:
    request = executor_request("app", "app-fn", {}, request_id=request_id)
    return reply_payload(request, ExecutionResult(pb.SDKResponseStatus.DONE, body))


@contextlib.asynccontextmanager
async def working(app: App, path: Path, **options: Any) -> AsyncIterator[WebSocketWorkerConnection]:
    given = {"wait": True, "shutdown_signals": [], "journal": path, **options}
    async with connect([app.pair], **given) as worker:
        yield worker


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 - of a thread
            await asyncio.sleep(0.01)


async def until_none_is_left(path: Path) -> None:
    await until(lambda: stored(path) == {})


def retried_app(gateway: EmbeddedGateway) -> tuple[Any, asyncio.Event]:
    """A function that runs without end at its first attempt."""
    client, started = gateway.client(), asyncio.Event()

    @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="x"), retries=1)
    async def fn(ctx: inngest.Context) -> str:
        if ctx.attempt == 0:
            started.set()
            await asyncio.Event().wait()
        return "of the second attempt"

    return (client, [fn]), started


# --- recovery ------------------------------------------------------------------------------------


async def test_what_a_worker_has_abandoned_is_retried_at_once(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    seen: list[Recovered] = []
    async with EmbeddedGateway(retry_delay=1.0) as gateway:
        app, started = retried_app(gateway)
        options: dict[str, Any] = {"journal": path, "shutdown_signals": []}
        first = connect([app], shutdown_timeout=0.0, **options)
        running = asyncio.create_task(first.start())
        run = asyncio.create_task(gateway.invoke("app-fn"))
        await started.wait()
        await first.close()
        with pytest.raises(WorkAbandoned):
            await running
        left = stored(path)
        begun = time.monotonic()
        async with connect([app], wait=True, on={"recovered": seen.append}, **options):
            result = await run
            took = time.monotonic() - begun
            await until_none_is_left(path)

    assert list(left.values()) == [None]
    assert (result.output, result.attempts, result.lost) == ("of the second attempt", 2, 0)
    assert took < 15.0, "much less than a lease"
    (event,) = seen
    assert (event.replies, event.requests, event.outdated) == (0, 1, 0)
    assert stored(path) == {}


async def test_it_is_seen_what_was_recovered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal"
    left_behind(path, a=b"result a", b=b"result b", c=None)
    left_behind(path, 7201.0, old=b"result")
    caplog.set_level(logging.INFO, "inngest_connect")
    reader = InMemoryMetricReader()
    async with EmbeddedGateway() as gateway:
        async with working(
            make_app(gateway), path, meter_provider=MeterProvider([reader])
        ) as worker:
            await until_none_is_left(path)
            await until(lambda: worker.get_debug_state().journal_entries == 0)
            state = worker.get_debug_state()
            metrics = points(reader)
        flushed = gateway.http.flushed

    assert {key: each.body for key, each in flushed.items() if key != "c"} == {
        "a": b"result a", "b": b"result b",
    }  # fmt: skip
    error = json.loads(flushed["c"].body)
    assert flushed["c"].status == pb.SDKResponseStatus.ERROR
    assert (flushed["c"].no_retry, flushed["c"].retry_after) == (False, "1")
    assert error["code"] == "worker_ended"
    assert "pid 4711 on a-host, started 2023-11-14T22:13:20Z" in error["message"]
    (line,) = [each.getMessage() for each in caplog.records if "recovered" in each.getMessage()]
    assert "replies=2 requests=1 outdated=1" in line
    assert (state.journal_path, state.journal_failure) == (str(path), None)
    assert state.counters["recovered_replies"] == 2
    assert state.counters["recovered_requests"] == 1
    recovered = "inngest.connect.requests.recovered"
    assert metrics[recovered, "reply"] == 2
    assert metrics[recovered, "request"] == 1
    assert metrics["inngest.connect.journal.entries", None] == 0


def points(reader: InMemoryMetricReader) -> dict[tuple[str, Any], float]:
    """Values by metric and what was left."""
    data = json.loads(reader.get_metrics_data().to_json())  # type: ignore[union-attr]
    metrics = data["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    return {
        (metric["name"], point["attributes"].get("left")): point["value"]
        for metric in metrics
        for point in metric["data"]["data_points"]
        if "value" in point
    }


async def test_a_reply_that_cannot_be_flushed_is_written_on_the_connection(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    left_behind(path, a=b"result")
    seen: list[tuple[str, str]] = []
    async with EmbeddedGateway() as gateway:
        gateway.http.simulate_server_error(None, 503, FLUSH_PATH)
        listener = {"reply_acknowledged": lambda event: seen.append((event.request_id, event.via))}
        async with working(make_app(gateway), path, on=listener):
            await until(lambda: bool(seen))

    assert seen == [("a", "socket")]
    assert stored(path) == {}


async def test_a_wrong_signing_key_ends_the_start_and_keeps_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    left_behind(path, a=b"result", b=None)
    async with EmbeddedGateway(signing_keys=(KEY,)) as gateway:
        app = make_app(gateway, is_production=True, signing_key=WRONG_KEY)
        worker = connect([app.pair], journal=str(path), shutdown_signals=[])
        begun = time.monotonic()
        with pytest.raises(AuthenticationError):
            await worker.start()
        took = time.monotonic() - begun
        kept = stored(path)
        right = make_app(gateway, is_production=True, signing_key=KEY)
        async with working(right, path):
            await until_none_is_left(path)

    assert took < 10.0
    assert kept.keys() == {"a", "b"}
    assert gateway.http.flushed.keys() == {"a", "b"}


async def test_a_worker_that_is_closed_before_it_is_connected_leaves_what_it_could_not_deliver(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal"
    left_behind(path, a=b"result")
    async with EmbeddedGateway() as gateway:
        gateway.http.simulate_server_error(None, 503, FLUSH_PATH)
        gateway.http.simulate_server_error(None, 503, START_PATH)
        app = make_app(gateway)
        worker = connect([app.pair], journal=path, shutdown_signals=[], shutdown_timeout=0.2)  # type: ignore[arg-type]
        starting = asyncio.create_task(worker.start())
        await gateway.http.wait_for_request(FLUSH_PATH)
        await worker.close()
        with pytest.raises(WorkAbandoned):
            await starting
        kept = stored(path)
        gateway.http.restore()
        async with working(app, path):
            await until_none_is_left(path)

    assert kept == {"a": response("a", b"result")}


# --- the life of a worker ------------------------------------------------------------------------


@pytest.mark.parametrize("commit", ["beside", "required"])
async def test_after_a_clean_end_nothing_is_left(tmp_path: Path, commit: str) -> None:
    path = tmp_path / "journal"
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with working(app, path, journal_commit=commit):
            waiting = asyncio.create_task(gateway.invoke("app-wait"))
            await app.seen.started.wait()
            await until(lambda: list(stored(path).values()) == [None])
            results = await asyncio.gather(*(gateway.invoke("app-echo") for _ in range(50)))
            app.seen.release.set()
            await waiting

    assert [each.status for each in results] == ["completed"] * 50
    assert stored(path) == {}
    assert gateway.ledger.flushed == 0


async def test_a_required_reply_is_offered_when_it_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    write = JournalFile.write
    passes = threading.Event()

    def wait(file: JournalFile, changes: Any) -> None:
        if any(row is not None and row.reply is not None for row in changes.values()):
            assert passes.wait(LIMIT)
        write(file, changes)

    monkeypatch.setattr(JournalFile, "write", wait)
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with working(app, path, journal_commit="required"):
            run = asyncio.create_task(gateway.invoke("app-echo"))
            await until(lambda: app.seen.calls["echo"] == 1)
            done, _ = await asyncio.wait([run], timeout=1.0)
            passes.set()
            result = await run

    assert done == set(), "it was offered before it was on disk"
    assert result.status == "completed"
    assert gateway.ledger.flushed == 0, "it was offered on the connection"


async def test_a_disk_that_stalls_for_ten_seconds_delays_a_required_reply_by_five_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    write = JournalFile.write
    passes = threading.Event()

    def wait(file: JournalFile, changes: Any) -> None:
        assert passes.wait(LIMIT)
        write(file, changes)

    seen: list[ErrorOccurred] = []
    async with EmbeddedGateway(heartbeat_interval="500ms", lease=3.0) as gateway:
        app = make_app(gateway)
        async with working(
            app, path, journal_commit="required", on={"error": seen.append}
        ) as worker:
            monkeypatch.setattr(JournalFile, "write", wait)
            begun = time.monotonic()
            result = await gateway.invoke("app-echo")
            took = time.monotonic() - begun
            await asyncio.sleep(max(10.0 - took, 0.0))
            state = worker.get_debug_state()
            passes.set()
            await until(lambda: worker.get_debug_state().journal_lag == 0.0)

    assert result.status == "completed"
    assert 4.0 < took < 8.0
    assert state.state is ConnectionState.ACTIVE
    assert state.counters["connections"] == 1, "a heartbeat or a lease was late"
    assert state.journal_lag > 8.0
    assert {each.kind for each in seen} == {"journal_slow"}


@pytest.mark.parametrize("commit", ["beside", "required"])
async def test_a_journal_that_is_locked_costs_no_reply(tmp_path: Path, commit: str) -> None:
    path = tmp_path / "journal"
    seen: list[ErrorOccurred] = []
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with working(app, path, journal_commit=commit, on={"error": seen.append}) as worker:
            with contextlib.closing(sqlite3.connect(path)) as other:
                other.execute("BEGIN IMMEDIATE")
                waiting = asyncio.create_task(gateway.invoke("app-wait"))
                await until(lambda: bool(seen))
                begun = time.monotonic()
                results = await asyncio.gather(*(gateway.invoke("app-echo") for _ in range(20)))
                took = time.monotonic() - begun
                failure = worker.get_debug_state().journal_failure
            await until(lambda: list(stored(path).values()) == [None])
            await until(lambda: worker.get_debug_state().journal_failure is None)
            app.seen.release.set()
            await waiting

    assert [each.status for each in results] == ["completed"] * 20
    assert took < 4.0, "they did not wait for the journal"
    assert failure == "OperationalError: database is locked"
    assert [each.kind for each in seen] == ["journal_unavailable"]
    assert stored(path) == {}


# --- one file for one worker ---------------------------------------------------------------------


async def test_a_second_worker_on_the_path_is_refused_and_the_first_goes_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal"
    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        async with working(app, path):
            second = connect([app.pair], journal=str(path), shutdown_signals=[])
            with pytest.raises(ConfigurationError, match="another worker has it: pid") as caught:
                await second.start()
            result = await gateway.invoke("app-echo")
        third = connect([app.pair], journal=str(path), shutdown_signals=[])
        starting = asyncio.create_task(third.start())
        await third.wait_for_state(ConnectionState.ACTIVE)
        await third.close(wait=True)
        await starting

    assert str(path) in str(caught.value)
    assert result.status == "completed"


async def test_a_start_that_fails_releases_the_file(tmp_path: Path) -> None:
    path = tmp_path / "journal"

    def broken(_: object) -> Any:
        raise RuntimeError("no executor")

    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        failing = connect([app.pair], journal=str(path), shutdown_signals=[], executor=broken)
        with pytest.raises(ConfigurationError, match="no executor"):
            await failing.start()
        async with working(app, path):
            pass


async def test_a_start_that_is_cancelled_releases_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    release, reached = threading.Event(), threading.Event()
    really_open = JournalFile.open

    def wait(file: JournalFile) -> None:
        reached.set()
        assert release.wait(LIMIT)
        really_open(file)

    async with EmbeddedGateway() as gateway:
        app = make_app(gateway)
        with monkeypatch.context() as patched:
            patched.setattr(JournalFile, "open", wait)
            worker = connect([app.pair], journal=str(path), shutdown_signals=[])
            starting: Awaitable[None] = asyncio.create_task(worker.start())
            await until(reached.is_set)
            starting.cancel()  # type: ignore[attr-defined]
            with pytest.raises(asyncio.CancelledError):
                await starting
            release.set()
        await until(
            lambda: "inngest-connect-journal" not in {t.name for t in threading.enumerate()}
        )
        async with working(app, path):
            pass
