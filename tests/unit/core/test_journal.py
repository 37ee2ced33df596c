"""What the core has written to a journal, and what it does with what another process left there."""

import json

import pytest

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core import inputs
from inngest_connect.core.settings import CoreSettings
from inngest_connect.errors import AuthenticationError
from inngest_connect.protocol import connect_pb2 as pb
from tests.unit.core.conversation import Conversation, errors, one, only, sent

pytestmark = pytest.mark.unit

PREDECESSOR = "pid 7 on web-1, started 2026-01-01T00:00:00Z"


def worker(**settings: object) -> Conversation:
    options = {"api_origin": "http://api", "journal": "file", **settings}
    return Conversation(settings=CoreSettings(**options))  # type: ignore[arg-type]


def journalled(commands: list[do.Command]) -> list[tuple[str, str]]:
    found = []
    for command in commands:
        match command:
            case do.JournalRecord(request, reply):
                found.append((request.request_id, "request" if reply is None else "reply"))
            case do.JournalErase(request_id):
                found.append((request_id, "erased"))
    return found


def left(request_id: str = "r1", reply: bytes | None = None, age: float = 5.0) -> inputs.Input:
    request = pb.GatewayExecutorRequestData(
        request_id=request_id, run_id="run", function_slug="app-fn", system_trace_ctx=b"trace"
    )
    entry = inputs.JournalEntry(request, reply, age)
    return inputs.JournalRecovered((entry,), PREDECESSOR)


def reply_of(request_id: str) -> bytes:
    return pb.SDKResponse(request_id=request_id, status="DONE", body=b'"ok"').SerializeToString()


# --- what is written -----------------------------------------------------------------------------


def test_a_request_is_recorded_when_it_belongs_to_this_worker_and_erased_when_it_is_delivered() -> (
    None
):
    it = worker().connected()

    arrived = it.request("r1")
    returned = it.function_returns("r1")
    acknowledged = it.reply_acked("r1")

    assert journalled(arrived) == [("r1", "request")]
    assert journalled(returned) == [("r1", "reply")]
    assert journalled(acknowledged) == [("r1", "erased")]


def test_a_reply_is_recorded_as_it_is_sent() -> None:
    it = worker().connected()
    it.request("r1")

    returned = it.function_returns("r1")

    record, message = one(returned, do.JournalRecord), one(returned, do.Send)
    assert record.reply == pb.ConnectMessage.FromString(message.data).payload
    assert returned.index(record) < returned.index(message)


def test_a_request_that_was_never_acknowledged_is_not_recorded() -> None:
    it = worker().connected()
    it.broken = True

    assert ("r1", "request") not in journalled(it.request("r1"))


def test_without_a_journal_nothing_is_written() -> None:
    it = worker(journal=None).connected()

    commands = it.request("r1") + it.function_returns("r1") + it.reply_acked("r1")

    assert journalled(commands) == []


def test_a_reply_that_is_flushed_is_erased() -> None:
    it = worker().connected()
    it.request("r1")
    it.happens(inputs.SocketClosed(1, 1006, ""))
    it.function_returns("r1")

    assert ("r1", "erased") in journalled(it.happens(inputs.FlushSucceeded("r1")))


def test_a_reply_that_the_api_refuses_for_good_is_erased() -> None:
    it = worker().connected()
    it.request("r1")
    it.happens(inputs.SocketClosed(1, 1006, ""))
    it.function_returns("r1")

    refused = it.happens(inputs.FlushFailed("r1", 413, "too large"))

    assert journalled(refused) == [("r1", "erased")]


def test_a_queued_request_whose_lease_is_lost_is_erased() -> None:
    it = worker(max_worker_concurrency=1).connected()
    it.request("r1")
    it.request("r2")

    assert journalled(it.lease_answer("r2", None)) == [("r2", "erased")]


def test_what_a_forced_stop_abandons_stays_for_the_next_process() -> None:
    it = worker(max_worker_concurrency=1).connected()
    it.request("running")
    it.request("queued")

    stopped = it.happens(inputs.AbortRequested("a second signal"))
    stopped += it.happens(inputs.ExecutionFinished("running", None))

    stopped += it.happens(inputs.SocketClosed(1, 1000, ""))

    assert "execution_cancelled" in errors(stopped)
    assert journalled(stopped) == []
    assert str(one(stopped, do.Finished).error) == (
        "stopped before 2 request(s) were finished: running, queued. "
        "The next process finds them in the journal and answers them."
    )


def test_a_function_that_was_cancelled_for_its_lease_is_erased() -> None:
    it = worker(on_lease_lost="cancel").connected()
    it.request("r1")
    it.lease_answer("r1", None)

    ended = it.happens(inputs.ExecutionFinished("r1", None))

    assert journalled(ended) == [("r1", "erased")]


# --- a reply that waits for its commit -----------------------------------------------------------


def test_a_reply_is_offered_when_the_journal_has_it() -> None:
    it = worker(journal_commit="required").connected()
    it.request("r1")

    before = it.function_returns("r1")
    committed = it.happens(inputs.JournalCommitted(("r1",)))
    again = it.happens(inputs.JournalCommitted(("r1",)))

    assert journalled(before) == [("r1", "reply")]
    assert sent(before) == []
    assert sent(committed) == ["WORKER_REPLY"]
    assert sent(again) == []


def test_a_commit_of_what_is_not_waited_for_changes_nothing() -> None:
    it = worker(journal_commit="required").connected()

    assert it.happens(inputs.JournalCommitted(("unknown",))) == []


def test_a_request_that_comes_again_is_not_answered_before_the_commit() -> None:
    it = worker(journal_commit="required").connected()
    it.request("r1")
    it.function_returns("r1")

    again = it.request("r1")
    committed = it.happens(inputs.JournalCommitted(("r1",)))

    assert sent(again) == ["WORKER_REQUEST_ACK"]
    assert sent(committed) == ["WORKER_REPLY"]


def test_without_a_connection_a_committed_reply_is_flushed() -> None:
    it = worker(journal_commit="required").connected()
    it.request("r1")
    it.happens(inputs.SocketClosed(1, 1006, ""))

    before = it.function_returns("r1")
    committed = it.happens(inputs.JournalCommitted(("r1",)))

    assert only(before, do.Flush) == []
    assert one(committed, do.Flush).request_id == "r1"


def test_a_new_connection_is_not_offered_what_is_not_committed() -> None:
    it = worker(journal_commit="required", journal_patience=60.0).connected()
    it.request("r1")
    it.happens(inputs.SocketClosed(1, 1006, ""))
    it.function_returns("r1")

    ready = it.becomes_ready(2)
    committed = it.happens(inputs.JournalCommitted(("r1",)))

    assert "WORKER_REPLY" not in sent(ready)
    assert sent(committed, 2) == ["WORKER_REPLY"]


def test_a_disk_that_stalls_does_not_cost_the_reply() -> None:
    it = worker(journal_commit="required").connected()
    it.request("r1")
    it.function_returns("r1")

    before = it.heartbeats_answered_for(4.9)
    after = it.heartbeats_answered_for(0.2)
    late = it.happens(inputs.JournalCommitted(("r1",)))

    assert "WORKER_REPLY" not in sent(before)
    assert sent(after) == ["WORKER_REPLY"]
    assert errors(after) == ["journal_slow"]
    assert sent(late) == []


def test_a_disk_that_stalls_while_there_is_no_connection_does_not_cost_the_reply() -> None:
    it = worker(journal_commit="required").connected()
    it.request("r1")
    it.happens(inputs.SocketClosed(1, 1006, ""))
    it.function_returns("r1")

    before = it.passes(4.9)
    after = it.passes(0.2)

    assert only(before, do.Flush) == []
    assert one(after, do.Flush).request_id == "r1"


def test_a_worker_that_is_stopped_does_not_wait_for_the_disk() -> None:
    it = worker(journal_commit="required").connected()
    it.request("r1")
    it.function_returns("r1")

    stopped = it.happens(inputs.AbortRequested("a second signal"))

    assert one(stopped, do.Flush).request_id == "r1"
    assert "journal_slow" not in errors(stopped)


# --- what another process has left ---------------------------------------------------------------


def test_a_reply_that_was_left_is_flushed_before_there_is_a_connection() -> None:
    it = worker()
    it.starts()

    recovered = it.happens(left("r1", reply_of("r1")))
    stored = it.happens(inputs.FlushSucceeded("r1"))

    assert one(recovered, do.Flush).payload == reply_of("r1")
    assert one(recovered, seen.Recovered) == seen.Recovered(PREDECESSOR, 1, 0, 0)
    assert journalled(stored) == [("r1", "erased")]
    assert it.core.counters["recovered_replies"] == 1


def test_a_request_that_was_running_is_answered_with_an_error_that_is_retried_at_once() -> None:
    it = worker()
    it.starts()

    recovered = it.happens(left("r1", age=12.4))

    flush = one(recovered, do.Flush)
    response = pb.SDKResponse.FromString(flush.payload)
    assert response.request_id == "r1"
    assert response.run_id == "run"
    assert response.system_trace_ctx == b"trace"
    assert response.status == pb.SDKResponseStatus.ERROR
    assert not response.no_retry
    assert response.retry_after == "1"
    assert json.loads(response.body) == {
        "code": "worker_ended",
        "message": "the worker process ended while this ran: it will be retried if retries are "
        "left (pid 7 on web-1, started 2026-01-01T00:00:00Z; acknowledged 12 s ago)",
        "name": "ConnectError",
    }
    assert one(recovered, seen.Recovered) == seen.Recovered(PREDECESSOR, 0, 1, 0)
    assert it.core.counters["recovered_requests"] == 1


def test_the_error_for_a_request_survives_another_crash() -> None:
    it = worker()
    it.starts()

    recovered = it.happens(left("r1"))

    assert one(recovered, do.JournalRecord).reply == one(recovered, do.Flush).payload


def test_what_is_too_old_to_matter_is_erased_and_counted() -> None:
    it = worker()
    it.starts()

    just = it.happens(left("r1", reply_of("r1"), age=7199.0))
    late = it.happens(left("r2", reply_of("r2"), age=7200.0))

    assert one(just, do.Flush).request_id == "r1"
    assert only(late, do.Flush) == []
    assert journalled(late) == [("r2", "erased")]
    assert one(late, seen.Recovered) == seen.Recovered(PREDECESSOR, 0, 0, 1)


def test_a_flush_that_fails_is_tried_again() -> None:
    it = worker()
    it.starts()
    it.happens(left("r1", reply_of("r1")))

    failed = it.happens(inputs.FlushFailed("r1", 503, "away"))
    later = it.passes(10.0)

    assert errors(failed) == ["flush_failed"]
    assert journalled(failed) == []
    assert [flush.request_id for flush in only(later, do.Flush)] == ["r1"]


def test_what_is_not_flushed_yet_goes_over_the_first_connection() -> None:
    it = worker()
    it.starts()
    it.happens(left("r1", reply_of("r1")))

    ready = it.becomes_ready(1)
    acknowledged = it.reply_acked("r1")

    assert "WORKER_REPLY" in sent(ready)
    assert journalled(acknowledged) == [("r1", "erased")]


def test_with_a_connection_what_was_left_goes_both_ways_at_once() -> None:
    it = worker().connected()

    recovered = it.happens(left("r1", reply_of("r1")))

    assert sent(recovered) == ["WORKER_REPLY"]
    assert one(recovered, do.Flush).request_id == "r1"


def test_what_was_left_evicts_nothing_and_nothing_starts_until_there_is_room() -> None:
    it = worker(max_buffer_bytes=1024).connected()
    large = pb.SDKResponse(request_id="x", body=b"." * 2000).SerializeToString()

    recovered = it.happens(left("r1", large)) + it.happens(left("r2", large))
    waiting = it.request("r3")
    it.happens(inputs.FlushSucceeded("r1"))
    stored = it.happens(inputs.FlushSucceeded("r2"))

    assert errors(recovered) == []
    assert only(waiting, do.Execute) == []
    assert one(stored, do.Execute).request.request_id == "r3"


def test_a_request_that_is_forwarded_again_is_answered_and_not_executed() -> None:
    it = worker()
    it.starts()
    it.happens(left("r1", reply_of("r1")))
    it.becomes_ready(1)

    again = it.request("r1")

    assert sent(again) == ["WORKER_REQUEST_ACK", "WORKER_REPLY"]
    assert only(again, do.Execute) == []


def test_a_request_that_runs_here_by_now_is_left_alone() -> None:
    it = worker().connected()
    it.request("r1")

    recovered = it.happens(left("r1"))

    assert only(recovered, do.Flush) == []
    assert journalled(recovered) == []
    assert one(recovered, seen.Recovered) == seen.Recovered(PREDECESSOR, 0, 0, 0)


def test_a_start_that_is_refused_ends_and_leaves_the_journal_as_it_is() -> None:
    it = worker(signing_keys=1)
    it.starts()
    it.happens(left("r1", reply_of("r1")))

    ended = it.happens(inputs.StartFailed(1, 401, "wrong key"))
    ended += it.passes(5.1)

    assert isinstance(one(ended, do.Finished).error, AuthenticationError)
    assert "reply_undelivered" in errors(ended)
    assert journalled(ended) == []


def test_a_shutdown_waits_until_what_was_left_is_delivered() -> None:
    it = worker()
    it.starts()
    it.happens(left("r1", reply_of("r1")))

    closing = it.happens(inputs.CloseRequested())
    stored = it.happens(inputs.FlushSucceeded("r1"))

    assert only(closing, do.Finished) == []
    assert one(stored, do.Finished).error is None
