"""Reports of a child arrive while its loop is blocked, and nothing else is taken from it."""

import asyncio
import json
import socket

import pytest

from inngest_connect.core.events import ErrorOccurred
from inngest_connect.execution.processes.reports import Reports, report_from, send_report

pytestmark = pytest.mark.unit
REPORT = ErrorOccurred(
    "loop_blocked", "blocked", "r", run_id="run", function_slug="app-fn", stack="Stack:\n  File"
)


async def test_a_report_arrives_as_it_was_sent() -> None:
    received: list[ErrorOccurred] = []
    arrived = asyncio.Event()

    def receive(report: ErrorOccurred) -> None:
        received.append(report)
        arrived.set()

    reports = Reports(asyncio.get_running_loop(), receive)
    send_report(reports.theirs, REPORT)
    async with asyncio.timeout(20):
        await arrived.wait()
    reports.theirs.send(b"nonsense")
    send_report(reports.theirs, ErrorOccurred("loop_free", "free"))
    reports.close()
    reports.close()

    assert received == [REPORT, ErrorOccurred("loop_free", "free")]


def test_to_send_neither_blocks_nor_raises_when_nobody_reads() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with theirs:
        for _ in range(10_000):
            send_report(theirs, REPORT)
        ours.close()
        send_report(theirs, REPORT)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b"\xff", json.dumps({"kind": "loop_blocked"}).encode(), b"[" * 5000]
    + [json.dumps({**dict.fromkeys(("message", "request_id", "run_id", "function_slug", "stack")),
                   "kind": kind}).encode() for kind in ("reply_evicted", 3, None)],
)  # fmt: skip
def test_what_a_child_should_not_send_is_dropped(data: bytes) -> None:
    assert report_from(data) is None


def test_texts_of_a_child_are_cleaned_and_shortened() -> None:
    fields = {
        "kind": "loop_free", "message": "\x1b" + "m" * 5000, "request_id": "r" * 999,
        "run_id": None, "function_slug": None, "stack": "a\n\x07b",
    }  # fmt: skip

    report = report_from(json.dumps(fields).encode())

    assert report is not None
    assert report.message == "\\x1b" + "m" * 999 + "..."
    assert report.request_id == "r" * 200 + "..."
    assert report.stack == "a\n\\x07b"
