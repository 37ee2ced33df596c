"""ConnectLogger and redaction."""

import logging
from typing import Any

import pytest
import structlog

from inngest_connect.core import observations as seen
from inngest_connect.observability.logger import ConnectLogger
from inngest_connect.observability.redaction import Redactor
from inngest_connect.state_machine import ConnectionState as S

pytestmark = pytest.mark.unit
CANARY = "canary-5e1f"


@pytest.fixture
def records() -> list[logging.LogRecord]:
    return []


@pytest.fixture
def target(records: list[logging.LogRecord]) -> logging.Logger:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.Logger("test", logging.DEBUG)
    logger.addHandler(Handler())
    return logger


def test_the_four_levels_carry_their_fields_and_context(
    target: logging.Logger, records: list[logging.LogRecord]
) -> None:
    logger = ConnectLogger(target).bind(instance_id="i")

    logger.debug("a", number=1)
    logger.info("b")
    logger.warn("c")
    logger.error("d")

    assert [(r.levelname, r.getMessage()) for r in records] == [
        ("DEBUG", "a"), ("INFO", "b"), ("WARNING", "c"), ("ERROR", "d"),
    ]  # fmt: skip
    assert all(vars(r)["instance_id"] == "i" for r in records)
    assert vars(records[0])["number"] == 1


def test_silence_is_silence(records: list[logging.LogRecord]) -> None:
    logger = ConnectLogger(False)

    logger.error("a")
    logger.observe(seen.ErrorOccurred("x", "y"))

    assert records == []


def test_a_structlog_logger_of_the_users_is_used_as_it_is() -> None:
    entries: list[Any] = []
    base = structlog.wrap_logger(None, processors=[lambda _l, _m, e: entries.append(e) or ""])
    with structlog.testing.capture_logs() as captured:
        ConnectLogger(structlog.get_logger()).warn("hello", number=1)

    assert captured == [{"event": "hello", "number": 1, "log_level": "warning"}]
    assert base is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"authorization": f"Bearer {CANARY}"},
        {"session_token": CANARY},
        {"nested": {"signing_key": CANARY}},
        {"items": [{"sync_token": CANARY}]},
        {"detail": f"refused Bearer {CANARY}, sorry"},
        {"detail": f"the key signkey-prod-{CANARY.replace('-', '')} is wrong"},
        {"detail": f"known {CANARY} by value"},
        {"error": ValueError(f"oops {CANARY}")},
        {"payload": CANARY.encode()},
    ],
)
def test_no_secret_reaches_a_record(
    fields: dict[str, Any], target: logging.Logger, records: list[logging.LogRecord]
) -> None:
    ConnectLogger(target, Redactor([CANARY])).error("event", **fields)

    (record,) = records
    assert "canary" not in str(vars(record))
    assert "***" in str(vars(record))


def test_short_texts_are_not_taken_for_secrets() -> None:
    assert Redactor(["abc"]).text("abc abc") == "abc abc"


def test_a_life_without_trouble_is_a_few_info_records(
    target: logging.Logger, records: list[logging.LogRecord]
) -> None:
    logger = ConnectLogger(target)
    for observation in (
        seen.WebSocketOpened("c", "g"),
        seen.StateChanged(S.CONNECTING, S.ACTIVE),
        seen.Connected("c", "g", 0.01),
        seen.RequestReceived("r", "run", "app", "fn", "c"),
        seen.RequestCompleted("r", "run", "fn", "DONE", 0.1, 0.0),
        seen.ReplyAcknowledged("r", "socket"),
        seen.Draining("c", "g"),
        seen.Disconnected("c", "g", 1000, "", True),
    ):
        logger.observe(observation)

    assert [r.getMessage() for r in records if r.levelno >= logging.INFO] == [
        "state_change", "connected", "draining", "disconnected",
    ]  # fmt: skip
    assert not [r for r in records if r.levelno > logging.INFO]


def test_trouble_is_a_warning_and_a_lost_result_an_error(
    target: logging.Logger, records: list[logging.LogRecord]
) -> None:
    logger = ConnectLogger(target)
    for observation in (
        seen.Disconnected("c", "g", 1006, "", False),
        seen.Reconnecting(1, 1.0, "refused"),
        seen.Reconnecting(0, 0.0, "lost"),
        seen.LeaseLost("r", "run", "fn"),
        seen.ErrorOccurred("start_failed", "refused"),
        seen.ErrorOccurred("flush_failed", "500"),
        seen.ErrorOccurred("reply_evicted", "full", request_id="r"),
        seen.ErrorOccurred("start_failed", "no key", fatal=True),
    ):
        logger.observe(observation)

    assert [r.levelname for r in records] == [
        "WARNING", "WARNING", "INFO", "WARNING", "DEBUG", "WARNING", "ERROR", "ERROR",
    ]  # fmt: skip
    assert vars(records[6])["request_id"] == "r"


def test_malformed_messages_are_logged_once_per_kind(
    target: logging.Logger, records: list[logging.LogRecord]
) -> None:
    logger = ConnectLogger(target)
    for kind in ("a", "b", "a", "a"):
        logger.observe(seen.ErrorOccurred("malformed_message", f"malformed: {kind}"))

    assert len(records) == 2


def test_request_records_are_not_even_built_when_nobody_reads_them() -> None:
    quiet = logging.Logger("quiet", logging.INFO)

    assert not ConnectLogger(quiet)._debugging()
    assert ConnectLogger(logging.Logger("loud", logging.DEBUG))._debugging()
