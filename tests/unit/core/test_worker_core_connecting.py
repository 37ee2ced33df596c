"""WorkerCore while it connects, loses connections and is drained."""

import pytest

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.core.events import Connected, Disconnected, Reconnecting, StateChanged
from inngest_connect.core.settings import CoreSettings
from inngest_connect.errors import AuthenticationError, StartupTimeout
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.state_machine import ConnectionState as S
from tests.unit.core.conversation import Conversation, errors, one, only, payload, seen, sent

K = pb.GatewayMessageType
pytestmark = pytest.mark.unit


@pytest.mark.scenario("1")
def test_connects_with_the_documented_order_of_steps() -> None:
    talk = Conversation()

    begun = talk.happens(inputs.Started())
    named = talk.api_names_gateway(1)
    opened = talk.happens(inputs.SocketOpened(1))
    hello = talk.gateway_says(1, K.GATEWAY_HELLO)
    ready = talk.gateway_says(1, K.GATEWAY_CONNECTION_READY)

    assert one(begun, do.RequestStart) == do.RequestStart(1, (), 0)
    assert one(named, do.OpenSocket) == do.OpenSocket(1, "ws://gateway")
    assert seen(opened) == ["websocket_open"]
    connect = pb.WorkerConnectRequestData.FromString(payload(one(hello, do.Send)))
    assert connect.connection_id == "connection-1"
    assert connect.auth_data.session_token == "session-token"
    assert connect.worker_manual_readiness_ack is True
    assert sent(ready) == ["WORKER_READY"]
    assert one(ready, Connected).connection_id == "connection-1"
    assert talk.core.machine.state is S.ACTIVE


def test_first_heartbeat_follows_readiness_at_once() -> None:
    talk = Conversation().connected()

    assert sent(talk.passes(0.0)) == ["WORKER_HEARTBEAT"]


@pytest.mark.scenario("18")
def test_heartbeats_keep_the_interval_the_gateway_asked_for() -> None:
    talk = Conversation()
    talk.starts()
    talk.becomes_ready(1, heartbeat="3s")

    beats = talk.heartbeats_answered_for(30.0)

    assert sent(beats).count("WORKER_HEARTBEAT") in (10, 11)


@pytest.mark.scenario("15", "16")
def test_initial_failures_stay_connecting_and_follow_the_schedule() -> None:
    talk = Conversation()
    talk.starts()
    delays = []

    for attempt in range(1, 13):
        failed = talk.happens(inputs.StartFailed(attempt, None, "connection refused"))
        delays.append(one(failed, Reconnecting).delay)
        assert errors(failed) == ["start_failed"]
        assert talk.core.machine.state is S.CONNECTING
        assert one(talk.passes(delays[-1]), do.RequestStart).generation == attempt + 1

    assert delays == [1, 2, 5, 10, 20, 30, 60, 120, 300, 300, 300, 300]


def test_a_successful_handshake_resets_the_schedule() -> None:
    talk = Conversation()
    talk.starts()
    for attempt in (1, 2, 3):
        talk.happens(inputs.StartFailed(attempt, 500, "down"))
        talk.passes(10)
    talk.becomes_ready(4)

    lost = talk.happens(inputs.SocketClosed(4, 1006, ""))
    again = talk.attempt_begins()

    assert one(lost, Reconnecting).delay == 0.5
    assert one(again, do.RequestStart).generation == 5


@pytest.mark.scenario("3")
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_replaced_by_the_fallback_at_once(status: int) -> None:
    """401 and 403 alike."""
    talk = Conversation(settings=CoreSettings(signing_keys=2))
    talk.starts()

    talk.happens(inputs.StartFailed(1, status, "no"))
    retried = talk.passes(0.0)

    assert one(retried, do.RequestStart).key == 1


def test_the_key_that_worked_is_remembered() -> None:
    talk = Conversation(settings=CoreSettings(signing_keys=2))
    talk.starts()
    talk.happens(inputs.StartFailed(1, 401, "no"))
    talk.passes(0.0)
    talk.becomes_ready(2)

    talk.happens(inputs.SocketClosed(2, 1006, ""))

    assert one(talk.attempt_begins(), do.RequestStart).key == 1


def test_a_key_that_was_rotated_is_replaced_by_the_other_one_at_once() -> None:
    """Each of the two was refused once, but one of them was accepted between."""
    talk = Conversation(settings=CoreSettings(signing_keys=2))
    talk.starts()
    talk.happens(inputs.StartFailed(1, 401, "no"))
    talk.passes(0.0)
    talk.becomes_ready(2)
    talk.heartbeats_answered_for(30.0, generation=2)
    talk.happens(inputs.SocketClosed(2, 1006, ""))
    talk.attempt_begins()

    refused = talk.happens(inputs.StartFailed(3, 401, "rotated"))

    assert one(refused, Reconnecting).delay == 0.0
    assert one(talk.passes(0.0), do.RequestStart).key == 0


@pytest.mark.scenario("4")
def test_no_accepted_key_on_the_first_connection_is_fatal() -> None:
    talk = Conversation(settings=CoreSettings(signing_keys=2))
    talk.starts()
    talk.happens(inputs.StartFailed(1, 401, "no"))
    talk.passes(0.0)

    ended = talk.happens(inputs.StartFailed(2, 401, "key ***abcd, environment prod"))

    error = one(ended, do.Finished).error
    assert isinstance(error, AuthenticationError)
    assert "***abcd" in str(error)
    assert talk.core.machine.state is S.CLOSED


def test_refused_keys_after_a_first_connection_are_retried_for_ever() -> None:
    talk = Conversation(settings=CoreSettings(signing_keys=1)).connected()
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    talk.attempt_begins()

    for attempt in range(2, 8):
        refused = talk.happens(inputs.StartFailed(attempt, 401, "rotated"))
        assert not only(refused, do.Finished)
        again = talk.passes(one(refused, Reconnecting).delay)
        assert one(again, do.RequestStart).generation == attempt + 1


@pytest.mark.scenario("5")
def test_rate_limiting_waits_at_least_as_long_as_the_api_says() -> None:
    """The random source answers 0.5, half of the jitter, which is as long again."""
    talk = Conversation()
    talk.starts()

    limited = talk.happens(inputs.StartFailed(1, 429, "too many", retry_after=17.0))

    assert errors(limited) == ["rate_limited"]
    assert one(limited, Reconnecting).delay == 25.5


@pytest.mark.parametrize("status", [429, 500, None])
@pytest.mark.parametrize("asked", [0.0, 0.5])
def test_a_wish_to_retry_immediately_does_not_shorten_the_schedule(
    status: int | None, asked: float
) -> None:
    talk = Conversation()
    talk.starts()

    failed = talk.happens(inputs.StartFailed(1, status, "busy", retry_after=asked))

    reconnecting = one(failed, Reconnecting)
    assert reconnecting.failures == 1
    assert reconnecting.delay == 1.0


@pytest.mark.parametrize("status", [429, 503, None])
def test_a_wish_for_an_hour_is_cut_to_the_longest_delay_of_the_schedule(
    status: int | None,
) -> None:
    talk = Conversation()
    talk.starts()

    failed = talk.happens(inputs.StartFailed(1, status, "busy", retry_after=3600.0))

    assert 300.0 <= one(failed, Reconnecting).delay <= 360.0


def test_startup_timeout_ends_the_worker_and_names_the_address() -> None:
    talk = Conversation(settings=CoreSettings(startup_timeout=30.0, api_origin="http://api:1"))
    talk.starts()
    talk.happens(inputs.StartFailed(1, None, "refused"))

    for attempt in range(2, 6):
        talk.passes(5.0)
        talk.happens(inputs.StartFailed(attempt, None, "refused"))
    ended = talk.passes(30.0)

    error = one(ended, do.Finished).error
    assert isinstance(error, StartupTimeout)
    assert "http://api:1" in str(error)


@pytest.mark.scenario("6")
@pytest.mark.parametrize(
    ("step", "seconds"), [("api", 15.0), ("open", 10.0), ("hello", 10.0), ("ready", 60.0)]
)
def test_no_step_of_a_handshake_can_stall_for_ever(step: str, seconds: float) -> None:
    talk = Conversation()
    talk.starts()
    if step != "api":
        talk.api_names_gateway(1)
    if step in ("hello", "ready"):
        talk.happens(inputs.SocketOpened(1))
    if step == "ready":
        talk.gateway_says(1, K.GATEWAY_HELLO)

    before = talk.passes(seconds - 0.1)
    after = talk.passes(0.1)

    assert not only(before, do.AbortSocket)
    assert one(after, do.AbortSocket).generation == 1
    assert "gateway_silent" in errors(after)


def test_a_gateway_that_does_not_answer_slows_attempts_down_to_the_end_of_the_schedule() -> None:
    """Unlike a machine without a network, which is soon back."""
    talk = Conversation()
    talk.starts()
    delays = []

    for attempt in range(1, 11):
        talk.api_names_gateway(attempt)
        delays.append(one(talk.passes(10.0), Reconnecting).delay)
        talk.passes(delays[-1])

    assert delays == [1, 2, 5, 10, 20, 30, 60, 120, 300, 300]


def test_a_gateway_that_fails_in_the_handshake_is_excluded_until_one_succeeds() -> None:
    talk = Conversation()
    talk.starts()
    talk.api_names_gateway(1, group="bad")
    talk.happens(inputs.SocketClosed(1, 1006, "", "refused"))

    second = one(talk.passes(2.0), do.RequestStart)
    talk.becomes_ready(2)
    talk.heartbeats_answered_for(20.0, generation=2)
    talk.happens(inputs.SocketClosed(2, 1006, ""))
    third = one(talk.attempt_begins(), do.RequestStart)

    assert second.exclude_gateways == ("bad",)
    assert third.exclude_gateways == ()


def test_an_api_without_another_gateway_ends_the_exclusion() -> None:
    talk = Conversation()
    talk.starts()
    talk.api_names_gateway(1, group="only")
    talk.happens(inputs.SocketClosed(1, 1006, "", "refused"))
    talk.passes(1.0)

    talk.happens(inputs.StartFailed(2, 500, "no gateway found"))

    assert one(talk.passes(2.0), do.RequestStart).exclude_gateways == ()


@pytest.mark.scenario("7")
def test_a_message_out_of_order_in_the_handshake_costs_that_connection_only() -> None:
    talk = Conversation()
    talk.starts()
    talk.api_names_gateway(1)
    talk.happens(inputs.SocketOpened(1))

    wrong = talk.gateway_says(1, K.GATEWAY_CONNECTION_READY)

    assert "protocol_violation" in errors(wrong)
    assert one(wrong, do.AbortSocket).generation == 1
    assert one(talk.passes(1.0), do.RequestStart).generation == 2


@pytest.mark.scenario("56", "P")
def test_sync_failure_is_told_with_the_servers_reason_and_retried_slowly() -> None:
    talk = Conversation()
    talk.starts()
    talk.api_names_gateway(1)
    talk.happens(inputs.SocketOpened(1))
    talk.gateway_says(1, K.GATEWAY_HELLO)
    failure = pb.SystemError(code="bad_config", message="cron is wrong")

    told = talk.gateway_says(1, K.SYNC_FAILED, failure.SerializeToString())
    closed = talk.happens(inputs.SocketClosed(1, 1008, "bad_config"))

    assert "sync_failed" in errors(told)
    assert "handshake_refused" in errors(closed)
    assert one(closed, Reconnecting).delay >= 120


def test_repeated_internal_errors_in_the_handshake_are_called_what_they_are() -> None:
    talk = Conversation()
    talk.starts()
    told: list[str] = []
    for attempt in (1, 2, 3):
        talk.api_names_gateway(attempt)
        talk.happens(inputs.SocketOpened(attempt))
        closed = talk.happens(inputs.SocketClosed(attempt, 1011, "connect_internal_error"))
        told += [kind for kind in errors(closed) if kind == "handshake_refused"]
        talk.passes(one(closed, Reconnecting).delay)

    assert told == ["handshake_refused"]


def test_internal_errors_are_counted_from_the_last_accepted_handshake() -> None:
    talk = Conversation()
    talk.starts()
    reported = []
    for attempt in range(1, 8):
        if attempt == 3:
            talk.becomes_ready(attempt)
            talk.heartbeats_answered_for(30.0, generation=attempt)
        else:
            talk.api_names_gateway(attempt)
            talk.happens(inputs.SocketOpened(attempt))
        closed = talk.happens(inputs.SocketClosed(attempt, 1011, "connect_internal_error"))
        reported.append("handshake_refused" in errors(closed))
        talk.attempt_begins()

    assert reported == [False, False, False, False, False, True, True]


def test_a_gateway_that_is_going_away_is_left_without_penalty() -> None:
    talk = Conversation()
    talk.starts()
    talk.api_names_gateway(1)
    talk.happens(inputs.SocketOpened(1))

    refused = talk.happens(inputs.SocketClosed(1, 1001, "connect_gateway_closing"))

    assert one(refused, Reconnecting) == Reconnecting(0, 0.5, "1001 connect_gateway_closing")


@pytest.mark.scenario("12", "13", "X")
@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1008, 1009, 1011, 1012, 1013, 4000])
def test_every_end_of_a_serving_connection_leads_to_another_one(code: int) -> None:
    talk = Conversation().connected()

    lost = talk.happens(inputs.SocketClosed(1, code, "whatever"))
    again = talk.attempt_begins()

    assert "disconnected" in seen(lost)
    assert [c.state for c in only(lost, StateChanged)] == [S.RECONNECTING]
    assert one(again, do.RequestStart).generation == 2
    assert talk.core.machine.state is S.CONNECTING


@pytest.mark.scenario("19")
def test_two_unanswered_heartbeats_are_death_and_one_is_not() -> None:
    talk = Conversation().connected()
    talk.heartbeats_answered_for(25.0)

    one_missed = talk.passes(10.0)
    talk.gateway_says(1, K.GATEWAY_HEARTBEAT)
    two_missed = talk.passes(35.0)

    assert not only(one_missed, do.AbortSocket)
    assert only(two_missed, do.AbortSocket)[0].generation == 1


def test_a_gateway_that_answers_only_heartbeats_is_alive() -> None:
    talk = Conversation().connected()

    hours = talk.heartbeats_answered_for(600.0)

    assert not only(hours, do.AbortSocket)


def test_the_id_of_the_last_connection_is_known_while_there_is_none() -> None:
    talk = Conversation().connected()

    talk.happens(inputs.SocketClosed(1, 1006, ""))

    assert talk.core.connections.last_connection_id == "connection-1"


@pytest.mark.scenario("45")
def test_what_a_dead_socket_still_says_is_ignored() -> None:
    talk = Conversation().connected()
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    talk.passes(0.0)
    talk.becomes_ready(2)

    assert talk.request("late", generation=1) == []
    assert talk.happens(inputs.SocketClosed(1, 1006, "")) == []
    assert talk.core.machine.state is S.ACTIVE


@pytest.mark.scenario("36", "37")
def test_a_drain_opens_the_new_connection_before_the_old_one_is_closed() -> None:
    talk = Conversation().connected()

    closing = talk.gateway_says(1, K.GATEWAY_CLOSING)
    begun = talk.passes(1.0)
    ready = talk.becomes_ready(2)

    assert one(begun, do.RequestStart).exclude_gateways == ("group-1",)
    assert talk.core.machine.history[-2].state is S.DRAINING_RECONNECTING
    assert not only(closing, StateChanged)
    assert not only(ready, StateChanged)
    assert sent(ready, 2) == ["WORKER_READY"]
    assert one(ready, do.CloseSocket) == do.CloseSocket(1, 1000, "")
    assert talk.core.machine.state is S.ACTIVE


def test_a_draining_socket_gets_no_heartbeat_and_its_requests_are_not_taken() -> None:
    talk = Conversation().connected()
    talk.passes(0.0)
    talk.gateway_says(1, K.GATEWAY_CLOSING)

    waited = talk.passes(12.0)
    refused = talk.request("too-late")

    assert "WORKER_HEARTBEAT" not in sent(waited, 1)
    assert sent(refused) == []
    assert talk.core.counters["requests_ignored"] == 1


def test_an_outstanding_reply_holds_the_drained_socket_for_two_seconds_at_most() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1")
    talk.gateway_says(1, K.GATEWAY_CLOSING)

    ready = talk.becomes_ready(2)
    waited = talk.passes(2.0)

    assert not only(ready, do.CloseSocket)
    assert one(waited, do.CloseSocket).generation == 1


def test_the_drained_socket_closes_as_soon_as_its_last_reply_is_acknowledged() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1")
    talk.gateway_says(1, K.GATEWAY_CLOSING)
    talk.becomes_ready(2)

    acked = talk.reply_acked("r1", generation=1)

    assert one(acked, do.CloseSocket).generation == 1
    assert seen(acked) == ["reply_acknowledged"]


@pytest.mark.scenario("36")
def test_two_drains_in_a_row_never_hold_more_than_two_sockets() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1")
    talk.gateway_says(1, K.GATEWAY_CLOSING)
    talk.becomes_ready(2)

    talk.gateway_says(2, K.GATEWAY_CLOSING)
    second = talk.attempt_begins()

    assert one(second, do.AbortSocket).generation == 1
    assert seen(second) == ["websocket_close", "disconnected"]
    assert one(second, Disconnected).expected
    assert one(second, do.RequestStart).generation == 3
    talk.becomes_ready(3)
    assert talk.core.machine.state is S.ACTIVE


def test_an_attempt_in_a_drain_has_its_time_limit_while_the_old_connection_serves() -> None:
    talk = Conversation().connected()
    talk.gateway_says(1, K.GATEWAY_CLOSING)
    talk.attempt_begins()

    waited = talk.passes(15.0)

    assert errors(waited) == ["gateway_silent", "connection_failed"]
    assert one(waited, do.AbortSocket).generation == 2
    assert talk.core.connections.get(1) is not None


def test_the_old_connection_dying_first_turns_a_drain_into_a_reconnect() -> None:
    talk = Conversation().connected()
    talk.gateway_says(1, K.GATEWAY_CLOSING)
    talk.attempt_begins()

    died = talk.happens(inputs.SocketClosed(1, 1001, "connect_gateway_closing"))
    talk.becomes_ready(2)

    assert not only(died, do.RequestStart)
    assert [c.state for c in only(died, StateChanged)] == [S.RECONNECTING, S.CONNECTING]
    assert talk.core.machine.state is S.ACTIVE


def test_a_replacement_that_cannot_be_had_is_retried_while_the_old_one_serves() -> None:
    talk = Conversation().connected()
    talk.gateway_says(1, K.GATEWAY_CLOSING)
    talk.attempt_begins()

    talk.happens(inputs.StartFailed(2, 500, "no"))

    assert talk.core.machine.state is S.DRAINING_RECONNECTING
    assert one(talk.passes(2.0), do.RequestStart).generation == 3


def test_a_new_gateway_that_drains_in_its_handshake_is_left_for_another() -> None:
    talk = Conversation().connected()
    talk.gateway_says(1, K.GATEWAY_CLOSING)
    talk.attempt_begins()
    talk.api_names_gateway(2)
    talk.happens(inputs.SocketOpened(2))

    refused = talk.gateway_says(2, K.GATEWAY_CLOSING)

    assert one(refused, do.AbortSocket).generation == 2
    assert one(talk.passes(1.5), do.RequestStart).exclude_gateways == ("group-1", "group-2")


@pytest.mark.scenario("J")
@pytest.mark.parametrize("frame", [b"\xff", b"\x08\x03\x12\xff", b"\x08\x63"])
def test_malformed_messages_are_counted_and_cost_nothing(frame: bytes) -> None:
    talk = Conversation().connected()
    talk.request("r1")

    told = talk.happens(inputs.MessageReceived(1, frame))

    assert errors(told) == ["malformed_message"]
    assert talk.core.requests.running == 1
    assert talk.core.machine.state is S.ACTIVE


def test_a_text_message_is_counted_and_ignored() -> None:
    talk = Conversation().connected()

    told = talk.happens(inputs.TextReceived(1))

    assert errors(told) == ["malformed_message"]
    assert talk.core.counters["malformed:text_message"] == 1


@pytest.mark.scenario("51")
def test_status_is_sent_at_the_interval_the_gateway_asks_for_and_not_otherwise() -> None:
    asked, unasked = Conversation(), Conversation().connected()
    asked.starts()
    asked.becomes_ready(1, status="5s")
    asked.request("r1")

    statuses = [
        c
        for c in only(asked.heartbeats_answered_for(11.0), do.Send)
        if pb.ConnectMessage.FromString(c.data).kind == K.WORKER_STATUS
    ]

    assert len(statuses) == 2
    status = pb.WorkerStatusData.FromString(payload(statuses[0]))
    assert list(status.in_flight_request_ids) == ["r1"]
    assert status.shutdown_requested is False
    assert "WORKER_STATUS" not in sent(unasked.heartbeats_answered_for(60.0))
