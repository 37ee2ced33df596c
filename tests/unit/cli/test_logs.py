"""Logs of the run command: one handler, two forms."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from inngest_connect.cli.logs import LogFormat, LogLevel, configure_logging

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def configured(level: LogLevel, form: LogFormat) -> io.StringIO:
    stream = io.StringIO()
    configure_logging(level, form, logging.StreamHandler(stream))
    return stream


def test_json_has_the_same_keys_for_logging_and_structlog() -> None:
    stream = configured("info", "json")

    logging.getLogger("shop").info("sold %d", 3, extra={"order": 7})
    structlog.get_logger("shop").info("sold", order=7)
    structlog.get_logger("shop").debug("not shown")

    standard, structured = map(json.loads, stream.getvalue().splitlines())
    assert standard.keys() == structured.keys() == {
        "timestamp", "level", "event", "logger", "order",
    }  # fmt: skip
    assert standard["event"] == "sold 3"


def test_json_takes_what_json_cannot() -> None:
    stream = configured("info", "json")

    logging.getLogger("shop").info("x", extra={"thing": {1, 2}})

    assert json.loads(stream.getvalue())["thing"] == "{1, 2}"


def test_an_exception_does_not_show_local_variables() -> None:
    """They could be payloads or keys."""
    for form in ("json", "console"):
        stream = configured("info", form)
        secret = "canary"
        try:
            raise ValueError(len(secret))
        except ValueError:
            logging.getLogger("shop").exception("failed")

        assert "ValueError: 6" in stream.getvalue()
        assert "'canary'" not in stream.getvalue()


def test_the_console_has_colors_in_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def line() -> str:
        terminal = Terminal()
        configure_logging("info", "console", logging.StreamHandler(terminal))
        logging.getLogger("shop").info("x")
        return terminal.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = line()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = line()
    piped = configured("info", "console")
    logging.getLogger("shop").info("x")

    assert "\x1b[" in coloured
    assert "\x1b[" not in plain + piped.getvalue()


def test_other_peoples_http_logs_are_left_out() -> None:
    stream = configured("debug", "console")

    logging.getLogger("httpx").info("HTTP Request: POST ...")
    logging.getLogger("inngest_connect").debug("request_received")

    assert "HTTP Request" not in stream.getvalue()
    assert "request_received" in stream.getvalue()
