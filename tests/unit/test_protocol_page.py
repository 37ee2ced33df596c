"""docs/protocol.md has the numbers of the code."""

import re

import pytest

from inngest_connect.core.connections.attempts import DRAIN_SPREAD, GOING_AWAY_SPREAD
from inngest_connect.core.connections.heartbeat import DRAIN_PATIENCE, LONGEST_MESSAGE
from inngest_connect.core.requests.answered_requests import REPEAT_WINDOW
from inngest_connect.core.requests.leases import UNANSWERED_RETRY
from inngest_connect.core.requests.long_running import LONGEST_RUN
from inngest_connect.core.retry import (
    DEFAULT_SCHEDULE,
    FLUSH_JITTER,
    FLUSH_SCHEDULE,
    JITTER,
    LONGEST_JITTER,
)
from inngest_connect.core.settings import Timing
from inngest_connect.protocol import (
    DEFAULT_EXTEND_LEASE_INTERVAL,
    DEFAULT_HEARTBEAT_INTERVAL,
    GATEWAY_READ_LIMIT,
    MAX_EXTEND_LEASE_INTERVAL,
)
from inngest_connect.protocol import connect_pb2 as pb
from tests.pages import ROOT

pytestmark = pytest.mark.unit
PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text below a heading, on one line."""
    found = re.split(rf"^#+ {title}$", PAGE, flags=re.M)[1]
    return " ".join(re.split(r"^#", found, maxsplit=1, flags=re.M)[0].split())


def test_every_kind_of_message_is_listed_with_its_number_and_its_sender() -> None:
    rows = re.findall(r"^\| ([A-Z_]+) \| (\d+) \| (worker|gateway) \|", PAGE, re.M)
    answers = {"WORKER_REPLY_ACK", "WORKER_REQUEST_EXTEND_LEASE_ACK", "SYNC_FAILED"}

    assert {name: int(number) for name, number, _ in rows} == dict(pb.GatewayMessageType.items())
    for name, _, sender in rows:
        is_gateways = name.startswith("GATEWAY_") or name in answers
        assert sender == ("gateway" if is_gateways else "worker"), name


@pytest.mark.parametrize(
    ("title", "text", "values"),
    [
        ("Handshake", "waits {:g} s for the open socket, {:g} s for HELLO and **{:g} s**",
         (Timing().open_timeout, Timing().hello_timeout, Timing().ready_timeout)),
        ("Start", "limits the whole exchange to {:g} s", (Timing().start_timeout,)),
        ("Flush", "flushes a reply {:g} s after", (Timing().reply_ack_timeout,)),
        ("Flush", "about {:g}, {:g}, {:g}, {:g}, {:g}, then every {:g} s", FLUSH_SCHEDULE),
        ("Reconnecting", "about {:g}, {:g}, {:g}, {:g}, {:g}, {:g}, {:g}, {:g}, then every {:g} s",
         DEFAULT_SCHEDULE[1:]),
        ("Reconnecting", "with {:.0f} % of jitter, at most {:g} s", (JITTER * 100, LONGEST_JITTER)),
        ("Refusals", "up to {:.0f} % of jitter on flush", (FLUSH_JITTER * 100,)),
        ("Drain", "after 0 to {:g} s of jitter", (DRAIN_SPREAD,)),
        ("Close codes", "connects elsewhere within {:g} s", (GOING_AWAY_SPREAD,)),
        ("Drain", "for at most {:g} s (`Timing.drain_ack_timeout`)",
         (Timing().drain_ack_timeout,)),
        ("Pause", "PAUSE {:g} ms after", (Timing().pause_delay * 1000,)),
        ("Shutdown", "get {:g} s (`Timing.final_flush_timeout`)",
         (Timing().final_flush_timeout,)),
        ("Heartbeat", "slower than every {:g} s", (DEFAULT_HEARTBEAT_INTERVAL,)),
        ("Heartbeat", "at most {:g} s after the last complete message", (LONGEST_MESSAGE,)),
        ("Heartbeat", "given up after {:g} s of silence", (DRAIN_PATIENCE,)),
        ("Leases", "never above {:g} s", (MAX_EXTEND_LEASE_INTERVAL,)),
        ("Leases", "repeated after at most {:g} s", (UNANSWERED_RETRY,)),
        ("Requests", "answered within the last {:g} s", (REPEAT_WINDOW,)),
        ("Requests", "**{:g} hours** for one request", (LONGEST_RUN / 3600,)),
        ("Durations", "{:g} s for heartbeats, {:g} s for extensions",
         (DEFAULT_HEARTBEAT_INTERVAL, DEFAULT_EXTEND_LEASE_INTERVAL)),
        ("Limits", "**{:g} MiB**", (GATEWAY_READ_LIMIT / 2**20,)),
    ],
)  # fmt: skip
def test_a_number_is_that_of_the_code(title: str, text: str, values: tuple[float, ...]) -> None:
    assert text.format(*values) in section(title)
