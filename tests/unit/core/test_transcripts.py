"""Whole scenarios, written down: every command, message, observation and figure, word by word.

The texts are in ``transcripts/``. ``make transcripts`` writes them anew; read the difference before
you commit it, since each line is something that a user, an operator or the gateway gets to see.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from inngest_connect.core import inputs
from inngest_connect.core.retry import FixedRetry
from inngest_connect.core.settings import CoreSettings
from inngest_connect.core.wire.messages import ExecutionResult, envelope
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.state_machine import ConnectionEvent
from tests.unit.core.conversation import LATER_LEASE, LEASE, K
from tests.unit.core.recorded import Recorded

pytestmark = pytest.mark.unit
DIRECTORY = Path(__file__).parent / "transcripts"


def settings(**changes: object) -> CoreSettings:
    return CoreSettings(**{"api_origin": "http://api", **changes})  # type: ignore[arg-type]


def result(status: int = pb.SDKResponseStatus.DONE, **fields: object) -> ExecutionResult:
    return ExecutionResult(status, b'"ok"', **fields)  # type: ignore[arg-type]


def close(it: Recorded, generation: int, code: int, reason: str = "") -> None:
    it.happens(inputs.SocketClosed(generation, code, reason))


def a_good_day() -> Recorded:
    it = Recorded()
    it.chapter("connecting")
    it.starts()
    it.becomes_ready(1, status="5s")
    it.chapter("two requests, one with a step")
    it.request("r1")
    request = pb.GatewayExecutorRequestData(
        request_id="r2", app_name="second", function_slug="second-fn", step_id="step", run_id="run"
    )
    it.gateway_says(1, K.GATEWAY_EXECUTOR_REQUEST, request.SerializeToString())
    it.gateway_says(1, K.GATEWAY_HEARTBEAT)
    it.passes(1)
    it.happens(
        inputs.ExecutionFinished(
            "r2",
            result(
                pb.SDKResponseStatus.NOT_COMPLETED,
                no_retry=True,
                retry_after="30",
                request_version=2,
                sdk_version="inngest-py:v1",
            ),
        )
    )
    it.reply_acked("r2")
    it.chapter("heartbeats, status and lease of the other")
    for _ in range(3):
        it.passes(10)
        it.gateway_says(1, K.GATEWAY_HEARTBEAT)
    it.lease_answer("r1", LATER_LEASE)
    it.heartbeats_answered_for(29)
    it.chapter("the same request again, running and answered")
    it.request("r1", lease=LEASE)
    it.request("r2")
    it.chapter("a drain")
    it.gateway_says(1, K.GATEWAY_CLOSING)
    it.request("late")
    it.becomes_ready(2)
    close(it, 1, 1000)
    it.lease_answer("r1", LATER_LEASE, 2)
    it.happens(inputs.ExecutionFinished("r1", result(request_version=-1)))
    it.ending()
    return it


def a_lost_connection() -> Recorded:
    it = Recorded().connected()
    assert isinstance(it, Recorded)
    it.request("r1")
    it.request("r2")
    it.heartbeats_answered_for(30)
    it.chapter("lost with a reply and an extension unanswered")
    it.function_returns("r1")
    it.happens(inputs.SocketClosed(1, 1006, "", "connection reset\x1b by peer"))
    it.chapter("the function of the other returns meanwhile: flushed at once")
    it.function_returns("r2")
    it.happens(inputs.FlushFailed("r2", 500, "down"))
    it.passes(1)
    it.happens(inputs.FlushFailed("r1", None, "no route"))
    it.chapter("the first attempt fails, the second serves")
    it.happens(inputs.StartFailed(2, 503, "no gateway"))
    it.passes(1.5)
    it.becomes_ready(3)
    it.happens(inputs.FlushSucceeded("r2"))
    it.reply_acked("r2", 3)
    it.reply_acked("r1", 3)
    it.request("r2", 3)
    it.chapter("lost again, for a gateway that goes away, and without a word")
    close(it, 3, 1001, "connect_gateway_closing")
    it.passes(2)
    it.becomes_ready(4)
    close(it, 4, 1006)
    it.ending()
    return it


def refusals_of_the_api() -> Recorded:
    it = Recorded(FixedRetry(1.0), settings(signing_keys=2))
    it.starts()
    failures = [
        inputs.StartFailed(1, 401, "wrong\nkey"),
        inputs.StartFailed(2, 403, "wrong key"),
    ]
    for failure in failures:
        it.happens(failure)
        it.passes(1.0)
    it.ending()
    return it


def failures_of_the_api() -> Recorded:
    it = Recorded(FixedRetry(1.0), settings(signing_keys=2))
    it.starts()
    for number, (status, after) in enumerate([(429, 2.0), (429, None), (500, None), (None, None)]):
        it.happens(inputs.StartFailed(number + 1, status, "its\x07text", after))
        it.passes(4.0)
    it.happens(inputs.StartFailed(5, None, "ws://evil is refused", gateway_group="group"))
    it.passes(1.0)
    it.becomes_ready(6)
    it.chapter("a first key refused after it had worked")
    close(it, 6, 1011, "connect_internal_error")
    it.passes(1.0)
    for number in (7, 8, 9):
        it.happens(inputs.StartFailed(number, 401, "revoked"))
        it.passes(1.0)
    it.ending()
    return it


def refusals_of_the_gateway() -> Recorded:
    it = Recorded(FixedRetry(1.0), settings(signing_keys=2))
    it.starts()
    reasons = [
        (1008, "connect_worker_hello_invalid_payload"),
        (1008, "connect_too_many_apps_per_connection"),
        (1008, "connect_authentication_failed"),
        (1008, "connect_authentication_failed"),
        (1008, "connect_authentication_failed"),
        (1008, "connect_worker_hello_timeout"),
        (1008, "plan_limit"),
        (1008, ""),
        (1011, "connect_internal_error"),
        (1011, "connect_internal_error"),
        (1011, "connect_internal_error"),
        (1001, "connect_gateway_closing"),
        (1012, "restart"),
    ]
    for number, (code, reason) in enumerate(reasons, 1):
        it.api_names_gateway(number, "group" if number % 2 else "other")
        it.happens(inputs.SocketOpened(number))
        it.gateway_says(number, K.GATEWAY_HELLO)
        close(it, number, code, reason)
        it.passes(2.0)
    it.ending()
    return it


def silences() -> Recorded:
    it = Recorded(FixedRetry(1.0))
    it.starts()
    it.chapter("the API")
    it.passes(16.5)
    it.chapter("the dial")
    it.api_names_gateway(2)
    it.passes(11.5)
    it.chapter("the greeting")
    it.api_names_gateway(3)
    it.happens(inputs.SocketOpened(3))
    it.passes(11.5)
    it.chapter("the end of the handshake")
    it.api_names_gateway(4)
    it.happens(inputs.SocketOpened(4))
    it.gateway_says(4, K.GATEWAY_HELLO)
    it.passes(61.5)
    it.chapter("the heartbeats")
    it.becomes_ready(5)
    it.passes(31)
    it.chapter("the goodbye")
    it.becomes_ready(6)
    it.happens(inputs.CloseRequested())
    it.passes(2)
    it.ending()
    return it


def wrong_words() -> Recorded:
    it = Recorded(FixedRetry(1.0))
    it.starts()
    it.chapter("too early")
    it.api_names_gateway(1)
    it.gateway_says(1, K.GATEWAY_HELLO)
    it.passes(1)
    it.api_names_gateway(2)
    it.happens(inputs.SocketOpened(2))
    it.gateway_says(2, K.GATEWAY_CONNECTION_READY)
    it.passes(1)
    it.chapter("out of place")
    it.api_names_gateway(3)
    it.happens(inputs.SocketOpened(3))
    it.gateway_says(3, K.WORKER_REPLY_ACK)
    it.passes(1)
    it.chapter("unusable intervals")
    it.becomes_ready(4, heartbeat="soon\x1b", extend="-1s", status="often")
    it.chapter("unreadable")
    it.happens(inputs.MessageReceived(4, b"\xff"))
    it.happens(inputs.MessageReceived(4, b"\xff"))
    it.happens(inputs.MessageReceived(4, envelope(99)))  # type: ignore[arg-type]
    it.gateway_says(4, K.GATEWAY_EXECUTOR_REQUEST, b"\xff")
    it.gateway_says(4, K.GATEWAY_EXECUTOR_REQUEST)
    it.happens(inputs.TextReceived(4))
    it.chapter("from a gateway")
    it.gateway_says(4, K.WORKER_READY)
    it.chapter("apps that cannot be synchronised")
    it.passes(1)
    it.api_names_gateway(5)
    it.happens(inputs.SocketOpened(5))
    it.gateway_says(5, K.GATEWAY_HELLO)
    it.happens(inputs.TextReceived(5))
    failed = pb.SystemError(code="bad_cron", message="the cron\n is wrong")
    it.gateway_says(5, K.SYNC_FAILED, failed.SerializeToString())
    close(it, 5, 1008, "bad_cron")
    it.chapter("a gateway that goes away in the middle of it")
    it.passes(1)
    it.api_names_gateway(6)
    it.happens(inputs.SocketOpened(6))
    it.gateway_says(6, K.GATEWAY_HELLO)
    it.gateway_says(6, K.GATEWAY_CLOSING)
    it.core._transition(ConnectionEvent.SHUTDOWN_COMPLETED, it.now)
    it.core._transition(ConnectionEvent.SHUTDOWN_COMPLETED, it.now)
    it.happens(inputs.Tick())
    it.ending()
    return it


def requests_that_cannot_be_served() -> Recorded:
    it = Recorded(None, settings(max_reply_bytes=500))
    it.connected()
    it.chapter("not ours")
    it.request("r1", app="nobody's\x1b")
    it.request("r2", function="app-none")
    it.reply_acked("r1")
    it.reply_acked("r2")
    it.chapter("not acknowledged")
    it.broken = True
    it.request("r3")
    it.request("r4")
    it.broken = False
    it.chapter("an answer that is too large")
    it.request("r5")
    it.function_returns("r5", b"x" * 500)
    it.chapter("a lease that is refused: running, then ended; running, then cancelled; answered")
    for name in ("r6", "r7", "r8"):
        it.request(name)
    it.lease_answer("r6", None)
    it.request("r6")
    it.function_returns("r6")
    it.lease_answer("r7", None)
    it.happens(inputs.ExecutionFinished("r7", None))
    it.function_returns("r8")
    it.lease_answer("r8", None)
    it.ending()
    return it


def more_than_it_may_run() -> Recorded:
    it = Recorded(None, settings(max_worker_concurrency=1))
    it.connected()
    for name in ("r1", "r2", "r3", "r4"):
        it.request(name)
    it.passes(4)
    it.lease_answer("r3", None)
    it.function_returns("r1")
    it.reply_acked("r1")
    it.chapter("shutdown_timeout=0 would leave two")
    it.happens(inputs.AbortRequested("second signal, SIGTERM"))
    it.happens(inputs.ExecutionFinished("r2", None))
    close(it, 1, 1000)
    it.ending()
    return it


def replies_that_nobody_takes() -> Recorded:
    it = Recorded(None, settings(max_buffer_bytes=300, signing_keys=2))
    it.connected()
    for name in ("r1", "r2", "r3"):
        it.request(name)
    it.function_returns("r1", b"a" * 60)
    it.chapter("no acknowledgement: flushed, refused for a key, refused for now, refused for good")
    it.passes(5)
    it.happens(inputs.FlushFailed("r1", 401, "no\x1bkey"))
    it.happens(inputs.FlushFailed("r1", 403, "no key either"))
    it.passes(2)
    it.happens(inputs.FlushFailed("r1", 429, "slowly", 7.0))
    it.passes(8)
    it.gateway_says(1, K.GATEWAY_HEARTBEAT)
    it.happens(inputs.FlushFailed("r1", None, "refused"))
    it.passes(10)
    it.happens(inputs.FlushFailed("r1", 400, "not\x1breadable"))
    it.chapter("a full buffer")
    it.function_returns("r2", b"b" * 100)
    it.function_returns("r3", b"c" * 200)
    it.chapter("evicted while it was flushed")
    it.passes(5)
    it.request("r4")
    it.request("r5")
    it.happens(inputs.FlushSucceeded("r3"))
    it.happens(inputs.FlushSucceeded("r3"))
    it.function_returns("r4", b"d" * 150)
    it.function_returns("r5", b"e" * 150)
    it.ending()
    return it


def a_graceful_shutdown() -> Recorded:
    it = Recorded(None, settings(shutdown_timeout=20.0))
    it.connected()
    for name in ("r1", "r2", "r3"):
        it.request(name)
    it.happens(inputs.CloseRequested())
    it.happens(inputs.CloseRequested())
    it.passes(1)
    it.request("late")
    it.request("later")
    it.function_returns("r1")
    it.chapter("the socket breaks: another one, paused at once")
    close(it, 1, 1006)
    it.passes(0.1)
    it.becomes_ready(2, status="2s")
    it.passes(2)
    it.reply_acked("r1", 2)
    it.chapter("it drains")
    it.gateway_says(2, K.GATEWAY_CLOSING)
    it.becomes_ready(3)
    close(it, 2, 1000)
    it.gateway_says(3, K.GATEWAY_HEARTBEAT)
    it.chapter("the time is up")
    it.passes(17)
    it.happens(inputs.ExecutionFinished("r2", None))
    it.happens(inputs.ExecutionFinished("r3", None))
    close(it, 3, 1000)
    it.ending()
    return it


def a_forced_stop_without_an_api() -> Recorded:
    it = Recorded().connected()
    assert isinstance(it, Recorded)
    for name in ("r1", "r2"):
        it.request(name)
    close(it, 1, 1006)
    it.function_returns("r1")
    it.happens(inputs.CloseRequested())
    it.chapter("work in flight wants a connection")
    it.passes(0.5)
    it.happens(inputs.StartFailed(2, 500, "down"))
    it.happens(inputs.AbortRequested("second signal, SIGINT"))
    it.happens(inputs.ExecutionFinished("r2", None))
    it.happens(inputs.FlushFailed("r1", None, "down"))
    it.passes(5)
    it.ending()
    return it


def a_start_that_is_given_up() -> Recorded:
    it = Recorded(FixedRetry(2.0), settings(startup_timeout=3.0))
    it.starts()
    it.happens(inputs.StartFailed(1, 500, "down"))
    it.passes(3)
    it.ending()
    return it


def a_close_before_the_start() -> Recorded:
    it = Recorded()
    it.core.close_immediately(it.now)
    it.happens(inputs.Tick())
    it.happens(inputs.Started())
    it.ending()
    return it


SCENARIOS: tuple[Callable[[], Recorded], ...] = (
    a_good_day,
    a_lost_connection,
    refusals_of_the_api,
    failures_of_the_api,
    refusals_of_the_gateway,
    silences,
    wrong_words,
    requests_that_cannot_be_served,
    more_than_it_may_run,
    replies_that_nobody_takes,
    a_graceful_shutdown,
    a_forced_stop_without_an_api,
    a_start_that_is_given_up,
    a_close_before_the_start,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_a_scenario_goes_as_it_is_written_down(scenario: Callable[[], Recorded]) -> None:
    written = (DIRECTORY / f"{scenario.__name__}.txt").read_text(encoding="utf-8")

    assert scenario().text() == written, "if this is meant, 'make transcripts' writes it down"


def write() -> None:
    """Write all transcripts anew."""
    for scenario in SCENARIOS:
        path = DIRECTORY / f"{scenario.__name__}.txt"
        path.write_text(scenario().text(), encoding="utf-8")


if __name__ == "__main__":
    write()
