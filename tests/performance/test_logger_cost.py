"""What the log costs a request whose records are not read."""

import logging
import timeit

import pytest

from inngest_connect.core import events as seen
from inngest_connect.observability.logger import ConnectLogger

pytestmark = pytest.mark.performance
CALLS = 20_000


@pytest.mark.parametrize(
    ("logger", "limit"), [(False, 10e-6), (logging.Logger("quiet", logging.INFO), 50e-6)]
)
def test_the_records_of_a_request_cost_next_to_nothing(logger: object, limit: float) -> None:
    """Measured 0.25 and 0.65 microseconds; the limits allow for a slow machine
    and for the tracing of coverage."""
    observe = ConnectLogger(logger).observe
    request = (
        seen.RequestReceived("r", "run", "app", "fn", "c"),
        seen.RequestStarted("r", "run", "fn", 0.0),
        seen.RequestCompleted("r", "run", "fn", "DONE", 0.1, 0.0),
        seen.ReplyAcknowledged("r", "socket"),
    )

    def four() -> None:
        for event in request:
            observe(event)

    seconds = min(timeit.repeat(four, number=CALLS, repeat=5)) / CALLS

    assert seconds < limit
