"""A gateway and an API that say wrong things, message by message."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest

from inngest_connect import (
    ConnectionState,
    ErrorOccurred,
    FixedRetry,
    WebSocketClosed,
    WebSocketFailed,
    WebSocketWorkerConnection,
    WorkerCrashed,
    connect,
)
from inngest_connect.core.inputs import SocketOpened
from inngest_connect.core.wire.messages import envelope
from inngest_connect.core.worker_core import WorkerCore
from inngest_connect.protocol import FLUSH_PATH, START_PATH
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import (
    QUICK_TIMING,
    FaultProxy,
    MalformedKind,
    MockHTTPServer,
    MockWebSocketServer,
    executor_request,
)
from inngest_connect.transport.websocket_manager import WebSocketManager
from tests.integration.demo_apps import App, make_app

K = pb.GatewayMessageType
LEASE = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
pytestmark = pytest.mark.errors


@dataclass
class Script:
    """A scripted gateway, and what the worker reported about it."""

    api: MockHTTPServer
    gateway: MockWebSocketServer
    app: App
    errors: list[ErrorOccurred] = field(default_factory=list)
    failures: list[WebSocketFailed] = field(default_factory=list)
    closes: list[WebSocketClosed] = field(default_factory=list)

    def worker(self, **options: Any) -> WebSocketWorkerConnection:
        listeners = {
            "error": self.errors.append,
            "websocket_error": self.failures.append,
            "websocket_close": self.closes.append,
        }
        return connect(
            [self.app.pair],
            **{
                "timing": QUICK_TIMING,
                "retry": FixedRetry(0.05),
                "shutdown_signals": [],
                "shutdown_timeout": 5.0,
                "on": listeners,
                **options,
            },
        )

    async def handshake(self, count: int = 1) -> None:
        await self.gateway.wait_for_message(K.WORKER_CONNECT, count)
        self.gateway.send_connection_ready()
        await self.gateway.wait_for_message(K.WORKER_READY, count)

    def request(self, request_id: str, function: str = "app-echo", app: str = "app") -> None:
        call = executor_request(
            app, function, {"name": "e", "data": {}}, request_id=request_id, lease_id=LEASE
        )
        self.gateway.send_executor_request(call)

    async def answered(self, request_id: str, count: int = 1) -> pb.SDKResponse:
        await self.gateway.wait_for_message(K.WORKER_REPLY, count)
        replies = [
            pb.SDKResponse.FromString(m.payload)
            for m in self.gateway.get_received_messages(K.WORKER_REPLY)
        ]
        self.gateway.send_reply_ack(request_id)
        return next(reply for reply in replies if reply.request_id == request_id)


@contextlib.asynccontextmanager
async def script(**options: Any) -> AsyncIterator[Script]:
    async with MockHTTPServer() as api, MockWebSocketServer(greet=True, **options) as gateway:
        api.add_gateway(gateway.name, gateway.url)
        yield Script(api, gateway, make_app(api.origin))


@contextlib.asynccontextmanager
async def running(worker: WebSocketWorkerConnection) -> AsyncIterator[None]:
    started = asyncio.create_task(worker.start())
    try:
        yield
    finally:
        await worker.close(wait=True)
        await started


@pytest.mark.scenario("J")
@pytest.mark.parametrize("kind", get_args(MalformedKind))
async def test_malformed_bytes_cost_no_other_request(kind: MalformedKind) -> None:
    async with script() as it, running(worker := it.worker()):
        await it.handshake()
        it.request("before", "app-wait")
        await it.app.seen.started.wait()
        it.gateway.send_malformed(kind)
        it.request("after")
        after = await it.answered("after")
        it.app.seen.release.set()
        before = await it.answered("before", count=2)
        state = worker.state
        counters = worker.get_debug_state().counters

    assert (after.status, before.status) == (pb.SDKResponseStatus.DONE,) * 2
    assert state is ConnectionState.ACTIVE
    assert [e.kind for e in it.errors] == ["malformed_message"]
    assert sum(n for key, n in counters.items() if key.startswith("malformed:")) == 1


async def test_a_text_message_is_counted_and_ignored() -> None:
    async with script() as it, running(it.worker()):
        await it.handshake()
        it.gateway.send_text("hello")
        it.request("r1")
        reply = await it.answered("r1")

    assert reply.status == pb.SDKResponseStatus.DONE
    assert [e.kind for e in it.errors] == ["malformed_message"]


async def test_fragmented_messages_are_put_together() -> None:
    """RFC 6455 section 5.4."""
    async with script() as it, running(it.worker()):
        await it.handshake()
        data = envelope(
            K.GATEWAY_EXECUTOR_REQUEST,
            pb.GatewayExecutorRequestData(
                request_id="r1", app_name="nobody", lease_id=LEASE, system_trace_ctx=b"{}"
            ).SerializeToString(),
        )
        it.gateway.connection.send_fragments(data[:3], data[3:9], data[9:])
        reply = await it.answered("r1")

    assert reply.status == pb.SDKResponseStatus.ERROR
    assert b"nobody" in reply.body


@pytest.mark.scenario("14")
async def test_an_invalid_frame_leads_to_a_new_connection() -> None:
    async with script() as it, running(worker := it.worker()):
        await it.handshake()
        it.gateway.connection.send_invalid_frame()
        await it.handshake(count=2)
        await worker.wait_for_state(ConnectionState.ACTIVE)

    assert len(it.gateway.connections) == 2
    assert it.closes[0].code == 1002


@pytest.mark.scenario("54", "security-sizes")
@pytest.mark.parametrize("fragmented", [False, True])
async def test_a_message_above_the_limit_leads_to_a_new_connection(fragmented: bool) -> None:
    """A message above the read limit ends the connection, not the worker."""
    async with script() as it, running(it.worker(max_message_bytes=10_000)):
        await it.handshake()
        if fragmented:
            it.gateway.connection.send_fragments(*[b"x" * 4_000] * 4)
        else:
            it.gateway.send_raw(b"x" * 20_000)
        await it.handshake(count=2)

    assert it.closes[0].code == 1009


@pytest.mark.scenario("12", "X")
@pytest.mark.parametrize("code", [1000, 1001, 1008, 1009, 1011, 1012, 1013, 3000, 4999])
async def test_every_close_code_is_surfaced_echoed_and_survived(code: int) -> None:
    """RFC 6455 section 5.5.1: the answer has the code that was received."""
    async with script() as it, running(it.worker()):
        await it.handshake()
        connection = it.gateway.connection
        it.gateway.close_connection(code, "because\x1b[31m")
        await it.handshake(count=2)

    assert (it.closes[0].code, it.closes[0].reason) == (code, "because\\x1b[31m")
    assert (connection.close_code, connection.close_reason) == (code, "")


@pytest.mark.parametrize("code", [0, 1005, 1006, 5000])
async def test_a_close_code_that_must_not_be_sent_is_not_echoed(code: int) -> None:
    """RFC 6455 section 7.4: these mean something else, or nothing."""
    async with script() as it, running(it.worker()):
        await it.handshake()
        connection = it.gateway.connection
        it.gateway.close_connection(code, "because")
        await it.handshake(count=2)

    assert connection.close_code in (1000, 1002)


@pytest.mark.scenario("7")
async def test_a_wrong_first_message_costs_that_attempt() -> None:
    async with script() as it:
        it.gateway.greet = False
        async with running(it.worker()):
            await it.gateway.wait_for_connection()
            it.gateway.send_heartbeat()
            it.gateway.greet = True
            await it.gateway.wait_for_connection(2)
            await it.handshake()

    assert "protocol_violation" in [e.kind for e in it.errors]


@pytest.mark.scenario("56")
async def test_a_sync_failure_has_the_servers_reason() -> None:
    async with script() as it, running(it.worker()):
        await it.gateway.wait_for_message(K.WORKER_CONNECT)
        it.gateway.send_sync_failed("invalid_cron", "the cron of fn is wrong")
        it.gateway.close_connection(1008, "invalid_cron")
        await it.gateway.wait_for_message(K.WORKER_CONNECT, count=2)

    told = {e.kind: e.message for e in it.errors}
    assert "the cron of fn is wrong" in told["sync_failed"]
    assert "invalid_cron" in told["handshake_refused"]


@pytest.mark.scenario("Q")
@pytest.mark.parametrize(("status", "named"), [(302, "HTTP 302"), (503, "HTTP 503")])
async def test_a_refused_upgrade_is_reported_with_its_status(status: int, named: str) -> None:
    async with script() as it:
        it.gateway.refuse_upgrades = status
        async with running(it.worker()):
            await it.api.wait_for_request(START_PATH, count=2)
            it.gateway.refuse_upgrades = None
            await it.handshake()

    assert named in it.failures[0].message


async def test_a_proxy_may_remove_the_subprotocol() -> None:
    """RFC 6455 section 4.1: a server may select none of those offered."""
    async with script(subprotocol=None) as it, running(it.worker()):
        await it.handshake()

    assert it.failures == []


@pytest.mark.scenario("Q")
async def test_another_subprotocol_is_not_a_gateway() -> None:
    async with script(subprotocol="v9.connect.example.com") as it, running(it.worker()):
        await it.api.wait_for_request(START_PATH, count=2)

    assert "subprotocol" in it.failures[0].message
    assert it.gateway.get_received_messages() == []


@pytest.mark.scenario("security-redirects")
async def test_no_redirect_is_followed_with_the_key_or_the_token() -> None:
    """Security: token exfiltration by redirect."""
    async with script() as it, MockHTTPServer() as elsewhere:
        it.api.simulate_redirect(f"{elsewhere.origin}{START_PATH}", times=1)
        async with running(it.worker()):
            await it.handshake()
        stolen = elsewhere.get_request_history()

    assert stolen == []
    assert "redirects are not followed" in it.errors[0].message


@pytest.mark.scenario("security-redirects")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_an_upgrade_that_is_redirected_does_not_reach_the_other_server(status: int) -> None:
    """Security: the other server would receive the session token."""
    async with script() as it, MockWebSocketServer(greet=True) as elsewhere:
        it.gateway.redirect_to = elsewhere.url
        it.gateway.refuse_upgrades = status
        async with running(it.worker()):
            await it.api.wait_for_request(START_PATH, count=2)
            it.gateway.refuse_upgrades = None
            await it.handshake()

    assert elsewhere.upgrade_headers == []
    assert elsewhere.get_received_messages() == []


@pytest.mark.scenario("10")
async def test_the_gateway_address_can_be_overridden_and_rewritten() -> None:
    async with script() as it, FaultProxy("127.0.0.1", it.gateway.port) as proxy:
        mine = f"ws://127.0.0.1:{proxy.port}/v0/connect"
        async with running(it.worker(gateway_url=mine)):
            await it.handshake()
        overridden = proxy.accepted
        async with running(it.worker(rewrite_gateway_endpoint=lambda _: mine)):
            await it.handshake(count=2)

    assert (overridden, proxy.accepted) == (1, 2)


@pytest.mark.scenario("11")
async def test_a_rewrite_that_raises_or_returns_nonsense_is_reported_and_retried() -> None:
    answers = iter(["http://nonsense"])

    async with script() as it:

        def rewrite(url: str) -> str:
            return next(answers, url)

        async with running(it.worker(rewrite_gateway_endpoint=rewrite)):
            await it.handshake()

    assert [e.kind for e in it.errors] == ["gateway_endpoint_refused"]
    assert "http://nonsense" in it.errors[0].message


@pytest.mark.scenario("27")
async def test_what_the_worker_does_not_have_is_refused_by_name() -> None:
    async with script() as it, running(it.worker()):
        await it.handshake()
        it.request("r1", app="")
        it.request("r2", function="app-gone")
        first = await it.answered("r1")
        second = await it.answered("r2", count=2)

    assert first.status == second.status == pb.SDKResponseStatus.ERROR
    assert not first.no_retry
    assert b"no app ''" in first.body
    assert b"app-gone" in second.body


@pytest.mark.scenario("J")
async def test_a_call_request_that_cannot_be_read_is_answered() -> None:
    async with script() as it, running(it.worker()):
        await it.handshake()
        for request_id, payload in (("r1", b"{"), ("r2", b"[" * 100_000), ("r3", b"")):
            it.gateway.send_executor_request(
                pb.GatewayExecutorRequestData(
                    request_id=request_id,
                    app_name="app",
                    function_slug="app-echo",
                    request_payload=payload,
                    lease_id=LEASE,
                )
            )
        replies = [await it.answered(f"r{n}", count=3) for n in (1, 2, 3)]

    assert [r.status for r in replies] == [pb.SDKResponseStatus.ERROR] * 3
    assert not any(r.no_retry for r in replies)


@pytest.mark.scenario("H")
async def test_the_same_request_twice_is_executed_once() -> None:
    """The same request is delivered twice."""
    async with script() as it, running(it.worker()):
        await it.handshake()
        it.request("r1")
        await it.answered("r1")
        it.request("r1")
        await it.gateway.wait_for_message(K.WORKER_REPLY, count=2)

    acknowledged = it.gateway.get_received_messages(K.WORKER_REQUEST_ACK)
    assert len(acknowledged) == 2
    assert it.app.seen.calls["echo"] == 1


@pytest.mark.scenario("51")
async def test_status_is_sent_when_the_gateway_asks() -> None:
    async with script() as it, running(it.worker()):
        await it.gateway.wait_for_message(K.WORKER_CONNECT)
        it.gateway.send_connection_ready(status_interval="50ms")
        await it.gateway.wait_for_message(K.WORKER_READY)
        it.request("r1", "app-wait")
        await it.app.seen.started.wait()
        await it.gateway.wait_for_message(K.WORKER_STATUS, count=3)
        last = it.gateway.get_received_messages(K.WORKER_STATUS)[-1]
        it.app.seen.release.set()
        await it.answered("r1")

    status = pb.WorkerStatusData.FromString(last.payload)
    assert list(status.in_flight_request_ids) == ["r1"]


async def test_a_bug_in_the_core_ends_the_worker_loudly(monkeypatch: pytest.MonkeyPatch) -> None:

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    async with script() as it:
        worker = it.worker()
        started = asyncio.create_task(worker.start())
        await it.handshake()
        monkeypatch.setattr(WorkerCore, "_settle", broken)
        it.request("r1")
        with pytest.raises(WorkerCrashed) as caught:
            await started

    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert worker.state is ConnectionState.CLOSED


@pytest.mark.scenario("security-keys")
async def test_no_secret_is_in_any_log_record_event_or_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Security: a canary for the key, the tokens and the payload."""
    key = "signkey-test-" + "ca" * 32
    caplog.set_level(logging.DEBUG, logger="inngest_connect")
    told: list[object] = []
    async with MockHTTPServer(signing_keys=[key]) as api, MockWebSocketServer(greet=True) as gw:
        api.add_gateway(gw.name, gw.url)
        app = make_app(api.origin, is_production=True, signing_key=key)
        it = Script(api, gw, app)
        from inngest_connect import EVENT_NAMES

        async with running(it.worker(on=dict.fromkeys(EVENT_NAMES, told.append))):
            await it.handshake()
            it.request("r1")
            await it.answered("r1")
            it.gateway.send_raw(b"\xff")
            it.gateway.close_connection(1011, f"leaked {key}")
            api.simulate_auth_failure(times=1)
            await it.handshake(count=2)
        hello = gw.get_received_messages(K.WORKER_CONNECT)[0]

    auth = pb.WorkerConnectRequestData.FromString(hello.payload).auth_data
    digest = api.get_request_history()[0].headers["authorization"].removeprefix("Bearer ")
    written = caplog.text + str([vars(r) for r in caplog.records]) + repr(it.errors)
    for secret in (auth.session_token, auth.sync_token, digest):
        assert secret not in written + repr(told)
    assert key not in written


@pytest.mark.scenario("47")
async def test_a_reply_that_is_never_acknowledged_is_flushed_and_not_sent_indefinitely() -> None:
    """A reply is not acknowledged in time."""
    async with script() as it, running(it.worker()):
        await it.handshake()
        it.request("r1")
        await it.gateway.wait_for_message(K.WORKER_REPLY)
        flush = await it.api.wait_for_request(FLUSH_PATH)

    assert flush.sdk_response().request_id == "r1"
    assert len(it.gateway.get_received_messages(K.WORKER_REPLY)) == 1
    assert len(it.api.get_request_history(FLUSH_PATH)) == 1


@pytest.mark.scenario("45")
async def test_a_request_on_a_draining_or_closing_socket_is_left_to_other_workers() -> None:
    async with script() as it, running(worker := it.worker()):
        await it.handshake()
        it.request("in-flight", "app-wait")
        await it.app.seen.started.wait()
        old = it.gateway.connection
        it.api.simulate_server_error()
        it.gateway.send_draining_message()
        it.request("after-closing")
        await it.api.wait_for_request(START_PATH, count=2)
        it.api.restore()
        await it.gateway.wait_for_connection(2)
        await it.handshake(count=2)
        await worker.close()
        await it.gateway.wait_for_message(K.WORKER_PAUSE)
        it.request("after-pause")
        it.gateway.connection.send_ping(b"everything before this was read")
        await asyncio.wait_for(it.gateway.connection.pongs.get(), 10)
        it.app.seen.release.set()
        await it.answered("in-flight")
        counters = worker.get_debug_state().counters

    acknowledged = [
        pb.WorkerRequestAckData.FromString(m.payload).request_id
        for m in it.gateway.get_received_messages(K.WORKER_REQUEST_ACK)
    ]
    assert acknowledged == ["in-flight"]
    assert counters["requests_ignored"] == 2
    assert it.app.seen.calls["echo"] == 0
    assert old.closed.is_set()


@pytest.mark.scenario("50")
async def test_a_full_buffer_holds_functions_back_until_replies_are_stored() -> None:
    async with (
        script() as it,
        running(worker := it.worker(max_buffer_bytes=2100, max_worker_concurrency=1)),
    ):
        await it.handshake()
        it.api.simulate_server_error(endpoint=FLUSH_PATH)
        for name in ("r1", "r2", "r3", "r4", "r5", "r6"):
            it.request(name, "app-filler")
        await it.gateway.wait_for_message(K.WORKER_REQUEST_ACK, count=6)
        # Nothing is acknowledged, so the first failed flush comes when nothing runs any more.
        await it.api.wait_for_request(FLUSH_PATH)
        held = worker.get_debug_state()
        for _ in range(6):
            for message in it.gateway.get_received_messages(K.WORKER_REPLY):
                request_id = pb.SDKResponse.FromString(message.payload).request_id
                it.gateway.send_reply_ack(request_id)
            count = len(it.gateway.get_received_messages(K.WORKER_REPLY))
            if count >= 6:
                break
            await it.gateway.wait_for_message(K.WORKER_REPLY, count=count + 1)

    assert held.queued > 0
    assert held.buffer_bytes >= 0.75 * 1400
    assert {e.kind for e in it.errors} <= {"flush_failed"}
    assert it.app.seen.calls["filler"] == 6


@pytest.mark.scenario("46")
async def test_nothing_is_written_on_a_socket_that_cannot_take_it() -> None:
    async with MockWebSocketServer(greet=True) as gateway:
        events: asyncio.Queue[object] = asyncio.Queue()
        manager = WebSocketManager(1, 10_000, events.put_nowait, lambda: None)
        before = manager.send(b"x")
        task = asyncio.create_task(manager.run(gateway.url, timeout=5.0))
        assert isinstance(await events.get(), SocketOpened)
        during = manager.send(b"x")
        manager.close(1000, "WORKER_SHUTDOWN")
        closing = manager.send(b"x")
        await task
        manager.abort()
        after = manager.send(b"x")

    assert (before, during, closing, after) == (False, True, False, False)
