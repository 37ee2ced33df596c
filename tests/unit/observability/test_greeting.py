"""A person at a terminal without logging sees that the worker is ready; nobody else gets that."""

import io
import logging
import sys

import pytest

from inngest_connect.core import events as seen
from inngest_connect.observability.greeting import greeting, introduced
from inngest_connect.observability.logger import ConnectLogger
from tests.unit.observability.log_capture import Capture

pytestmark = pytest.mark.unit
FIRST = introduced({"shop": ("charge", "greet"), "mail": ("send",)}, "http://127.0.0.1:8288")
CONNECTED = seen.Connected("c", "g", 0.01, None, "ws://127.0.0.1:8289/v0/connect")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def without_handlers(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """The logger of this package in a program that has set up no logging; pytest has."""
    logger = logging.getLogger("inngest_connect")
    monkeypatch.setattr(logger, "hasHandlers", lambda: False)
    return logger


def shown(monkeypatch: pytest.MonkeyPatch, stream: object, logger: object = None) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    target = ConnectLogger(logger, first=FIRST)
    target.observe(CONNECTED)
    target.observe(CONNECTED)


def test_the_first_connection_is_shown_once_with_apps_and_addresses(
    monkeypatch: pytest.MonkeyPatch, without_handlers: logging.Logger
) -> None:
    terminal = Terminal()

    shown(monkeypatch, terminal)

    assert terminal.getvalue() == (
        "inngest-connect: ready: mail, shop with 3 functions, connected to http://127.0.0.1:8288 "
        "(gateway ws://127.0.0.1:8289/v0/connect). Ctrl-C stops it; "
        "logging.basicConfig(level=logging.INFO) shows more\n"
    )


@pytest.mark.parametrize("logger", [False, logging.Logger("own")])
def test_who_chose_a_logger_gets_no_such_line(
    monkeypatch: pytest.MonkeyPatch, without_handlers: logging.Logger, logger: object
) -> None:
    terminal = Terminal()

    shown(monkeypatch, terminal, logger)

    assert terminal.getvalue() == ""


def test_a_program_that_logs_has_a_record_instead(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "inngest_connect")
    terminal, log = Terminal(), Capture()
    monkeypatch.setattr(logging.getLogger("inngest_connect"), "handlers", [log])

    shown(monkeypatch, terminal)

    assert terminal.getvalue() == ""
    first, second = (log.fields(index) for index in range(2))
    assert (first["apps"], first["functions"]) == (["mail", "shop"], 3)
    assert (first["api_origin"], "api_origin" in second) == ("http://127.0.0.1:8288", False)
    assert second["gateway_url"] == "ws://127.0.0.1:8289/v0/connect"


class Closed(Terminal):
    def write(self, text: str) -> int:
        raise ValueError("closed")


@pytest.mark.parametrize("stream", [io.StringIO(), None, object(), Closed()])
def test_a_file_or_a_broken_stream_gets_nothing_and_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch, without_handlers: logging.Logger, stream: object
) -> None:
    shown(monkeypatch, stream)

    assert not isinstance(stream, io.StringIO) or stream.getvalue() == ""


def test_many_apps_are_shortened_and_one_function_is_singular() -> None:
    fields = introduced({f"app{number}": () for number in range(7)}, "http://h")

    text = greeting({**fields, "functions": 1, "gateway_group": "g"})

    assert text.startswith(
        "inngest-connect: ready: app0, app1, app2, app3, app4 and 2 more with 1 function, "
        "connected to http://h (gateway g). "
    )
