"""WorkerCore and requests: acknowledgement, execution, leases, replies."""

import json

import pytest

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.core.events import ErrorOccurred, LeaseLost, RequestCompleted
from inngest_connect.core.settings import CoreSettings
from inngest_connect.core.wire.messages import ExecutionResult
from inngest_connect.protocol import GATEWAY_READ_LIMIT
from inngest_connect.protocol import connect_pb2 as pb
from tests.unit.core.conversation import (
    LATER_LEASE,
    LEASE,
    Conversation,
    errors,
    one,
    only,
    payload,
    seen,
    sent,
)

pytestmark = pytest.mark.unit


def reply_in(commands: list[do.Command]) -> pb.SDKResponse:
    """The one reply that was written."""
    replies = [
        payload(c)
        for c in only(commands, do.Send)
        if pb.ConnectMessage.FromString(c.data).kind == pb.GatewayMessageType.WORKER_REPLY
    ]
    assert len(replies) == 1
    return pb.SDKResponse.FromString(replies[0])


@pytest.mark.scenario("24")
def test_a_request_is_acknowledged_before_it_runs_and_then_answered() -> None:
    talk = Conversation().connected()

    arrived = talk.request("r1")
    answered = talk.function_returns("r1", b'"done"')
    stored = talk.reply_acked("r1")

    kinds = [type(c) for c in arrived if not seen([c])]
    assert kinds == [do.Acknowledge, do.Execute]
    assert one(answered, do.Send).reply_to == "r1"
    reply = reply_in(answered)
    assert (reply.request_id, reply.status, reply.body) == (
        "r1",
        pb.SDKResponseStatus.DONE,
        b'"done"',
    )
    assert (reply.account_id, reply.env_id, reply.app_id) == ("account", "env", "app-id")
    assert reply.system_trace_ctx == b'{"traceparent":"s"}'
    assert seen(stored) == ["reply_acknowledged"]
    assert len(talk.core.requests) == len(talk.core.leases) == len(talk.core.buffer) == 0


@pytest.mark.scenario("46")
def test_a_request_whose_acknowledgement_cannot_be_written_is_abandoned() -> None:
    """It is neither run nor answered with a failure, which would burn a retry."""
    talk = Conversation().connected()
    talk.broken = True

    arrived = talk.request("r1")

    assert not only(arrived, do.Execute)
    assert errors(arrived) == ["acknowledgement_failed"]
    assert len(talk.core.requests) == len(talk.core.leases) == len(talk.core.buffer) == 0


@pytest.mark.scenario("O")
def test_an_acknowledgement_that_fails_late_does_not_concern_a_function_that_runs() -> None:
    talk = Conversation().connected()
    talk.request("r1")

    late = talk.happens(inputs.AcknowledgementFailed(1, "r1"))

    assert late == []
    assert sent(talk.function_returns("r1")) == ["WORKER_REPLY"]


def test_no_more_functions_run_at_once_than_allowed_and_the_rest_waits_in_order() -> None:
    talk = Conversation(settings=CoreSettings(max_worker_concurrency=2)).connected()

    arrived = [talk.request(f"r{number}") for number in range(5)]
    first = talk.function_returns("r0")

    assert [len(only(c, do.Execute)) for c in arrived] == [1, 1, 0, 0, 0]
    assert all(sent(c) == ["WORKER_REQUEST_ACK"] for c in arrived)
    assert one(first, do.Execute).request.request_id == "r2"
    assert len(talk.core.requests.queue) == 2
    assert len(talk.core.leases) == 5


def test_waiting_time_is_told_apart_from_execution_time() -> None:
    talk = Conversation(settings=CoreSettings(max_worker_concurrency=1)).connected()
    talk.request("r1")
    talk.request("r2")
    talk.heartbeats_answered_for(4.0)
    talk.function_returns("r1")
    talk.heartbeats_answered_for(3.0)

    completed = one(talk.function_returns("r2"), RequestCompleted)

    assert (completed.queued_seconds, completed.seconds) == (4.0, 3.0)


@pytest.mark.scenario("27")
@pytest.mark.parametrize(
    ("app", "function", "named"), [("nobody", "x", "'nobody'"), ("app", "app-gone", "'app-gone'")]
)
def test_what_we_do_not_have_is_answered_at_once_with_a_retryable_error(
    app: str, function: str, named: str
) -> None:
    """The official workers stay silent; an answer saves 125 s per attempt."""
    talk = Conversation().connected()

    arrived = talk.request("r1", app=app, function=function)

    assert sent(arrived) == ["WORKER_REQUEST_ACK", "WORKER_REPLY"]
    reply = reply_in(arrived)
    assert (reply.status, reply.no_retry) == (pb.SDKResponseStatus.ERROR, False)
    assert named in json.loads(reply.body)["message"]
    assert not only(arrived, do.Execute)


def test_the_old_slug_without_the_app_id_is_still_found() -> None:
    talk = Conversation().connected()

    assert only(talk.request("r1", function="fn"), do.Execute)


@pytest.mark.scenario("H")
def test_a_request_delivered_twice_runs_once_and_is_acknowledged_twice() -> None:
    """The repetition arrives while the function runs."""
    talk = Conversation().connected()
    talk.request("r1")

    again = talk.request("r1")

    assert sent(again) == ["WORKER_REQUEST_ACK"]
    assert not only(again, do.Execute)


@pytest.mark.scenario("H")
def test_a_request_delivered_again_after_its_answer_is_answered_from_the_store() -> None:
    """The repetition arrives after the reply, before and after its acknowledgement."""
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1", b'"once"')

    waiting = talk.request("r1")
    talk.reply_acked("r1")
    stored = talk.request("r1")

    for again in (waiting, stored):
        assert sent(again) == ["WORKER_REQUEST_ACK", "WORKER_REPLY"]
        assert one(again, do.Send).reply_to == "r1"
        assert reply_in(again).body == b'"once"'
    assert len(talk.core.buffer) == 0


def test_a_second_delivery_with_a_newer_lease_is_extended_with_that() -> None:
    talk = Conversation().connected()
    talk.request("r1", lease=LEASE)
    talk.request("r1", lease=LATER_LEASE)

    lease = talk.core.leases.get("r1")

    assert lease is not None
    assert lease.lease_id == LATER_LEASE


@pytest.mark.scenario("29", "30")
def test_leases_are_extended_at_the_interval_with_the_id_the_server_gave_last() -> None:
    talk = Conversation()
    talk.starts()
    talk.becomes_ready(1, extend="5s")
    talk.request("r1")

    first = talk.heartbeats_answered_for(5.0)
    talk.lease_answer("r1", LATER_LEASE)
    second = talk.heartbeats_answered_for(5.0)

    ids = [
        pb.WorkerRequestExtendLeaseData.FromString(payload(c)).lease_id
        for c in only(first + second, do.Send)
        if pb.ConnectMessage.FromString(c.data).kind
        == pb.GatewayMessageType.WORKER_REQUEST_EXTEND_LEASE
    ]
    assert ids == [LEASE, LATER_LEASE]


def test_extension_goes_on_after_the_function_returned_until_the_reply_is_stored() -> None:
    talk = Conversation()
    talk.starts()
    talk.becomes_ready(1, extend="2s")
    talk.request("r1")
    talk.function_returns("r1")

    unstored = sent(talk.heartbeats_answered_for(4.0))
    talk.happens(inputs.FlushSucceeded("r1"))
    talk.reply_acked("r1")
    stored = sent(talk.heartbeats_answered_for(20.0))

    assert "WORKER_REQUEST_EXTEND_LEASE" in unstored
    assert "WORKER_REQUEST_EXTEND_LEASE" not in stored


@pytest.mark.scenario("31", "32", "33")
def test_a_lost_lease_cancels_the_function_when_asked_to_and_still_delivers_its_result() -> None:
    """A function in a thread, or one that resists, may still return."""
    talk = Conversation(settings=CoreSettings(on_lease_lost="cancel")).connected()
    talk.request("r1")

    lost = talk.lease_answer("r1", None)
    late = talk.function_returns("r1")

    assert one(lost, LeaseLost).request_id == "r1"
    assert one(lost, do.CancelExecution).request_id == "r1"
    assert sent(late).count("WORKER_REPLY") == 1
    assert talk.core.requests.running == 0
    assert talk.core.requests.unfinished == 0


@pytest.mark.scenario("31")
def test_a_lost_lease_leaves_the_function_alone_and_its_result_is_delivered() -> None:
    talk = Conversation(settings=CoreSettings()).connected()
    talk.request("r1")

    lost = talk.lease_answer("r1", None)
    late = talk.function_returns("r1")

    assert one(lost, LeaseLost).request_id == "r1"
    assert not only(lost, do.CancelExecution)
    assert sent(late).count("WORKER_REPLY") == 1
    assert talk.core.requests.unfinished == 0


@pytest.mark.parametrize("no_retry", [False, True])
def test_an_error_that_is_too_large_keeps_whether_it_may_be_retried(no_retry: bool) -> None:
    talk = Conversation(settings=CoreSettings(max_reply_bytes=1024)).connected()
    talk.request("r1")
    error = ExecutionResult(pb.SDKResponseStatus.ERROR, b"x" * 2000, no_retry)

    talk.happens(inputs.ExecutionFinished("r1", error))

    reply = talk.core.buffer.get("r1")
    assert reply is not None
    response = pb.SDKResponse.FromString(reply.payload)
    assert (response.status, response.no_retry) == (pb.SDKResponseStatus.ERROR, no_retry)


def test_a_lost_lease_counts_against_the_limit_until_the_function_has_ended() -> None:
    talk = Conversation(settings=CoreSettings(max_worker_concurrency=1)).connected()
    talk.request("r1")
    talk.request("r2")

    lost = talk.lease_answer("r1", None)
    ended = talk.happens(inputs.ExecutionFinished("r1", None))

    assert not only(lost, do.Execute)
    assert one(ended, do.Execute).request.request_id == "r2"


def test_a_queued_request_that_lost_its_lease_is_not_run() -> None:
    talk = Conversation(settings=CoreSettings(max_worker_concurrency=1)).connected()
    talk.request("r1")
    talk.request("r2")

    talk.lease_answer("r2", None)

    assert not only(talk.function_returns("r1"), do.Execute)


@pytest.mark.scenario("Y")
def test_a_refusal_after_the_answer_is_ignored() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1")

    refused = talk.lease_answer("r1", None)

    assert refused == []
    assert "r1" in talk.core.buffer


@pytest.mark.scenario("32")
def test_an_extension_answer_for_an_unknown_request_changes_nothing() -> None:
    talk = Conversation().connected()

    assert talk.lease_answer("unknown", LATER_LEASE) == []
    assert talk.lease_answer("unknown", None) == []
    assert len(talk.core.leases) == 0


def test_a_lease_id_that_is_no_ulid_is_never_presented() -> None:
    """It would make the gateway close the whole connection with 1008."""
    talk = Conversation().connected()
    talk.request("r1", lease="")
    talk.request("r2", lease="not-a-ulid")

    waited = talk.heartbeats_answered_for(120.0)

    assert "WORKER_REQUEST_EXTEND_LEASE" not in sent(waited)


@pytest.mark.scenario("47")
def test_a_reply_without_acknowledgement_is_flushed_after_five_seconds() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1")

    early = talk.passes(4.9)
    late = talk.passes(0.2)

    assert not only(early, do.Flush)
    assert one(late, do.Flush).request_id == "r1"
    assert seen(talk.happens(inputs.FlushSucceeded("r1"))) == ["reply_acknowledged"]
    assert len(talk.core.buffer) == 0


@pytest.mark.scenario("48")
def test_an_acknowledged_reply_is_not_flushed() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1")
    talk.reply_acked("r1")

    assert not only(talk.heartbeats_answered_for(60.0), do.Flush)


@pytest.mark.scenario("38")
def test_a_reply_that_is_ready_without_a_connection_is_flushed_at_once() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.happens(inputs.SocketClosed(1, 1006, ""))

    returned = talk.function_returns("r1")

    assert one(returned, do.Flush).request_id == "r1"


@pytest.mark.scenario("A")
def test_a_flush_is_repeated_until_the_api_accepts_it() -> None:
    """A failed flush never deletes a reply."""
    talk = Conversation().connected()
    talk.request("r1")
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    talk.function_returns("r1")

    for _ in range(8):
        failed = talk.happens(inputs.FlushFailed("r1", 500, "down"))
        assert errors(failed) == ["flush_failed"]
        assert len(talk.core.buffer) == 1
        assert one(talk.passes(40.0), do.Flush).request_id == "r1"
    talk.happens(inputs.FlushSucceeded("r1"))

    assert len(talk.core.buffer) == 0


def test_a_flush_that_can_never_succeed_is_reported_and_counted() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    talk.function_returns("r1")

    refused = talk.happens(inputs.FlushFailed("r1", 400, "bad trace context"))

    assert errors(refused) == ["reply_refused"]
    assert talk.core.delivery.lost == 1
    assert len(talk.core.requests) == 0


def test_a_refused_key_makes_the_flush_use_the_other_one_at_once() -> None:
    talk = Conversation(settings=CoreSettings(signing_keys=2)).connected()
    talk.request("r1")
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    first = one(talk.function_returns("r1"), do.Flush)

    refused = talk.happens(inputs.FlushFailed("r1", 401, "no"))

    assert (first.key, one(refused, do.Flush).key) == (0, 1)


def test_a_key_that_was_accepted_by_a_flush_gives_the_other_one_another_chance() -> None:
    """Only keys that were refused one after the other are all wrong."""
    talk = Conversation(settings=CoreSettings(signing_keys=2)).connected()
    for name in ("r1", "r2"):
        talk.request(name)
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    talk.function_returns("r1")
    talk.happens(inputs.FlushFailed("r1", 401, "no"))
    talk.happens(inputs.FlushSucceeded("r1"))
    talk.function_returns("r2")

    refused = talk.happens(inputs.FlushFailed("r2", 401, "rotated"))

    assert one(refused, do.Flush).key == 0


def test_a_wish_of_the_api_delays_a_flush_by_no_more_than_its_schedule_does() -> None:
    """30 s with a jitter of 10 %, although leases are extended every 35 s."""
    talk = Conversation()
    talk.starts()
    talk.becomes_ready(1, extend="35s")
    talk.request("r1")
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    talk.function_returns("r1")

    failed = talk.happens(inputs.FlushFailed("r1", 503, "busy", retry_after=300.0))

    assert one(failed, ErrorOccurred).message == (
        "a reply could not be flushed: busy; trying again in 33.0 s"
    )


def test_replies_that_wait_go_out_over_the_new_connection() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1")
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    talk.passes(0.0)

    ready = talk.becomes_ready(2)
    stored = talk.reply_acked("r1", generation=2)

    assert sent(ready) == ["WORKER_READY", "WORKER_REPLY"]
    assert seen(stored) == ["reply_acknowledged"]


@pytest.mark.scenario("34")
def test_leases_go_on_over_the_next_connection() -> None:
    talk = Conversation()
    talk.starts()
    talk.becomes_ready(1, extend="3s")
    talk.request("r1")
    talk.happens(inputs.SocketClosed(1, 1006, ""))

    between = talk.passes(10.0)
    attempt = talk.core.connections.attempt
    assert attempt is not None
    ready = talk.becomes_ready(attempt.number, extend="3s")

    assert "WORKER_REQUEST_EXTEND_LEASE" not in sent(between)
    assert "WORKER_REQUEST_EXTEND_LEASE" in sent(ready, attempt.number)


@pytest.mark.scenario("34", "35")
def test_leases_and_replies_move_to_the_new_connection_in_a_drain() -> None:
    talk = Conversation()
    talk.starts()
    talk.becomes_ready(1, extend="3s")
    talk.request("r1")
    talk.gateway_says(1, pb.GatewayMessageType.GATEWAY_CLOSING)

    alone = talk.passes(3.0)
    talk.becomes_ready(2, extend="3s")
    both = talk.heartbeats_answered_for(3.0, generation=2)
    returned = talk.function_returns("r1")

    assert "WORKER_REQUEST_EXTEND_LEASE" in sent(alone, 1)
    assert "WORKER_REQUEST_EXTEND_LEASE" in sent(both, 2)
    assert sent(returned, 2) == ["WORKER_REPLY"]


@pytest.mark.scenario("G", "security-sizes")
def test_a_reply_above_the_gateways_limit_becomes_a_clear_error_of_that_request() -> None:
    talk = Conversation().connected()
    talk.request("big")
    talk.request("small")

    returned = talk.function_returns("big", b"x" * GATEWAY_READ_LIMIT)
    other = talk.function_returns("small")

    reply = reply_in(returned)
    assert (reply.status, reply.no_retry) == (pb.SDKResponseStatus.ERROR, True)
    assert str(GATEWAY_READ_LIMIT - 16) in json.loads(reply.body)["message"]
    assert errors(returned) == ["reply_too_large"]
    assert reply_in(other).status == pb.SDKResponseStatus.DONE


@pytest.mark.scenario("50")
def test_above_high_water_nothing_is_started_until_deliveries_made_room() -> None:
    settings = CoreSettings(max_buffer_bytes=1000, max_worker_concurrency=10)
    talk = Conversation(settings=settings).connected()
    talk.request("r1")
    talk.function_returns("r1", b"x" * 800)

    waiting = talk.request("r2")
    room = talk.reply_acked("r1")

    assert sent(waiting) == ["WORKER_REQUEST_ACK"]
    assert not only(waiting, do.Execute)
    assert one(room, do.Execute).request.request_id == "r2"


@pytest.mark.scenario("50")
def test_a_reply_is_evicted_only_for_a_running_functions_result_and_loudly() -> None:
    talk = Conversation(settings=CoreSettings(max_buffer_bytes=1000)).connected()
    talk.request("r1")
    talk.request("r2")
    talk.function_returns("r1", b"x" * 700)

    second = talk.function_returns("r2", b"x" * 700)

    assert errors(second) == ["reply_evicted"]
    assert "r1" not in talk.core.buffer
    assert "r2" in talk.core.buffer
    assert len(talk.core.requests) == 1


def test_ten_thousand_leases_are_extended_in_turns() -> None:
    settings = CoreSettings(extensions_per_turn=200)
    talk = Conversation(settings=settings)
    talk.starts()
    talk.becomes_ready(1, extend="30s")
    for number in range(10_000):
        talk.request(f"r{number}")
    talk.heartbeats_answered_for(29.0)

    talk.now += 1.0
    turn = talk.happens(inputs.Tick())

    assert sent(turn).count("WORKER_REQUEST_EXTEND_LEASE") == 200
    assert talk.core.next_deadline() is not None
    rest = talk.passes(0.0)
    assert sent(rest).count("WORKER_REQUEST_EXTEND_LEASE") == 9_800


@pytest.mark.parametrize(("about", "request_id"), [("r1", "r1"), ("", None)])
def test_a_function_that_misbehaves_is_an_error_that_names_its_request_if_it_is_known(
    about: str, request_id: str | None
) -> None:
    talk = Conversation().connected()

    misbehaved = talk.happens(inputs.FunctionMisbehaved(about, "app-fn\ncalled sys.exit(3)"))

    assert misbehaved == [
        ErrorOccurred("function_misbehaved", "app-fn\\ncalled sys.exit(3)", request_id)
    ]
