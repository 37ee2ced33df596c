"""How much is logged: an hour of virtual time through the real core."""

import logging

import pytest

from inngest_connect.core import inputs
from inngest_connect.core.events import Event
from inngest_connect.core.retry import FixedRetry, RetryStrategy, ScheduleRetry
from inngest_connect.observability.logger import ConnectLogger
from inngest_connect.protocol import connect_pb2 as pb
from tests.unit.core.conversation import Conversation
from tests.unit.observability.log_capture import Capture, captured

pytestmark = pytest.mark.unit
K = pb.GatewayMessageType
HOUR = 3600.0


class Logged(Conversation):
    """A conversation whose events go to a logger at INFO."""

    def __init__(self, retry: RetryStrategy | None = None) -> None:
        super().__init__(retry)
        target, self.capture = captured(logging.INFO)
        self.logger = ConnectLogger(target, clock=lambda: self.now)

    def happens(self, event: inputs.Input) -> list[object]:  # type: ignore[override]
        commands = super().happens(event)
        for command in commands:
            if isinstance(command, Event):
                self.logger.observe(command)
        return list(commands)

    def serves(self, seconds: float, generation: int) -> None:
        """A request a second, and heartbeats."""
        for number in range(int(seconds)):
            request_id = f"{generation}-{number}"
            self.request(request_id, generation)
            self.function_returns(request_id)
            self.reply_acked(request_id, generation)
            self.passes(1.0)
            self.gateway_says(generation, K.GATEWAY_HEARTBEAT)

    def fails_to_connect(self, seconds: float, causes: tuple[str, ...]) -> int:
        """Every attempt fails immediately. Returns how many there were."""
        until, attempts = self.now + seconds, 0
        while self.now < until:
            attempt = self.core.connections.attempt
            if attempt is None:
                self.passes(1.0)
                continue
            cause = causes[attempts % len(causes)]
            attempts += 1
            self.happens(inputs.StartFailed(attempt.number, None, cause))
        return attempts


def occurrences(capture: Capture, event: str) -> int:
    """How many occurrences the log accounts for, those in summaries included."""
    fields = [vars(r) for r in capture.records if vars(r)["event"] == event]
    return sum(each.get("repeated", 1) for each in fields)


def test_an_hour_of_health_is_under_ten_lines() -> None:
    worker = Logged()

    worker.connected()
    worker.serves(HOUR / 2, 1)
    worker.gateway_says(1, K.GATEWAY_CLOSING)
    worker.becomes_ready(2)
    worker.happens(inputs.SocketClosed(1, 1000, ""))
    worker.serves(HOUR / 2, 2)

    assert worker.core.counters["requests_received"] == HOUR
    assert worker.capture.sequence == [
        ("INFO", "connected"),
        ("INFO", "draining"),
        ("INFO", "connected"),
        ("INFO", "disconnected"),
    ]


@pytest.mark.parametrize(
    ("retry", "lines"), [(ScheduleRetry(), 25), (FixedRetry(1.0), 15), (FixedRetry(10.0), 15)]
)
def test_an_hour_of_outage_stays_readable(retry: RetryStrategy, lines: int) -> None:
    worker = Logged(retry)
    worker.connected()
    worker.happens(inputs.SocketClosed(1, 1006, ""))

    attempts = worker.fails_to_connect(HOUR, ("http://api could not be reached: refused",))
    attempt = worker.core.connections.attempt
    while attempt is None:
        worker.passes(1.0)
        attempt = worker.core.connections.attempt
    worker.becomes_ready(attempt.number)
    worker.logger.close()

    assert len(worker.capture.records) <= lines
    assert occurrences(worker.capture, "reconnecting") == attempts + 1
    assert worker.capture.sequence[-1] == ("INFO", "connected")


def test_an_outage_with_changing_causes_stays_readable() -> None:
    worker = Logged(FixedRetry(1.0))
    worker.connected()
    worker.happens(inputs.SocketClosed(1, 1006, ""))

    attempts = worker.fails_to_connect(HOUR, ("refused", "no route", "HTTP 502", "timed out"))
    worker.logger.close()

    assert attempts > 3000
    assert len(worker.capture.records) <= 50
    assert occurrences(worker.capture, "reconnecting") == attempts + 1


def test_a_connection_that_flaps_for_an_hour_stays_readable() -> None:
    worker = Logged(FixedRetry(1.0))  # by default a connection that dies young slows down
    worker.starts()
    flaps = 0
    until = worker.now + HOUR

    while worker.now < until:
        attempt = worker.core.connections.attempt
        if attempt is not None:
            flaps += 1
            worker.becomes_ready(attempt.number)
            worker.happens(inputs.SocketClosed(attempt.number, 1006, ""))
        worker.passes(1.0)
    worker.logger.close()

    assert flaps > 3000
    assert len(worker.capture.records) <= 50
    for event in ("connected", "disconnected", "reconnecting"):
        assert occurrences(worker.capture, event) == flaps
