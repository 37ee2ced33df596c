"""WorkerCore where events cross each other: late, stale, doubled, out of every order."""

import pytest

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.core.events import ErrorOccurred, Reconnecting
from inngest_connect.core.requests.request_table import InFlight
from inngest_connect.core.retry import FixedRetry
from inngest_connect.core.settings import CoreSettings
from inngest_connect.core.wire.messages import ENVELOPE_BYTES, envelope, extend_lease
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.state_machine import ConnectionState as S
from tests.unit.core.conversation import LEASE, Conversation, errors, one, only, payload, seen, sent

K = pb.GatewayMessageType
pytestmark = pytest.mark.unit


def without_a_socket(**settings: object) -> Conversation:
    """A worker with one request in flight that has just lost its connection."""
    talk = Conversation(settings=CoreSettings(**settings)).connected()  # type: ignore[arg-type]
    talk.request("r1")
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    return talk


@pytest.mark.parametrize(
    "stale",
    [
        inputs.StartSucceeded(9, "c", "ws://x", "g", "s", "t"),
        inputs.StartFailed(9, 500, "late"),
        inputs.SocketOpened(9),
        inputs.SocketClosed(9, 1006, "", "late"),
        inputs.MessageReceived(9, b""),
        inputs.TextReceived(9),
        inputs.LineObserved(9, True),
        inputs.AcknowledgementsWritten(9, ("nobody",)),
        inputs.AcknowledgementFailed(9, "nobody"),
        inputs.ExecutionFinished("nobody", None),
    ],
)
def test_what_comes_too_late_changes_nothing(stale: inputs.Input) -> None:
    talk = Conversation().connected()

    assert talk.happens(stale) == []
    assert talk.core.machine.state is S.ACTIVE


@pytest.mark.parametrize(
    "late",
    [
        inputs.StartSucceeded(1, "c", "ws://x", "g", "s", "t"),
        inputs.StartFailed(1, 500, "late"),
        inputs.SocketOpened(1),
    ],
)
def test_what_a_former_attempt_still_says_does_not_concern_the_present_one(
    late: inputs.Input,
) -> None:
    talk = Conversation()
    talk.starts()
    talk.happens(inputs.StartFailed(1, None, "refused"))
    talk.attempt_begins()

    assert talk.happens(late) == []
    assert one(talk.api_names_gateway(2), do.OpenSocket).generation == 2


@pytest.mark.scenario("I")
def test_an_acknowledgement_during_a_flush_makes_its_result_irrelevant() -> None:
    for result in (inputs.FlushSucceeded("r1"), inputs.FlushFailed("r1", 500, "late")):
        talk = Conversation().connected()
        talk.request("r1")
        talk.function_returns("r1")
        flushed = talk.passes(5.0)
        acked = talk.reply_acked("r1")

        assert one(flushed, do.Flush).request_id == "r1"
        assert seen(acked) == ["reply_acknowledged"]
        assert talk.happens(result) == []
        assert talk.happens(inputs.FlushSucceeded("nobody")) == []


@pytest.mark.scenario("I")
def test_a_second_acknowledgement_of_a_reply_is_ignored() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1")
    talk.reply_acked("r1")

    assert talk.reply_acked("r1") == []


def test_only_so_many_replies_are_flushed_at_once() -> None:
    talk = Conversation(settings=CoreSettings(flushes_at_once=2)).connected()
    for name in ("r1", "r2", "r3"):
        talk.request(name)
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    flushed = [f for n in ("r1", "r2", "r3") for f in only(talk.function_returns(n), do.Flush)]

    freed = talk.happens(inputs.FlushSucceeded("r1"))

    assert [f.request_id for f in flushed] == ["r1", "r2"]
    assert one(freed, do.Flush).request_id == "r3"


@pytest.mark.scenario("34")
def test_an_unanswered_extension_is_repeated_at_once_on_the_next_connection() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    asked = talk.heartbeats_answered_for(30.0)
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    talk.passes(0.0)

    ready = talk.becomes_ready(2)

    assert sent(asked, 1).count("WORKER_REQUEST_EXTEND_LEASE") == 1
    assert sent(ready, 2).count("WORKER_REQUEST_EXTEND_LEASE") == 1


def test_a_new_lease_id_that_is_no_ulid_is_not_adopted() -> None:
    talk = Conversation().connected()
    talk.request("r1")

    talk.lease_answer("r1", "nonsense")

    lease = talk.core.leases.get("r1")
    assert lease is not None
    assert lease.lease_id == LEASE


def test_a_request_that_comes_again_after_its_lease_was_lost_is_left_to_others() -> None:
    talk = Conversation(settings=CoreSettings(on_lease_lost="cancel")).connected()
    talk.request("r1")
    talk.lease_answer("r1", None)

    assert talk.request("r1") == []
    assert talk.core.counters["requests_repeated"] == 1


def test_a_request_whose_kept_reply_had_to_go_is_neither_acknowledged_nor_executed() -> None:
    """An acknowledgement promises a reply; 17 MB of replies are more than are kept."""
    talk = Conversation(settings=CoreSettings(max_reply_bytes=32_000_000)).connected()
    for name in ("r1", "r2"):
        talk.request(name)
        talk.function_returns(name, b"x" * 8_500_000)
        talk.reply_acked(name)

    again = talk.request("r1")

    assert again == [
        ErrorOccurred(
            "repeated_request_refused",
            "a request that was answered came again, and its reply is not kept any more: it is "
            "neither acknowledged nor executed here",
            "r1",
            run_id="run-of-r1",
            function_slug="app-fn",
        )
    ]
    assert sent(talk.request("r2")) == ["WORKER_REQUEST_ACK", "WORKER_REPLY"]


def test_a_request_that_comes_again_within_its_window_is_not_executed_again() -> None:
    """However many others were answered meanwhile."""
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1")
    talk.reply_acked("r1")
    for number in range(6_000):
        talk.request(f"other-{number}")
        talk.function_returns(f"other-{number}")
        talk.reply_acked(f"other-{number}")
    talk.heartbeats_answered_for(125.0)

    again = talk.request("r1")

    assert sent(again) == ["WORKER_REQUEST_ACK", "WORKER_REPLY"]
    assert only(again, do.Execute) == []


def test_a_request_that_comes_again_while_the_process_is_stopped_is_not_executed_again() -> None:
    """Its window passes meanwhile, and what came is read afterwards, before a timer is due."""
    talk = Conversation().connected()
    for name in ("r1", "r2"):
        talk.request(name)
        talk.function_returns(name)
        talk.reply_acked(name)
    talk.heartbeats_answered_for(100.0)
    talk.now += 300.0

    again = [command for name in ("r1", "r2") for command in talk.request(name)]

    assert sent(again) == ["WORKER_REQUEST_ACK", "WORKER_REPLY"] * 2
    assert only(again, do.Execute) == []


def test_after_a_stop_the_first_turn_does_not_end_a_window() -> None:
    """More may have come than is read at once."""
    talk = Conversation().connected()
    for name in ("r1", "r2"):
        talk.request(name)
        talk.function_returns(name)
        talk.reply_acked(name)
    talk.now += 400.0
    talk.gateway_says(1, K.GATEWAY_HEARTBEAT)
    talk.happens(inputs.Tick())

    again = [command for name in ("r1", "r2") for command in talk.request(name)]

    assert only(again, do.Execute) == []


def test_an_answered_request_keeps_its_names_but_not_its_payload() -> None:
    """What it keeps is needed to extend its lease until the reply is delivered."""
    talk = Conversation().connected()
    data = pb.GatewayExecutorRequestData(
        request_id="r1",
        app_name="app",
        function_slug="app-fn",
        run_id="run",
        step_id="step",
        lease_id=LEASE,
        system_trace_ctx=b"{}",
        request_payload=b"x" * 1_000_000,
    )
    arrived = talk.gateway_says(1, K.GATEWAY_EXECUTOR_REQUEST, data.SerializeToString())
    executed = one(arrived, do.Execute).request

    talk.function_returns("r1")

    (entry,) = talk.core.requests
    data.ClearField("request_payload")
    assert entry.request == data
    assert len(executed.request_payload) == 1_000_000, "what the executor holds is left alone"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, "x" * 1025)
            for name in ("request_id", "app_name", "function_slug", "function_id", "run_id")
        ),
        *((name, "x" * 1025) for name in ("step_id", "lease_id", "env_id", "job_id")),
        ("system_trace_ctx", bytes(1024 * 1024 + 1)),
        ("user_trace_ctx", bytes(1024 * 1024 + 1)),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
def test_a_request_with_an_enormous_name_is_malformed(name: str, value: str | bytes) -> None:
    talk = Conversation().connected()
    data = pb.GatewayExecutorRequestData(request_id="r1", app_name="app", function_slug="app-fn")
    setattr(data, name, value)

    answer = talk.gateway_says(1, K.GATEWAY_EXECUTOR_REQUEST, data.SerializeToString())

    assert sent(answer) == []
    assert only(answer, ErrorOccurred)[0].message.endswith("request_with_oversized_name")
    assert len(talk.core.requests) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run_id", "x" * 1024),
        ("system_trace_ctx", bytes(1024 * 1024)),
        ("user_trace_ctx", bytes(1024 * 1024)),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
def test_a_request_with_names_of_the_longest_length_is_executed(
    name: str, value: str | bytes
) -> None:
    talk = Conversation().connected()
    data = pb.GatewayExecutorRequestData(request_id="r1", app_name="app", function_slug="app-fn")
    setattr(data, name, value)

    answer = talk.gateway_says(1, K.GATEWAY_EXECUTOR_REQUEST, data.SerializeToString())

    assert one(answer, do.Execute).request == data


def test_refused_leases_of_many_queued_requests_cost_the_same_in_any_order() -> None:
    """Counted in comparisons of the queue's entries, which a search from the front would make."""
    talk = Conversation(settings=CoreSettings(max_worker_concurrency=1)).connected()
    names = [f"r{number}" for number in range(300)]
    for name in names:
        talk.request(name)
    compared = 0

    def compare(self: InFlight, other: object) -> bool:
        nonlocal compared
        compared += 1
        return self is other

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InFlight, "__eq__", compare)
        for name in reversed(names[1:]):
            talk.lease_answer(name, None)

    assert len(talk.core.requests.queue) == 0
    assert compared == 0


def test_a_session_token_refused_twice_makes_it_try_the_other_key() -> None:
    talk = Conversation(settings=CoreSettings(signing_keys=2))
    talk.starts()
    keys = []
    for attempt in (1, 2, 3):
        talk.api_names_gateway(attempt)
        talk.happens(inputs.SocketOpened(attempt))
        refused = talk.happens(inputs.SocketClosed(attempt, 1008, "connect_authentication_failed"))
        again = talk.passes(one(refused, Reconnecting).delay)
        keys.append(one(again, do.RequestStart).key)

    assert keys == [0, 1, 1]


def test_a_hello_that_was_too_slow_is_no_configuration_error() -> None:
    talk = Conversation()
    talk.starts()
    talk.api_names_gateway(1)
    talk.happens(inputs.SocketOpened(1))

    slow = talk.happens(inputs.SocketClosed(1, 1008, "connect_worker_hello_timeout"))

    assert one(slow, Reconnecting).delay == 1.0


def test_no_more_than_sixteen_gateways_are_ever_excluded() -> None:
    talk = Conversation()
    talk.starts()
    for attempt in range(1, 21):
        talk.api_names_gateway(attempt)
        refused = talk.happens(inputs.SocketClosed(attempt, 1006, "", "refused"))
        start = one(talk.passes(one(refused, Reconnecting).delay), do.RequestStart)

    assert start.exclude_gateways == tuple(f"group-{n}" for n in range(5, 21))


def test_a_gateway_whose_address_is_refused_is_excluded_too() -> None:
    talk = Conversation()
    talk.starts()

    told = talk.happens(inputs.StartFailed(1, None, "unencrypted", gateway_group="g"))

    assert errors(told) == ["gateway_endpoint_refused"]
    assert one(talk.passes(2.0), do.RequestStart).exclude_gateways == ("g",)


def test_a_gateway_that_goes_away_without_announcement_is_left_quickly() -> None:
    """1001 connect_gateway_closing: within a second."""
    talk = Conversation().connected()

    lost = talk.happens(inputs.SocketClosed(1, 1001, "connect_gateway_closing"))

    assert one(lost, Reconnecting) == Reconnecting(0, 0.5, "connect_gateway_closing")


def test_a_second_announcement_of_a_drain_changes_nothing() -> None:
    talk = Conversation().connected()
    talk.gateway_says(1, K.GATEWAY_CLOSING)

    assert talk.gateway_says(1, K.GATEWAY_CLOSING) == []


def test_a_drain_of_an_idle_worker_that_closes_needs_no_new_connection() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.happens(inputs.CloseRequested())
    talk.function_returns("r1")

    drained = talk.gateway_says(1, K.GATEWAY_CLOSING)
    later = talk.passes(1.0)

    assert not only(drained + later, do.RequestStart)


def test_a_drained_socket_that_ends_hands_its_replies_to_its_successor() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1")
    talk.gateway_says(1, K.GATEWAY_CLOSING)
    talk.becomes_ready(2)

    ended = talk.happens(inputs.SocketClosed(1, 1001, "connect_gateway_closing"))

    assert sent(ended, 2) == ["WORKER_REPLY"]
    assert talk.core.machine.state is S.ACTIVE


def test_a_drained_socket_that_ends_leaves_the_replies_of_its_successor_alone() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1")
    talk.gateway_says(1, K.GATEWAY_CLOSING)
    talk.becomes_ready(2)
    talk.request("r2", 2)
    talk.function_returns("r2")

    ended = talk.happens(inputs.SocketClosed(1, 1001, "connect_gateway_closing"))

    (moved,) = [send for send in only(ended, do.Send) if send.generation == 2]
    assert pb.SDKResponse.FromString(payload(moved)).request_id == "r1"


def test_a_status_is_not_sent_while_the_only_socket_drains() -> None:
    talk = Conversation()
    talk.starts()
    talk.becomes_ready(1, status="2s")
    talk.gateway_says(1, K.GATEWAY_CLOSING)

    assert "WORKER_STATUS" not in sent(talk.passes(5.0), 1)


def test_an_abort_before_any_close_request_is_both() -> None:
    talk = without_a_socket()

    aborted = talk.happens(inputs.AbortRequested("no loop"))
    again = talk.happens(inputs.AbortRequested("no loop"))

    assert one(aborted, do.CancelExecution).request_id == "r1"
    assert again == []
    assert talk.core.machine.state is S.CLOSED


def test_an_abort_drops_what_was_never_started() -> None:
    talk = Conversation(settings=CoreSettings(max_worker_concurrency=1)).connected()
    talk.request("running")
    talk.request("queued")

    aborted = talk.happens(inputs.AbortRequested("now"))

    assert [c.request_id for c in only(aborted, do.CancelExecution)] == ["running"]
    assert talk.core.shutdown.abandoned == ("running", "queued")


def test_a_result_that_comes_after_the_abort_is_still_delivered() -> None:
    talk = without_a_socket()
    talk.happens(inputs.AbortRequested("now"))

    # The worker has ended already; nothing can be done with it.
    assert talk.function_returns("r1") == []


def test_a_failed_last_flush_ends_when_the_moment_is_over() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1")
    talk.happens(inputs.AbortRequested("now"))
    talk.happens(inputs.FlushFailed("r1", 503, "down", retry_after=60.0))

    waited = talk.passes(5.0)
    ended = talk.happens(inputs.SocketClosed(1, 1000, ""))

    assert one(waited, do.CloseSocket).generation == 1
    assert "reply_undelivered" in errors(ended)


def test_a_worker_that_closes_while_it_starts_to_fail_does_not_fail_twice() -> None:
    talk = Conversation(settings=CoreSettings(startup_timeout=1.0))
    talk.starts()

    closing = talk.happens(inputs.CloseRequested())

    assert one(closing, do.Finished).error is None
    assert talk.passes(10.0) == []


@pytest.mark.scenario("B")
def test_an_outage_of_an_hour_is_waited_out() -> None:
    talk = without_a_socket()
    talk.attempt_begins()
    begun = talk.now
    attempts = 0
    while talk.now < begun + 3600:
        attempt = talk.core.connections.attempt
        assert attempt is not None
        failed = talk.happens(inputs.StartFailed(attempt.number, None, "refused"))
        talk.passes(one(failed, Reconnecting).delay)
        attempts += 1
    attempt = talk.core.connections.attempt
    assert attempt is not None
    talk.becomes_ready(attempt.number)
    returned = talk.function_returns("r1")

    assert 15 <= attempts <= 25
    assert sent(returned, attempt.number) == ["WORKER_REPLY"]


def test_nothing_is_due_before_the_start() -> None:
    assert Conversation().core.next_deadline() is None


def test_a_drained_socket_is_kept_while_its_acknowledgements_may_still_come() -> None:
    """At most two seconds (docs/protocol.md#drain)."""
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1")
    talk.gateway_says(1, K.GATEWAY_CLOSING)
    switched = talk.becomes_ready(2)

    kept = talk.passes(1.9)
    closed = talk.passes(0.2)

    assert only(switched + kept, do.CloseSocket) == []
    assert only(closed, do.CloseSocket) == [do.CloseSocket(1, 1000, "")]


def test_a_session_token_that_is_refused_three_times_is_a_configuration_problem() -> None:
    """A new start twice, then the slow end (docs/protocol.md#close-codes)."""
    talk = Conversation(FixedRetry(1.0), CoreSettings(signing_keys=2))
    talk.starts()
    failures = []
    for number in (1, 2, 3):
        talk.api_names_gateway(number)
        talk.happens(inputs.SocketOpened(number))
        talk.gateway_says(number, K.GATEWAY_HELLO)
        refused = talk.happens(inputs.SocketClosed(number, 1008, "connect_authentication_failed"))
        failures.append(one(refused, Reconnecting).failures)
        talk.passes(1.0)

    assert failures == [1, 2, 10]


def test_a_worker_closed_just_after_an_acknowledgement_pauses_before_it_goes() -> None:
    """WORKER_PAUSE must not overtake the acknowledgement (docs/protocol.md#pause)."""
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1")
    talk.reply_acked("r1")

    at_once = talk.happens(inputs.CloseRequested())
    later = talk.passes(0.3)

    assert only(at_once, do.CloseSocket) == []
    assert not talk.core.finished
    assert sent(at_once + later) == ["WORKER_HEARTBEAT", "WORKER_PAUSE"]
    assert only(later, do.CloseSocket) == [do.CloseSocket(1, 1000, "WORKER_SHUTDOWN")]


def test_the_lease_of_abandoned_work_is_not_extended() -> None:
    talk = Conversation(settings=CoreSettings(final_flush_timeout=100.0)).connected()
    talk.request("r1")
    talk.request("r2")
    talk.function_returns("r1")

    talk.happens(inputs.AbortRequested("second signal"))
    later = talk.heartbeats_answered_for(40.0)

    extended = [s for s in only(later, do.Send) if b"r2" in s.data]
    assert extended == []


def test_a_request_with_a_step_is_extended_with_it() -> None:
    request = pb.GatewayExecutorRequestData(request_id="r", step_id="step", lease_id=LEASE)

    message = pb.ConnectMessage.FromString(extend_lease(request, LEASE))

    assert pb.WorkerRequestExtendLeaseData.FromString(message.payload).step_id == "step"


def test_a_reply_of_exactly_the_limit_is_sent_as_it_is() -> None:
    sized = Conversation().connected()
    sized.request("r1")
    reply = one(sized.function_returns("r1"), do.Send)
    size = len(pb.ConnectMessage.FromString(reply.data).payload)
    talk = Conversation(settings=CoreSettings(max_reply_bytes=size + ENVELOPE_BYTES)).connected()
    talk.request("r1")

    assert errors(talk.function_returns("r1")) == []


def test_a_request_on_two_sockets_is_abandoned_when_both_acknowledgements_failed() -> None:
    talk = Conversation().connected()
    call = pb.GatewayExecutorRequestData(request_id="r1", app_name="app", function_slug="app-fn")
    data = envelope(K.GATEWAY_EXECUTOR_REQUEST, call.SerializeToString())
    for _ in range(2):
        talk.core.handle(inputs.MessageReceived(1, data), talk.now)

    first = talk.core.handle(inputs.AcknowledgementFailed(1, "r1"), talk.now)
    second = talk.core.handle(inputs.AcknowledgementFailed(1, "r1"), talk.now)

    assert first == []
    assert errors(second) == ["acknowledgement_failed"]
    assert len(talk.core.requests) == 0


def test_a_request_on_two_sockets_is_executed_when_one_acknowledgement_was_written() -> None:
    talk = Conversation().connected()
    call = pb.GatewayExecutorRequestData(request_id="r1", app_name="app", function_slug="app-fn")
    data = envelope(K.GATEWAY_EXECUTOR_REQUEST, call.SerializeToString())
    for _ in range(2):
        assert only(talk.core.handle(inputs.MessageReceived(1, data), talk.now), do.Acknowledge)

    failed = talk.core.handle(inputs.AcknowledgementFailed(1, "r1"), talk.now)
    written = talk.core.handle(inputs.AcknowledgementsWritten(1, ("r1",)), talk.now)

    assert only(failed, do.Execute) == []
    assert [execute.request.request_id for execute in only(written, do.Execute)] == ["r1"]
