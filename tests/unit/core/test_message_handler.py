"""MessageHandler: setup phase and active phase of one socket."""

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from inngest_connect.core.commands import Command, Send
from inngest_connect.core.connections import message_handler as mh
from inngest_connect.core.connections.message_handler import Credentials, MessageHandler
from inngest_connect.core.connections.phases import Phase
from inngest_connect.core.settings import AppIdentity, CoreSettings, WorkerIdentity
from inngest_connect.core.wire.messages import envelope
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
CREDENTIALS = Credentials(connection_id="conn", session_token="session", sync_token="sync")


class Socket:
    """A handler, its clock and what it wrote."""

    def __init__(self, phase: Phase = Phase.HANDSHAKING, **ready: str) -> None:
        self.handler = MessageHandler(3, IDENTITY, CoreSettings())
        self.out: list[Command] = []
        self.now = 50.0
        if phase is not Phase.HANDSHAKING:
            self.open()
            self.hears(K.GATEWAY_HELLO)
            self.hears(K.GATEWAY_CONNECTION_READY, pb.GatewayConnectionReadyData(**ready))
            self.handler.phase = phase

    def open(self) -> None:
        self.handler.api_called(self.now)
        self.handler.dialing(CREDENTIALS, self.now)
        self.handler.opened(self.now)

    def hears(self, kind: int, payload: Message | bytes = b"") -> mh.Inbound | None:
        data = payload if isinstance(payload, bytes) else payload.SerializeToString()
        return self.receives(pb.ConnectMessage(kind=kind, payload=data).SerializeToString())  # type: ignore[arg-type]

    def receives(self, data: bytes) -> mh.Inbound | None:
        return self.handler.receive(data, self.now, self.out)

    def written(self) -> list[tuple[str, bytes]]:
        messages = [pb.ConnectMessage.FromString(c.data) for c in self.out if isinstance(c, Send)]
        return [(K.Name(m.kind), m.payload) for m in messages]


@pytest.mark.scenario("1")
def test_a_zero_length_message_is_the_hello_and_is_answered_with_who_we_are() -> None:
    """HELLO is kind 0 without a payload, so it has no bytes at all."""
    socket = Socket()
    socket.open()

    inbound = socket.receives(b"")

    assert inbound is None
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
    socket = Socket()
    socket.open()
    socket.hears(K.GATEWAY_HELLO)
    data = pb.GatewayConnectionReadyData(
        heartbeat_interval="3s", extend_lease_interval="5s", status_interval="1m0s"
    )

    ready = socket.hears(K.GATEWAY_CONNECTION_READY, data)

    assert ready == mh.ConnectionReady(5.0, 60.0)
    assert socket.handler.phase is Phase.ACTIVE
    assert socket.handler.heartbeat is not None
    assert socket.handler.heartbeat.interval == 3.0


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
    socket = Socket()
    socket.open()
    socket.hears(K.GATEWAY_HELLO)
    data = pb.GatewayConnectionReadyData(heartbeat_interval=heartbeat, extend_lease_interval=extend)

    ready = socket.hears(K.GATEWAY_CONNECTION_READY, data)

    assert isinstance(ready, mh.ConnectionReady)
    assert socket.handler.heartbeat is not None
    assert (socket.handler.heartbeat.interval, ready.extend_lease_interval) == expected
    assert ready.complaints == ()


@pytest.mark.scenario("J")
@pytest.mark.parametrize("text", ["0s", "-5s", "soon", "1ns", "5"])
def test_unusable_intervals_fall_back_and_are_reported(text: str) -> None:
    socket = Socket()
    socket.open()
    socket.hears(K.GATEWAY_HELLO)
    data = pb.GatewayConnectionReadyData(
        heartbeat_interval=text, extend_lease_interval=text, status_interval=text
    )

    ready = socket.hears(K.GATEWAY_CONNECTION_READY, data)

    assert isinstance(ready, mh.ConnectionReady)
    assert (ready.extend_lease_interval, ready.status_interval) == (30.0, 0.0)
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
    socket.open()

    inbound = socket.hears(first)
    if second is not None:
        inbound = socket.hears(second)

    assert isinstance(inbound, mh.Violation)


def test_a_hello_before_the_upgrade_was_checked_gets_no_tokens() -> None:
    """Security: the answer to a HELLO carries the session token."""
    socket = Socket()
    socket.handler.dialing(CREDENTIALS, socket.now)

    assert isinstance(socket.receives(b""), mh.Violation)
    assert socket.out == []


@pytest.mark.scenario("56")
def test_what_else_can_come_in_the_setup_phase() -> None:
    socket = Socket()
    socket.open()
    failure = pb.SystemError(code="c\x1b", message="why")

    assert socket.hears(K.GATEWAY_CLOSING) == mh.GatewayClosing()
    assert socket.hears(K.SYNC_FAILED, failure) == mh.SyncFailed("c\\x1b", "why")


@pytest.mark.scenario("6")
@pytest.mark.parametrize(
    ("step", "limit", "name"),
    [
        ("api", 15.0, "API"),
        ("dial", 10.0, "open"),
        ("open", 10.0, "HELLO"),
        ("hello", 60.0, "READY"),
    ],
)
def test_each_step_of_the_setup_phase_has_its_limit(step: str, limit: float, name: str) -> None:
    socket = Socket()
    socket.handler.api_called(socket.now)
    if step != "api":
        socket.handler.dialing(CREDENTIALS, socket.now)
    if step in ("open", "hello"):
        socket.handler.opened(socket.now)
    if step == "hello":
        socket.hears(K.GATEWAY_HELLO)

    assert socket.handler.next_deadline() == socket.now + limit
    assert socket.handler.tick(socket.now + limit - 0.1, []) is None
    expired = socket.handler.tick(socket.now + limit, [])
    assert expired is not None
    assert name in expired.text


def test_every_kind_of_the_active_phase_is_read() -> None:
    socket = Socket(Phase.ACTIVE)
    request = pb.GatewayExecutorRequestData(request_id="r", app_name="one")
    granted = pb.WorkerRequestExtendLeaseAckData(request_id="r", new_lease_id="lease")
    refused = pb.WorkerRequestExtendLeaseAckData(request_id="r")
    empty = pb.WorkerRequestExtendLeaseAckData(request_id="r", new_lease_id="")

    arrived = socket.hears(K.GATEWAY_EXECUTOR_REQUEST, request)

    assert isinstance(arrived, mh.RequestArrived)
    assert arrived.request == request
    assert socket.hears(K.WORKER_REPLY_ACK, pb.WorkerReplyAckData(request_id="r")) == mh.ReplyAcked(
        "r"
    )
    kind = K.WORKER_REQUEST_EXTEND_LEASE_ACK
    assert socket.hears(kind, granted) == mh.LeaseAnswered("r", "lease")
    assert socket.hears(kind, refused) == mh.LeaseAnswered("r", None)
    assert socket.hears(kind, empty) == mh.LeaseAnswered("r", None)
    assert socket.hears(K.GATEWAY_HEARTBEAT) is None
    assert socket.hears(K.GATEWAY_CLOSING) == mh.GatewayClosing()
    assert isinstance(socket.hears(K.GATEWAY_HELLO), mh.Violation)


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
    assert Socket(Phase.ACTIVE).receives(data) == mh.Malformed(kind)


@pytest.mark.scenario("J")
def test_unknown_fields_are_ignored() -> None:
    socket = Socket(Phase.ACTIVE)
    ack = pb.WorkerReplyAckData(request_id="r").SerializeToString() + b"\xfa\x3e\x01x"

    assert socket.hears(K.WORKER_REPLY_ACK, ack) == mh.ReplyAcked("r")


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
    out: list[Command] = []

    outcomes = [socket.handler.tick(start + t, out) for t in (0.0, 5.0, 10.0, 20.0)]

    assert len(out) == 2
    assert outcomes[:3] == [None, None, None]
    assert outcomes[3] is not None
    assert "2 heartbeat(s) unanswered" in outcomes[3].text


def test_a_drained_socket_sends_no_heartbeats_but_can_still_fall_silent() -> None:
    socket = Socket(Phase.ACTIVE)
    socket.handler.drain()
    out: list[Command] = []

    quiet = socket.handler.tick(socket.now + 29.0, out)
    silent = socket.handler.tick(socket.now + 30.0, out)

    assert out == []
    assert quiet is None
    assert silent is not None


@pytest.mark.parametrize("phase", [Phase.CLOSING, Phase.RETIRED])
def test_a_socket_that_is_on_its_way_out_waits_for_nothing(phase: Phase) -> None:
    """Or the worker's timer would fire again and again for it."""
    ready = Socket(phase)
    handshaking = Socket()
    handshaking.open()
    handshaking.handler.phase = phase

    assert ready.handler.next_deadline() is None
    assert handshaking.handler.next_deadline() is None


def test_intervals_that_a_line_cannot_keep_have_a_floor() -> None:
    socket = Socket()
    socket.open()
    socket.hears(K.GATEWAY_HELLO)
    data = pb.GatewayConnectionReadyData(
        heartbeat_interval="10ms", extend_lease_interval="10ms", status_interval="10ms"
    )

    assert socket.hears(K.GATEWAY_CONNECTION_READY, data) == mh.ConnectionReady(0.1, 0.1)
    assert socket.handler.heartbeat is not None
    assert socket.handler.heartbeat.interval == 0.1


def test_a_gateway_that_names_no_status_interval_wants_no_status() -> None:
    socket = Socket()
    socket.open()
    socket.hears(K.GATEWAY_HELLO)

    ready = socket.hears(K.GATEWAY_CONNECTION_READY, pb.GatewayConnectionReadyData())

    assert isinstance(ready, mh.ConnectionReady)
    assert ready.status_interval == 0.0


def test_credentials_are_not_shown() -> None:
    assert "session" not in repr(CREDENTIALS)
    assert "sync" not in f"{CREDENTIALS}"
