"""WorkerCore while it shuts down, alone and together with drains and losses."""

import pytest

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.core.events import ErrorOccurred
from inngest_connect.core.retry import FixedRetry
from inngest_connect.core.settings import CoreSettings
from inngest_connect.core.wire.messages import envelope
from inngest_connect.errors import WorkAbandoned
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.state_machine import ConnectionState as S
from tests.unit.core.conversation import LEASE, Conversation, errors, one, only, seen, sent

K = pb.GatewayMessageType
pytestmark = pytest.mark.unit


def closes(talk: Conversation) -> list[do.Command]:
    return talk.happens(inputs.CloseRequested())


def test_an_idle_worker_pauses_closes_and_is_closed() -> None:
    talk = Conversation().connected()

    closing = closes(talk)
    closed = talk.happens(inputs.SocketClosed(1, 1000, ""))

    assert sent(closing) == ["WORKER_PAUSE"]
    assert one(closing, do.CloseSocket) == do.CloseSocket(1, 1000, "WORKER_SHUTDOWN")
    assert one(closed, do.Finished).error is None
    assert talk.core.machine.state is S.CLOSED


@pytest.mark.scenario("41")
def test_work_in_flight_is_finished_while_heartbeats_and_leases_go_on() -> None:
    talk = Conversation()
    talk.starts()
    talk.becomes_ready(1, heartbeat="2s", extend="3s")
    talk.request("r1")

    closes(talk)
    waited = talk.heartbeats_answered_for(20.0)
    returned = talk.function_returns("r1")
    acked = talk.reply_acked("r1")

    assert sent(waited).count("WORKER_PAUSE") == 1
    assert sent(waited).count("WORKER_HEARTBEAT") >= 9
    assert sent(waited).count("WORKER_REQUEST_EXTEND_LEASE") >= 4
    assert sent(returned) == ["WORKER_REPLY"]
    assert not only(returned, do.CloseSocket)
    assert one(acked, do.CloseSocket).reason == "WORKER_SHUTDOWN"


def test_the_pause_lets_an_acknowledgement_land_first() -> None:
    talk = Conversation().connected()
    talk.request("r1")

    at_once = closes(talk)
    soon = talk.passes(0.25)

    assert "WORKER_PAUSE" not in sent(at_once)
    assert "WORKER_PAUSE" in sent(soon)


def test_the_pause_lets_the_acknowledgement_of_a_repeated_request_land_first() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.passes(1.0)
    talk.request("r1")

    at_once = closes(talk)
    soon = talk.passes(0.25)

    assert "WORKER_PAUSE" not in sent(at_once)
    assert "WORKER_PAUSE" in sent(soon)


@pytest.mark.parametrize(
    "report",
    [inputs.AcknowledgementsWritten(1, ("r1",)), inputs.AcknowledgementFailed(1, "r1")],
    ids=["written", "failed"],
)
def test_the_pause_waits_for_an_acknowledgement_on_a_slow_line(
    report: inputs.Input,
) -> None:
    talk = Conversation().connected()
    message = pb.GatewayExecutorRequestData(
        request_id="r1", app_name="app", function_slug="app-fn", lease_id=LEASE
    )
    data = envelope(K.GATEWAY_EXECUTOR_REQUEST, message.SerializeToString())
    talk.core.handle(inputs.MessageReceived(1, data), talk.now)

    closing = closes(talk)
    waited = talk.passes(3.0)
    talk.happens(report)
    soon = talk.passes(0.25)

    assert "WORKER_PAUSE" not in sent(closing + waited)
    assert talk.core.counters["requests_received"] == 1
    assert "WORKER_PAUSE" in sent(talk.log)
    assert ("WORKER_PAUSE" in sent(soon)) is isinstance(report, inputs.AcknowledgementsWritten)


@pytest.mark.scenario("45")
def test_a_request_after_the_shutdown_began_is_neither_acknowledged_nor_run() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    closes(talk)

    before_pause = talk.request("r2")
    talk.passes(1.0)
    after_pause = talk.request("r3")

    for refused in (before_pause, after_pause):
        assert sent(refused) == []
        assert not only(refused, do.Execute)


def test_acknowledged_requests_that_wait_are_still_run() -> None:
    talk = Conversation(settings=CoreSettings(max_worker_concurrency=1)).connected()
    talk.request("r1")
    talk.request("r2")
    closes(talk)

    assert one(talk.function_returns("r1"), do.Execute).request.request_id == "r2"


@pytest.mark.scenario("40")
def test_a_connection_lost_in_a_shutdown_is_replaced_and_paused_first() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    closes(talk)
    talk.passes(1.0)

    talk.happens(inputs.SocketClosed(1, 1006, ""))
    talk.passes(0.0)
    ready = talk.becomes_ready(2)
    talk.function_returns("r1")
    done = talk.reply_acked("r1", generation=2)

    assert sent(ready)[0] == "WORKER_PAUSE"
    assert "WORKER_READY" not in sent(ready)
    assert one(done, do.CloseSocket).generation == 2
    assert talk.core.machine.state is S.CLOSING


@pytest.mark.scenario("39")
def test_a_drain_in_a_shutdown_moves_the_work_to_a_paused_connection() -> None:
    talk = Conversation()
    talk.starts()
    talk.becomes_ready(1, extend="3s")
    talk.request("r1")
    closes(talk)
    talk.passes(1.0)

    talk.gateway_says(1, K.GATEWAY_CLOSING)
    begun = talk.attempt_begins()
    ready = talk.becomes_ready(2, extend="3s")
    waited = talk.heartbeats_answered_for(7.0, generation=2)

    assert only(begun, do.RequestStart)
    assert sent(ready)[0] == "WORKER_PAUSE"
    assert sent(waited, 2).count("WORKER_REQUEST_EXTEND_LEASE") >= 2
    assert "WORKER_HEARTBEAT" in sent(waited, 2)


@pytest.mark.scenario("39")
def test_a_shutdown_in_a_drain_pauses_both_connections() -> None:
    """The shutdown begins before the drain."""
    talk = Conversation().connected()
    talk.request("r1")
    talk.passes(1.0)
    talk.gateway_says(1, K.GATEWAY_CLOSING)

    closing = closes(talk)
    ready = talk.becomes_ready(2)
    talk.function_returns("r1")
    talk.reply_acked("r1", generation=2)
    for generation in (1, 2):
        talk.happens(inputs.SocketClosed(generation, 1000, ""))

    assert sent(closing, 1) == ["WORKER_PAUSE"]
    assert sent(ready, 2) == ["WORKER_PAUSE"]
    assert talk.core.machine.state is S.CLOSED


@pytest.mark.scenario("42")
def test_an_idle_shutdown_gives_up_the_attempt_to_connect() -> None:
    talk = Conversation()
    talk.starts()

    closing = closes(talk)

    assert one(closing, do.AbortSocket).generation == 1
    assert one(closing, do.Finished).error is None


@pytest.mark.scenario("T")
def test_a_shutdown_while_waiting_to_retry_ends_at_once() -> None:
    """The signal arrives during back-off."""
    talk = Conversation()
    talk.starts()
    talk.happens(inputs.StartFailed(1, None, "refused"))

    assert only(closes(talk), do.Finished)


def test_replies_without_a_connection_are_flushed_and_no_connection_is_made_for_them() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.function_returns("r1")
    talk.happens(inputs.SocketClosed(1, 1006, ""))

    closing = closes(talk)
    flushed = talk.happens(inputs.FlushSucceeded("r1"))

    assert one(closing, do.Flush).request_id == "r1"
    assert not only(closing, do.RequestStart)
    assert one(flushed, do.Finished).error is None


@pytest.mark.scenario("43")
def test_closing_twice_is_closing_once() -> None:
    talk = Conversation().connected()
    closes(talk)

    assert closes(talk) == []


def test_the_shutdown_timeout_ends_it_and_names_what_was_not_finished() -> None:
    talk = Conversation(settings=CoreSettings(shutdown_timeout=5.0)).connected()
    talk.request("r1")
    closes(talk)

    over = talk.heartbeats_answered_for(5.0)
    talk.happens(inputs.ExecutionFinished("r1", None))
    ended = talk.happens(inputs.SocketClosed(1, 1000, ""))

    assert "shutdown_timeout" in errors(over)
    assert one(over, do.CancelExecution).request_id == "r1"
    assert one(over, do.CloseSocket).reason == "WORKER_SHUTDOWN"
    error = one(ended, do.Finished).error
    assert isinstance(error, WorkAbandoned)
    assert error.request_ids == ("r1",)


@pytest.mark.scenario("T")
def test_a_second_request_stops_now_and_names_what_was_abandoned() -> None:
    talk = Conversation().connected()
    talk.request("running")
    talk.request("ready")
    talk.function_returns("ready")
    closes(talk)

    aborted = talk.happens(inputs.AbortRequested("second SIGTERM"))
    assert one(aborted, do.CancelExecution).request_id == "running"
    assert one(aborted, do.Flush).request_id == "ready"
    talk.happens(inputs.FlushSucceeded("ready"))
    ended = talk.happens(inputs.SocketClosed(1, 1000, ""))

    error = one(ended, do.Finished).error
    assert isinstance(error, WorkAbandoned)
    assert error.request_ids == ("running",)


def test_a_forced_stop_makes_no_connection_for_a_function_that_it_gave_up() -> None:
    talk = Conversation().connected()
    talk.request("running")
    talk.request("ready")
    talk.function_returns("ready")
    talk.happens(inputs.AbortRequested("test"))

    lost = talk.happens(inputs.SocketClosed(1, 1006, "")) + talk.passes(1.0)
    ended = talk.happens(inputs.FlushSucceeded("ready"))

    assert only(lost, do.RequestStart) == []
    assert "reconnecting" not in seen(lost)
    error = one(ended, do.Finished).error
    assert isinstance(error, WorkAbandoned)
    assert error.request_ids == ("running",)


def test_a_forced_stop_waits_for_the_last_flush_only_so_long() -> None:
    talk = Conversation().connected()
    talk.request("ready")
    talk.function_returns("ready")
    talk.happens(inputs.AbortRequested("test"))

    waited = talk.heartbeats_answered_for(6.0)
    ended = talk.happens(inputs.SocketClosed(1, 1000, "")) + waited

    error = one(ended, do.Finished).error
    assert isinstance(error, WorkAbandoned)
    assert error.request_ids == ("ready",)
    assert "reply_undelivered" in errors(ended)


def test_a_connection_lost_while_a_forced_stop_flushes_is_not_replaced() -> None:
    """Its function runs on, and an attempt would still be under way when sockets are closed."""
    talk = Conversation().connected()
    talk.request("running")
    talk.request("ready")
    talk.function_returns("ready")
    talk.happens(inputs.AbortRequested("test"))

    lost = talk.happens(inputs.SocketClosed(1, 1006, ""))
    waited = talk.passes(6.0)

    assert not only(lost + waited, do.RequestStart)
    assert one(waited, do.Finished)


def test_a_gateway_that_never_answers_the_close_is_left_after_two_seconds() -> None:
    talk = Conversation().connected()
    closes(talk)

    ended = talk.passes(2.0)

    assert one(ended, do.AbortSocket).generation == 1
    assert only(ended, do.Finished)


def test_a_function_without_a_lease_is_waited_for_by_a_shutdown() -> None:
    talk = Conversation(settings=CoreSettings(on_lease_lost="continue")).connected()
    talk.request("r1")
    closes(talk)
    talk.passes(1.0)

    lost = talk.lease_answer("r1", None)
    returned = talk.function_returns("r1")

    assert not only(lost, do.CloseSocket)
    assert sent(returned).count("WORKER_REPLY") == 1


@pytest.mark.scenario("33")
def test_a_function_that_is_cancelled_for_its_lease_does_not_hold_a_shutdown() -> None:
    talk = Conversation(settings=CoreSettings(on_lease_lost="cancel")).connected()
    talk.request("r1")
    closes(talk)
    talk.passes(1.0)

    lost = talk.lease_answer("r1", None)

    assert one(lost, do.CloseSocket).reason == "WORKER_SHUTDOWN"


def test_a_worker_waits_for_its_last_reply_to_be_acknowledged_and_flushes_it_else() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    closes(talk)
    talk.passes(1.0)
    talk.function_returns("r1")

    waited = talk.heartbeats_answered_for(5.5)
    flushed = talk.happens(inputs.FlushSucceeded("r1"))

    assert one(waited, do.Flush).request_id == "r1"
    assert one(flushed, do.CloseSocket).generation == 1


def test_a_lease_that_is_due_without_a_connection_is_extended_on_the_next_one() -> None:
    talk = Conversation(FixedRetry(60.0)).connected()
    talk.request("r1")
    talk.happens(inputs.CloseRequested())
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    talk.attempt_begins()
    talk.happens(inputs.StartFailed(2, None, "refused"))

    without = talk.passes(60.0)
    ready = talk.becomes_ready(3)

    assert sent(without) == []
    assert sent(ready) == ["WORKER_PAUSE", "WORKER_REQUEST_EXTEND_LEASE"]


def test_a_connection_that_ends_before_the_last_acknowledgement_leaves_it_to_a_flush() -> None:
    """Without waiting for the acknowledgement, and without another connection."""
    talk = Conversation().connected()
    talk.request("r1")
    talk.happens(inputs.CloseRequested())
    talk.passes(1.0)
    talk.function_returns("r1")

    lost = talk.happens(inputs.SocketClosed(1, 1006, ""))

    assert one(lost, do.Flush).request_id == "r1"
    assert talk.core.connections.attempts.retry_at is None


def test_nothing_happens_after_the_end() -> None:
    talk = Conversation().connected()
    closes(talk)
    talk.happens(inputs.SocketClosed(1, 1000, ""))

    assert talk.happens(inputs.ExecutionFinished("r1", None)) == []
    assert talk.core.next_deadline() is None


def test_the_end_is_told_as_expected() -> None:
    talk = Conversation().connected()
    closes(talk)

    closed = talk.happens(inputs.SocketClosed(1, 1000, ""))

    assert seen(closed) == ["websocket_close", "disconnected", "state_change"]


@pytest.mark.scenario("52")
@pytest.mark.parametrize(
    ("limit", "end"),
    [(None, "no time limit, because shutdown_timeout is not set"), (30.0, "for 30 s at most")],
)
def test_a_shutdown_that_waits_says_for_what_and_for_how_long(
    limit: float | None, end: str
) -> None:
    """After a moment, so that one that ends immediately says nothing."""
    talk = Conversation(settings=CoreSettings(shutdown_timeout=limit)).connected()
    talk.request("older")
    talk.request("younger")
    talk.passes(3.0)
    talk.happens(inputs.CloseRequested())

    early = talk.passes(0.1)
    said = only(talk.passes(0.2), ErrorOccurred)

    assert only(early, ErrorOccurred) == []
    (notice,) = said
    assert (notice.kind, notice.request_id) == ("shutdown_waiting", "older")
    assert notice.message.startswith("waiting for 2 function(s); the oldest is app-fn, 3.2 s old")
    assert end in notice.message
    assert notice.message.endswith(". A second signal (Ctrl-C again) stops it now")


def test_a_shutdown_without_signal_handlers_advises_no_signal() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    talk.happens(inputs.CloseRequested(signals=False))

    (notice,) = only(talk.passes(0.2), ErrorOccurred)

    assert notice.message == (
        "waiting for 1 function(s); the oldest is app-fn, 0.2 s old; there is no time limit, "
        "because shutdown_timeout is not set. Cancel the task that runs the worker to stop now"
    )


@pytest.mark.scenario("52")
def test_a_shutdown_that_waits_for_a_reply_alone_says_so() -> None:
    talk = Conversation(FixedRetry(600.0)).connected()
    talk.request("r1")
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    talk.function_returns("r1")
    talk.happens(inputs.CloseRequested())

    (notice,) = only(talk.passes(2.0), ErrorOccurred)

    assert (notice.kind, notice.request_id) == ("shutdown_waiting", None)
    assert notice.message == (
        "waiting for 1 reply(s) that Inngest has not stored yet; there is no time limit, because "
        "shutdown_timeout is not set. A second signal (Ctrl-C again) stops it now"
    )


@pytest.mark.scenario("52")
def test_a_shutdown_that_waits_for_functions_and_replies_names_both() -> None:
    talk = Conversation(settings=CoreSettings(shutdown_timeout=60.0)).connected()
    talk.request("returned")
    talk.function_returns("returned")
    talk.request("running")
    talk.happens(inputs.CloseRequested())

    (notice,) = only(talk.passes(0.2), ErrorOccurred)

    assert notice.message == (
        "waiting for 1 function(s) and 1 reply(s) that Inngest has not stored yet; the oldest is "
        "app-fn, 0.2 s old; for 60 s at most, because of shutdown_timeout. A second signal (Ctrl-C "
        "again) stops it now"
    )


@pytest.mark.scenario("52")
def test_a_shutdown_that_waits_says_so_again_every_half_minute() -> None:
    talk = Conversation().connected()
    talk.request("r1")
    closes(talk)

    minutes = talk.heartbeats_answered_for(92.0)

    assert errors(minutes).count("shutdown_waiting") == 4  # after 0.2, 30, 60 and 90 s


def test_a_further_request_to_stop_now_changes_nothing() -> None:
    settings = CoreSettings(final_flush_timeout=5.0)
    talk = Conversation(settings=settings).connected()
    talk.request("r1")
    talk.function_returns("r1")
    talk.happens(inputs.SocketClosed(1, 1006, ""))

    first = talk.happens(inputs.AbortRequested("second signal"))
    talk.passes(4.0)
    again = talk.happens(inputs.AbortRequested("third signal"))
    ended = talk.passes(1.0)

    assert errors(first).count("shutdown_forced") == 1
    assert "shutdown_forced" not in errors(again)
    assert only(ended, do.Finished), "the last moment for flushes begins once"


@pytest.mark.parametrize(("requests", "left"), [((), ""), (("r1", "r2"), "; not finished: r1, r2")])
def test_a_forced_stop_names_its_reason_and_what_is_not_finished(
    requests: tuple[str, ...], left: str
) -> None:
    talk = Conversation().connected()
    for name in requests:
        talk.request(name)

    forced = talk.happens(inputs.AbortRequested("second signal"))

    assert one(forced, ErrorOccurred).message == f"stopping now: second signal{left}"


def test_an_idle_worker_ends_without_a_notice() -> None:
    talk = Conversation().connected()
    talk.happens(inputs.CloseRequested())

    assert only(talk.passes(5.0), ErrorOccurred) == []
