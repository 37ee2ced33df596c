"""MessageHandler: setup phase and active phase of one socket."""

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from inngest_connect.core.commands import Send
from inngest_connect.core.connections import inbound
from inngest_connect.core.connections.generation import Credentials, Generation
from inngest_connect.core.connections.message_handler import MessageHandler
from inngest_connect.core.connections.phases import Phase
from inngest_connect.core.outbox import Outbox
from inngest_connect.core.settings import AppIdentity, CoreSettings, WorkerIdentity
from inngest_connect.core.wire.messages import envelope
from inngest_connect.errors import InvalidTransition
from inngest_connect.protocol import connect_pb2 as pb

K = pb.GatewayMessageType
pytestmark = pytest.mark.unit

IDENTITY = WorkerIdentity(
    instance_id="instance",
    apps=(AppIdentity("one", b'[{"id":"one-fn"}]', frozenset({"one-fn"}), "v1"),
          AppIdentity("two", b'[{"id":"two-fn"}]', frozenset({"two-fn"}))),
    capabilities=b'{"connect":"v1"}',
    sdk_language="py",
    sdk_version="0.5.19",
    framework="connect",
    environment="branch",
    cpu_cores=2,
    memory_bytes=1024,
    operating_system="linux",
    started_at=1_700_000_000.5,
    max_worker_concurrency=7,
)  # fmt: skip
REQUEST_OF_GARBAGE = envelope(K.GATEWAY_EXECUTOR_REQUEST, b"\xff")
REQUEST_OF_INVALID_TEXT = envelope(K.GATEWAY_EXECUTOR_REQUEST, b"\x0a\x01\xff")
CREDENTIALS = Credentials(session_token="session", sync_token="sync")


class Socket:
    """A connection in some phase, its clock and what was written on it."""

    def __init__(self, phase: Phase = Phase.AWAITING_HELLO, **ready: str) -> None:
        self.now = 50.0
        self.outbox = Outbox()
        self.generation = Generation(3, 0, CoreSettings(), self.outbox, self.now)
        self._handler = MessageHandler(IDENTITY, CoreSettings())
        ways = {
            Phase.DRAINING: [Phase.DRAINING],
            Phase.REPLACED: [Phase.DRAINING, Phase.REPLACED],
            Phase.CLOSING: [Phase.CLOSING],
            Phase.RETIRED: [Phase.RETIRED],
        }
        if phase is not Phase.STARTING:
            self.generation.named("conn", "group", CREDENTIALS, self.now)
        if phase not in (Phase.STARTING, Phase.DIALING):
            self.generation.enter(Phase.AWAITING_HELLO, self.now)
        if phase is Phase.AWAITING_READY or phase is Phase.ACTIVE or phase in ways:
            self.hears(K.GATEWAY_HELLO)
        if phase is Phase.ACTIVE or phase in ways:
            self.hears(K.GATEWAY_CONNECTION_READY, pb.GatewayConnectionReadyData(**ready))
        for each in ways.get(phase, []):
            self.generation.enter(each, self.now)
        assert self.generation.phase is phase

    def hears(self, kind: int, payload: Message | bytes = b"") -> inbound.Inbound | None:
        data = payload if isinstance(payload, bytes) else payload.SerializeToString()
        return self.receives(pb.ConnectMessage(kind=kind, payload=data).SerializeToString())  # type: ignore[arg-type]

    def receives(self, data: bytes) -> inbound.Inbound | None:
        return self._handler.receive(self.generation, data, self.now)

    def written(self) -> list[tuple[str, bytes]]:
        sends = [each for each in self.outbox.take() if isinstance(each, Send)]
        messages = [pb.ConnectMessage.FromString(send.data) for send in sends]
        return [(K.Name(m.kind), m.payload) for m in messages]


@pytest.mark.scenario("1")
def test_a_zero_length_message_is_the_hello_and_is_answered_with_who_we_are() -> None:
    """HELLO is kind 0 without a payload, so it has no bytes at all."""
    socket = Socket()

    meaning = socket.receives(b"")

    assert meaning is None
    ((kind, payload),) = socket.written()
    assert kind == "WORKER_CONNECT"
    data = pb.WorkerConnectRequestData.FromString(payload)
    assert (data.connection_id, data.instance_id) == ("conn", "instance")
    assert (data.auth_data.session_token, data.auth_data.sync_token) == ("session", "sync")
    assert data.capabilities == b'{"connect":"v1"}'
    assert [(a.app_name, a.app_version, a.functions) for a in data.apps] == [
        ("one", "v1", b'[{"id":"one-fn"}]'),
        ("two", "", b'[{"id":"two-fn"}]'),
    ]
    assert data.apps[0].HasField("app_version")
    assert not data.apps[1].HasField("app_version")
    assert data.worker_manual_readiness_ack is True
    attributes = data.system_attributes
    assert (attributes.cpu_cores, attributes.mem_bytes, attributes.os) == (2, 1024, "linux")
    assert (data.environment, data.framework) == ("branch", "connect")
    assert (data.sdk_version, data.sdk_language) == ("0.5.19", "py")
    assert (data.started_at.seconds, data.started_at.nanos) == (1_700_000_000, 500_000_000)
    assert data.max_worker_concurrency == 7


def test_ready_ends_the_setup_phase_with_the_gateways_intervals() -> None:
    socket = Socket(Phase.AWAITING_READY)
    data = pb.GatewayConnectionReadyData(
        heartbeat_interval="3s", extend_lease_interval="5s", status_interval="1m0s"
    )

    ready = socket.hears(K.GATEWAY_CONNECTION_READY, data)

    assert ready == inbound.ConnectionReady(5.0)
    assert socket.generation.status_interval == 60.0
    assert socket.generation.phase is Phase.ACTIVE
    assert socket.generation.heartbeat is not None
    assert socket.generation.heartbeat.interval == 3.0


@pytest.mark.parametrize(
    ("heartbeat", "extend", "expected"),
    [
        ("", "", (10.0, 30.0)),
        ("1h", "1h", (10.0, 40.0)),
        ("2s", "20s", (2.0, 20.0)),
    ],
)
def test_empty_intervals_take_defaults_and_slow_ones_are_limited(
    heartbeat: str, extend: str, expected: tuple[float, float]
) -> None:
    socket = Socket(Phase.AWAITING_READY)
    data = pb.GatewayConnectionReadyData(heartbeat_interval=heartbeat, extend_lease_interval=extend)

    ready = socket.hears(K.GATEWAY_CONNECTION_READY, data)

    assert isinstance(ready, inbound.ConnectionReady)
    assert socket.generation.heartbeat is not None
    assert (socket.generation.heartbeat.interval, ready.extend_lease_interval) == expected
    assert ready.complaints == ()


@pytest.mark.scenario("J")
@pytest.mark.parametrize("text", ["0s", "-5s", "soon", "1ns", "5"])
def test_unusable_intervals_fall_back_and_are_reported(text: str) -> None:
    socket = Socket(Phase.AWAITING_READY)
    data = pb.GatewayConnectionReadyData(
        heartbeat_interval=text, extend_lease_interval=text, status_interval=text
    )

    ready = socket.hears(K.GATEWAY_CONNECTION_READY, data)

    assert isinstance(ready, inbound.ConnectionReady)
    assert (ready.extend_lease_interval, socket.generation.status_interval) == (30.0, 0.0)
    assert all(repr(text) in complaint for complaint in ready.complaints)
    assert len(ready.complaints) == (2 if text == "0s" else 3)


@pytest.mark.scenario("7")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (K.GATEWAY_CONNECTION_READY, None),
        (K.GATEWAY_EXECUTOR_REQUEST, None),
        (K.GATEWAY_HEARTBEAT, None),
        (K.GATEWAY_HELLO, K.GATEWAY_HELLO),
        (K.GATEWAY_HELLO, K.WORKER_REPLY_ACK),
        (K.GATEWAY_HELLO, K.WORKER_CONNECT),
    ],
)
def test_messages_out_of_order_in_the_setup_phase_are_violations(
    first: int, second: int | None
) -> None:
    socket = Socket()

    meaning = socket.hears(first)
    if second is not None:
        meaning = socket.hears(second)

    assert isinstance(meaning, inbound.Violation)


def test_a_hello_before_the_upgrade_was_checked_gets_no_tokens() -> None:
    """Security: the answer to a HELLO carries the session token."""
    socket = Socket(Phase.DIALING)

    assert isinstance(socket.receives(b""), inbound.Violation)
    assert socket.written() == []


@pytest.mark.scenario("56")
def test_what_else_can_come_in_the_setup_phase() -> None:
    socket = Socket()
    failure = pb.SystemError(code="c\x1b", message="why")

    assert socket.hears(K.GATEWAY_CLOSING) == inbound.GatewayClosing()
    assert socket.hears(K.SYNC_FAILED, failure) == inbound.SyncFailed("c\\x1b", "why")


@pytest.mark.scenario("6")
@pytest.mark.parametrize(
    ("phase", "limit", "awaited"),
    [
        (Phase.STARTING, 15.0, "timed out waiting for the API's answer"),
        (Phase.DIALING, 10.0, "timed out waiting for the WebSocket to open"),
        (Phase.AWAITING_HELLO, 10.0, "timed out waiting for GATEWAY_HELLO"),
        (Phase.AWAITING_READY, 60.0, "timed out waiting for GATEWAY_CONNECTION_READY"),
        (Phase.REPLACED, 2.0, ""),
        (Phase.CLOSING, 2.0, "no close frame from the gateway"),
    ],
)
def test_each_phase_that_waits_has_its_limit(phase: Phase, limit: float, awaited: str) -> None:
    connection = Socket(phase).generation

    assert connection.next_deadline() == 50.0 + limit
    assert connection.tick(50.0 + limit - 0.1) is None
    assert connection.tick(50.0 + limit) == awaited


def test_every_kind_of_the_active_phase_is_read() -> None:
    socket = Socket(Phase.ACTIVE)
    request = pb.GatewayExecutorRequestData(request_id="r", app_name="one")
    granted = pb.WorkerRequestExtendLeaseAckData(request_id="r", new_lease_id="lease")
    refused = pb.WorkerRequestExtendLeaseAckData(request_id="r")
    empty = pb.WorkerRequestExtendLeaseAckData(request_id="r", new_lease_id="")

    arrived = socket.hears(K.GATEWAY_EXECUTOR_REQUEST, request)

    assert isinstance(arrived, inbound.RequestArrived)
    assert arrived.request == request
    assert socket.hears(
        K.WORKER_REPLY_ACK, pb.WorkerReplyAckData(request_id="r")
    ) == inbound.ReplyAcked("r")
    kind = K.WORKER_REQUEST_EXTEND_LEASE_ACK
    assert socket.hears(kind, granted) == inbound.LeaseAnswered("r", "lease")
    assert socket.hears(kind, refused) == inbound.LeaseAnswered("r", None)
    assert socket.hears(kind, empty) == inbound.LeaseAnswered("r", None)
    assert socket.hears(K.GATEWAY_HEARTBEAT) is None
    assert socket.hears(K.GATEWAY_CLOSING) == inbound.GatewayClosing()
    assert isinstance(socket.hears(K.GATEWAY_HELLO), inbound.Violation)


@pytest.mark.scenario("J")
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x08", "undecodable_message"),
        (b"\x12\xff\x01x", "undecodable_message"),
        (b"\x08\x63", "unknown_kind"),
        (b"\x08\xff\xff\xff\xff\x0f", "unknown_kind"),
        (REQUEST_OF_GARBAGE, "undecodable_gateway_executor_request"),
        (REQUEST_OF_INVALID_TEXT, "undecodable_gateway_executor_request"),
        (envelope(K.WORKER_REPLY_ACK, b"\xff"), "undecodable_worker_reply_ack"),
        (envelope(K.GATEWAY_EXECUTOR_REQUEST), "request_without_id"),
    ],
)  # fmt: skip
def test_malformed_messages_are_named_by_kind(data: bytes, kind: str) -> None:
    assert Socket(Phase.ACTIVE).receives(data) == inbound.Malformed(kind)


@pytest.mark.scenario("J")
def test_unknown_fields_are_ignored() -> None:
    socket = Socket(Phase.ACTIVE)
    ack = pb.WorkerReplyAckData(request_id="r").SerializeToString() + b"\xfa\x3e\x01x"

    assert socket.hears(K.WORKER_REPLY_ACK, ack) == inbound.ReplyAcked("r")


@pytest.mark.scenario("J")
@given(st.sampled_from(list(Phase)), st.binary(max_size=200))
def test_no_bytes_raise_in_any_phase(phase: Phase, data: bytes) -> None:
    Socket(phase).receives(data)


@given(st.sampled_from(list(Phase)), st.sampled_from(K.values()), st.binary(max_size=100))
def test_no_payload_raises_in_any_phase(phase: Phase, kind: int, payload: bytes) -> None:
    Socket(phase).hears(kind, payload)


def test_a_retired_socket_is_not_heard() -> None:
    assert Socket(Phase.RETIRED).hears(K.GATEWAY_EXECUTOR_REQUEST, b"\xff") is None


@pytest.mark.scenario("18", "19")
def test_heartbeats_are_written_and_their_absence_is_noticed() -> None:
    socket = Socket(Phase.ACTIVE, heartbeat_interval="10s")
    start = socket.now
    socket.outbox.take()

    outcomes = [socket.generation.tick(start + t) for t in (0.0, 5.0, 10.0, 20.0)]

    assert [kind for kind, _ in socket.written()] == ["WORKER_HEARTBEAT"] * 2
    assert outcomes[:3] == [None, None, None]
    assert outcomes[3] is not None
    assert "2 heartbeat(s) unanswered" in outcomes[3]


def test_a_drained_socket_sends_no_heartbeats_but_can_still_fall_silent() -> None:
    socket = Socket(Phase.DRAINING)
    socket.outbox.take()

    quiet = socket.generation.tick(socket.now + 29.0)
    silent = socket.generation.tick(socket.now + 30.0)

    assert socket.written() == []
    assert quiet is None
    assert silent is not None


def test_a_retired_socket_waits_for_nothing() -> None:
    """Or the worker's timer would fire again and again for it."""
    retired = Socket(Phase.RETIRED).generation

    assert retired.next_deadline() is None
    assert retired.tick(1e9) is None


@pytest.mark.parametrize(("phase", "due"), [(Phase.ACTIVE, True), (Phase.DRAINING, False)])
def test_a_status_is_due_at_its_interval_while_the_connection_serves(
    phase: Phase, due: bool
) -> None:
    connection = Socket(phase, status_interval="20s", heartbeat_interval="10s").generation
    connection.tick(50.0)

    early = connection.take_status_due(69.9)
    times = [connection.take_status_due(at) for at in (70.0, 70.1, 90.0)]

    assert early is False
    assert times == [due, False, due]


ALLOWED = {
    Phase.AWAITING_HELLO: {K.WORKER_CONNECT},
    Phase.ACTIVE: {
        K.WORKER_READY, K.WORKER_PAUSE, K.WORKER_HEARTBEAT, K.WORKER_STATUS, K.WORKER_REQUEST_ACK,
        K.WORKER_REPLY, K.WORKER_REQUEST_EXTEND_LEASE,
    },
    Phase.DRAINING: {K.WORKER_PAUSE, K.WORKER_REPLY, K.WORKER_REQUEST_EXTEND_LEASE},
}  # fmt: skip


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("kind", K.values())
def test_a_message_at_a_wrong_time_is_not_sent(phase: Phase, kind: int) -> None:
    socket = Socket(phase)
    socket.outbox.take()

    if kind in ALLOWED.get(phase, set()):
        socket.generation.send(kind, b"")
        assert len(socket.outbox.take()) == 1
    else:
        with pytest.raises(InvalidTransition, match=f"is not sent in phase {phase.value}"):
            socket.generation.send(kind, b"")
        assert socket.outbox.take() == []


def test_an_acknowledgement_is_sent_in_the_active_phase_alone() -> None:
    request = pb.GatewayExecutorRequestData(request_id="r")
    for phase in Phase:
        connection = Socket(phase).generation
        if phase is Phase.ACTIVE:
            connection.acknowledge(request)
        else:
            with pytest.raises(InvalidTransition, match="WORKER_REQUEST_ACK is not sent in phase"):
                connection.acknowledge(request)


def test_a_phase_that_cannot_follow_is_refused() -> None:
    socket = Socket(Phase.DRAINING)

    with pytest.raises(InvalidTransition, match="ACTIVE cannot follow DRAINING"):
        socket.generation.enter(Phase.ACTIVE, socket.now)

    assert socket.generation.phase is Phase.DRAINING


def test_intervals_that_a_line_cannot_keep_have_a_floor() -> None:
    socket = Socket(Phase.AWAITING_READY)
    data = pb.GatewayConnectionReadyData(
        heartbeat_interval="10ms", extend_lease_interval="10ms", status_interval="10ms"
    )

    assert socket.hears(K.GATEWAY_CONNECTION_READY, data) == inbound.ConnectionReady(0.1)
    assert socket.generation.status_interval == 0.1
    assert socket.generation.heartbeat is not None
    assert socket.generation.heartbeat.interval == 0.1


def test_a_gateway_that_names_no_status_interval_wants_no_status() -> None:
    socket = Socket(Phase.AWAITING_READY)

    ready = socket.hears(K.GATEWAY_CONNECTION_READY, pb.GatewayConnectionReadyData())

    assert isinstance(ready, inbound.ConnectionReady)
    assert socket.generation.status_interval == 0.0


def test_tokens_are_forgotten_once_they_were_sent() -> None:
    assert Socket(Phase.AWAITING_HELLO).generation.credentials == CREDENTIALS
    assert Socket(Phase.AWAITING_READY).generation.credentials is None


def test_credentials_are_not_shown() -> None:
    assert repr(CREDENTIALS) == "Credentials()"
