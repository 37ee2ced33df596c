"""Limits measured on the right thing, timers that are armed, keys that are not mixed up."""

import pytest

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.core.deadlines import Deadlines
from inngest_connect.core.events import Reconnecting
from inngest_connect.core.settings import CoreSettings
from inngest_connect.errors import StartupTimeout
from inngest_connect.protocol import connect_pb2 as pb
from tests.unit.core.conversation import Conversation, K, errors, one, only, sent

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("moves", range(60, 75))
def test_deadlines_come_in_order_when_old_entries_were_swept_out(moves: int) -> None:
    """Ten keys, the latest first; the 65th entry makes the sweep."""
    deadlines = Deadlines()
    for move in range(moves):
        deadlines.set(str(move % 10), 100.0 - move % 10)

    popped = []
    while (key := deadlines.pop_due(200.0)) is not None:
        popped.append(int(key))

    assert popped == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_the_limit_of_a_reply_counts_everything_in_it() -> None:
    """A small body and a large trace context: the gateway's limit is on the whole message."""
    talk = Conversation(settings=CoreSettings(max_reply_bytes=4096)).connected()
    request = pb.GatewayExecutorRequestData(
        request_id="r1",
        app_name="app",
        function_slug="app-fn",
        system_trace_ctx=b'{"traceparent":"' + b"x" * 3000 + b'"}',
    )
    talk.gateway_says(1, K.GATEWAY_EXECUTOR_REQUEST, request.SerializeToString())

    returned = talk.function_returns("r1", b'"' + b"y" * 2000 + b'"')

    assert "reply_too_large" in errors(returned)


def test_the_shutdown_limit_holds_when_only_replies_are_left() -> None:
    settings = CoreSettings(
        shutdown_timeout=3.0, final_flush_timeout=1.0, close_timeout=1.0, reply_ack_timeout=100.0
    )
    talk = Conversation(settings=settings).connected()
    talk.passes(0.0)
    talk.request("r1")
    talk.function_returns("r1")
    talk.happens(inputs.CloseRequested())

    before = talk.passes(2.9)
    after = talk.passes(3.0)

    assert not only(before, do.Flush)
    assert one(after, do.Flush).request_id == "r1"
    assert only(after, do.Finished)


@pytest.mark.parametrize("step", ["open", "hello"])
def test_an_open_socket_is_not_a_connection_for_the_startup_timeout(step: str) -> None:
    settings = CoreSettings(startup_timeout=8.0, hello_timeout=60.0, ready_timeout=60.0)
    talk = Conversation(settings=settings)
    talk.starts()
    talk.api_names_gateway(1)
    talk.happens(inputs.SocketOpened(1))
    if step == "hello":
        talk.gateway_says(1, K.GATEWAY_HELLO)

    ended = talk.passes(10.1)

    assert isinstance(one(ended, do.Finished).error, StartupTimeout)


def answer(talk: Conversation, request_id: str) -> None:
    talk.request(request_id)
    talk.function_returns(request_id)
    talk.reply_acked(request_id)


def test_each_repetition_of_an_answered_request_starts_its_window_again() -> None:
    """The gateway may forward it for 150 s after each answer."""
    talk = Conversation().connected()
    answer(talk, "r1")

    for number in range(3):
        talk.heartbeats_answered_for(100.0)
        again = talk.request("r1")
        answer(talk, f"other-{number}")  # which forgets what is too old

        assert not only(again, do.Execute)
        assert "WORKER_REPLY" in sent(again)


@pytest.mark.parametrize("name", ["request_id", "run_id", "function_slug", "lease_id", "app_name"])
def test_a_name_may_have_1024_characters_and_no_more(name: str) -> None:
    talk = Conversation().connected()

    for length, kind in ((1024, None), (1025, "malformed_message")):
        request = pb.GatewayExecutorRequestData(request_id="r", request_payload=b"x" * 2000)
        setattr(request, name, "n" * length)
        said = talk.gateway_says(1, K.GATEWAY_EXECUTOR_REQUEST, request.SerializeToString())

        assert ("malformed_message" in errors(said)) == (kind is not None)
        assert bool(sent(said)) == (kind is None)


def with_two_keys(replies: int) -> tuple[Conversation, list[do.Flush]]:
    """Without a socket: every reply is being flushed with the key that worked last."""
    talk = Conversation(settings=CoreSettings(signing_keys=2)).connected()
    for number in range(replies):
        talk.request(f"r{number}")
    talk.heartbeats_answered_for(30.0)
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    flushes = []
    for number in range(replies):
        flushes += only(talk.function_returns(f"r{number}"), do.Flush)
    return talk, flushes


def test_replies_that_are_refused_together_do_not_toggle_the_key_back() -> None:
    talk, flushes = with_two_keys(3)
    assert [flush.key for flush in flushes] == [0, 0, 0]

    refused = [
        *talk.happens(inputs.FlushFailed("r0", 401, "rotated")),
        *talk.happens(inputs.FlushFailed("r1", 401, "rotated")),
        *talk.happens(inputs.FlushFailed("r2", 403, "rotated")),
    ]
    again = only(refused + talk.passes(0.0), do.Flush)

    assert [(flush.request_id, flush.key) for flush in again] == [("r0", 1), ("r1", 1), ("r2", 1)]


def test_a_reply_is_flushed_with_the_key_that_worked_for_the_connection() -> None:
    talk = Conversation(settings=CoreSettings(signing_keys=2))
    talk.starts()
    talk.happens(inputs.StartFailed(1, 401, "no"))
    talk.becomes_ready(2)
    talk.request("r1", 2)
    talk.happens(inputs.SocketClosed(2, 1006, ""))

    assert one(talk.function_returns("r1"), do.Flush).key == 1


def test_a_late_success_with_a_key_that_was_left_says_nothing_of_the_current_one() -> None:
    """Both keys are refused by then, so the next attempt waits for the schedule."""
    talk, _ = with_two_keys(1)
    talk.attempt_begins()
    talk.happens(inputs.StartFailed(2, 401, "the first one"))
    talk.attempt_begins()

    talk.happens(inputs.FlushSucceeded("r0"))
    planned = talk.happens(inputs.StartFailed(3, 401, "the second one"))

    assert one(planned, Reconnecting).delay > 0.0


def test_a_handshake_is_refused_for_the_key_it_used_and_not_for_the_current_one() -> None:
    talk, _ = with_two_keys(1)
    refusal = "connect_authentication_failed"
    for number in (2, 3):
        talk.attempt_begins()
        talk.api_names_gateway(number)
        talk.happens(inputs.SocketOpened(number))
        if number == 3:
            talk.happens(inputs.FlushFailed("r0", 401, "rotated"))
        talk.happens(inputs.SocketClosed(number, 1008, refusal))

    assert one(talk.attempt_begins(), do.RequestStart).key == 1
