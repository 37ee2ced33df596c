"""The log of the command line: written elsewhere, in order, and bounded."""

import io
import json
import logging
import os
import threading

import pytest

from inngest_connect.cli.logs import formatter
from inngest_connect.cli.queued_handler import QueuedHandler

pytestmark = pytest.mark.unit


class Blocked(io.StringIO):
    """A stream whose reader has stopped; ``reached`` is set when somebody writes."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.released = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        self.released.wait(30)
        return super().write(text)


def record(text: str) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": text, "name": "shop"})


def test_lines_are_written_in_order_and_flush_waits_for_them() -> None:
    stream = io.StringIO()
    handler = QueuedHandler(stream)

    for number in range(100):
        handler.handle(record(f"line {number}"))
    handler.flush()

    assert stream.getvalue() == "".join(f"line {number}\n" for number in range(100))


def test_a_reader_that_has_stopped_delays_nobody_and_what_is_lost_is_told() -> None:
    stream = Blocked()
    handler = QueuedHandler(stream)
    handler.setFormatter(formatter("json", colors=False))

    handler.handle(record("first"))
    assert stream.reached.wait(10)
    for _ in range(8_100):
        handler.handle(record("more"))
    stream.released.set()
    handler.flush()
    handler.handle(record("last"))
    handler.flush()

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    told = [line["lines"] for line in lines if "were dropped" in line["event"]]
    assert lines[0]["event"] == "first"
    assert len([line for line in lines if line["event"] == "more"]) + sum(told) == 8_100
    assert sum(told) >= 100


def test_a_record_that_cannot_be_formatted_is_handled_as_logging_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = QueuedHandler(io.StringIO())

    handler.handle(logging.makeLogRecord({"msg": "%d", "args": ("x",)}))

    assert "Logging error" in capsys.readouterr().err


def test_a_forked_process_writes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    handler = QueuedHandler(stream)
    monkeypatch.setattr(os, "getpid", lambda: -1)

    handler.handle(record("of a child"))
    handler.flush()

    assert stream.getvalue() == "of a child\n"
