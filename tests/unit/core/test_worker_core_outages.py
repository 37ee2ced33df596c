"""WorkerCore in outages: what goes on, what waits, and what is sent where."""

import random

import pytest

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.core.events import Disconnected, Reconnecting
from inngest_connect.core.retry import FixedRetry
from inngest_connect.core.settings import CoreSettings
from inngest_connect.protocol import connect_pb2 as pb
from tests.unit.core.conversation import Conversation, one, only, sent

K = pb.GatewayMessageType
pytestmark = pytest.mark.unit


def flushed(commands: list[do.Command]) -> list[str]:
    return [flush.request_id for flush in only(commands, do.Flush)]


@pytest.mark.scenario("20")
def test_a_heartbeat_that_is_lost_does_not_stop_the_next() -> None:
    """The first was written on a socket that did not carry it."""
    talk = Conversation().connected()
    talk.heartbeats_answered_for(30.0)

    missed = talk.passes(10.0)
    talk.gateway_says(1, K.GATEWAY_HEARTBEAT)
    after = talk.heartbeats_answered_for(30.0)

    assert sent(missed, 1).count("WORKER_HEARTBEAT") == 1
    assert sent(after, 1).count("WORKER_HEARTBEAT") == 3


@pytest.mark.scenario("21")
def test_heartbeats_go_to_the_serving_connection_alone() -> None:
    """The drained one is open until its last reply is acknowledged."""
    talk = Conversation(settings=CoreSettings(drain_ack_timeout=60.0)).connected()
    talk.request("r1")
    talk.function_returns("r1")
    talk.gateway_says(1, K.GATEWAY_CLOSING)
    talk.passes(2.0)
    talk.becomes_ready(2)

    both_open = talk.heartbeats_answered_for(30.0, generation=2)

    assert talk.core.connections.get(1) is not None
    assert sent(both_open, 1).count("WORKER_HEARTBEAT") == 0
    assert sent(both_open, 2).count("WORKER_HEARTBEAT") >= 3


@pytest.mark.scenario("49")
def test_a_reply_is_flushed_immediately_and_does_not_wait_for_the_next_attempt() -> None:
    """Whether it was waiting when the connection was lost, or comes later."""
    talk = Conversation(FixedRetry(60.0)).connected()
    for name in ("waiting", "late"):
        talk.request(name)
    talk.function_returns("waiting")
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    talk.passes(5.0)
    talk.happens(inputs.FlushSucceeded("waiting"))

    late = talk.function_returns("late")

    assert flushed(talk.log) == ["waiting", "late"]
    assert flushed(late) == ["late"]
    assert only(late, do.RequestStart) == []


@pytest.mark.scenario("49")
def test_a_reply_has_one_flush_at_a_time() -> None:
    talk = Conversation(FixedRetry(600.0)).connected()
    talk.request("r1")
    talk.happens(inputs.SocketClosed(1, 1006, ""))
    talk.function_returns("r1")

    waiting = talk.passes(120.0)
    talk.happens(inputs.FlushFailed("r1", None, "no answer"))
    again = talk.passes(60.0)

    assert flushed(waiting) == []
    assert flushed(again) == ["r1"]


@pytest.mark.scenario("L")
def test_a_machine_that_slept_for_an_hour_makes_another_connection() -> None:
    """No time passed for the process, and the gateway has forgotten it."""
    talk = Conversation(FixedRetry(0.0)).connected()
    talk.request("r1")
    talk.heartbeats_answered_for(30.0)

    talk.now += 3600.0
    woken = talk.happens(inputs.Tick()) + talk.passes(2.0)

    assert [abort.generation for abort in only(woken, do.AbortSocket)] == [1]
    assert [start.generation for start in only(woken, do.RequestStart)] == [2]
    ready = talk.becomes_ready(2)
    assert sent(ready, 2).count("WORKER_REQUEST_EXTEND_LEASE") == 1


@pytest.mark.scenario("U")
def test_workers_that_lose_their_gateway_do_not_return_in_the_same_instant() -> None:
    """With the default schedule and independent random numbers."""
    delays = []
    for seed in range(300):
        talk = Conversation(chance=random.Random(seed).random).connected()
        talk.heartbeats_answered_for(60.0)
        delays.append(one(talk.happens(inputs.SocketClosed(1, 1006, "")), Reconnecting).delay)

    tenths = [int(delay * 10) for delay in delays]
    assert max(delays) <= 1.0
    assert max(tenths.count(tenth) for tenth in set(tenths)) < 60


@pytest.mark.parametrize(
    ("asleep", "cause"),
    [
        (0.0, "the gateway is silent: 2 heartbeat(s) unanswered, nothing received for 30.0 s"),
        (60.0, "nothing received for 60.0 s, because this process was stopped or its event loop"),
    ],
)
def test_a_silence_of_its_own_making_is_not_blamed_on_the_gateway(
    asleep: float, cause: str
) -> None:
    talk = Conversation().connected()
    talk.heartbeats_answered_for(30.0)
    talk.now += asleep

    lost = talk.passes(30.0) if not asleep else talk.happens(inputs.Tick())

    assert one(lost, Disconnected).reason.startswith(cause)
