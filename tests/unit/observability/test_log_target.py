"""Which loggers ``connect(logger=...)`` takes, and what configures or disables them later."""

import logging
import logging.config
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import structlog

from inngest_connect.errors import ConfigurationError
from inngest_connect.observability.logger import ConnectLogger
from inngest_connect.observability.package_logger import package_logger
from inngest_connect.observability.records import Record
from tests.unit.observability.log_capture import Capture

pytestmark = pytest.mark.unit
HELLO = Record("warning", "hello", {"number": 1})


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger and what hangs below it, as they were before, afterwards."""
    root = logging.getLogger()
    before = root.level, root.handlers[:], logging.root.manager.disable
    loggers = [
        each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger)
    ]
    disabled = {each: each.disabled for each in loggers}
    yield root
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    logging.disable(before[2])
    for logger, was in disabled.items():
        logger.disabled = was


def dict_config(folder: Path) -> None:
    logging.config.dictConfig({"version": 1, "root": {"level": "INFO"}})


def file_config(folder: Path) -> None:
    text = (
        "[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n"
        "[logger_root]\nlevel=INFO\nhandlers=\n"
    )
    (folder / "logging.ini").write_text(text, encoding="utf-8")
    logging.config.fileConfig(folder / "logging.ini")


@pytest.mark.parametrize("configure", [dict_config, file_config])
@pytest.mark.parametrize("target", [None, "inngest_connect", "inngest_connect.mine"])
def test_logging_that_is_configured_later_does_not_silence_the_worker(
    configure: Any, target: str | None, root: logging.Logger, tmp_path: Path
) -> None:
    logger = ConnectLogger(logging.getLogger(target) if target else None)

    configure(tmp_path)
    assert logging.getLogger(target or "inngest_connect").disabled
    capture = Capture()
    root.addHandler(capture)
    logger.write(HELLO)

    assert [record.getMessage()[:14] for record in capture.records] == ["hello number=1"]


def test_other_loggers_of_the_package_are_enabled_where_they_are_used(
    root: logging.Logger, tmp_path: Path
) -> None:
    package_logger("status")
    dict_config(tmp_path)

    assert not package_logger("status").disabled


def test_what_is_switched_off_by_level_stays_off(root: logging.Logger) -> None:
    capture = Capture()
    root.addHandler(capture)
    logger = ConnectLogger(None)

    logging.disable(logging.CRITICAL)
    logger.write(HELLO)
    logging.disable(logging.NOTSET)
    package_logger().setLevel(logging.ERROR)
    try:
        logger.write(HELLO)
    finally:
        package_logger().setLevel(logging.NOTSET)

    assert capture.records == []


def adapter(name: str) -> "logging.LoggerAdapter[logging.Logger]":
    return logging.LoggerAdapter(logging.getLogger(name))


def through_structlog(name: str) -> Any:
    return structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
    )


@pytest.mark.parametrize("wrapped", [logging.getLogger, through_structlog, adapter])
def test_a_logger_of_the_user_that_is_disabled_is_reported_once(
    wrapped: Any, root: logging.Logger, tmp_path: Path
) -> None:
    logger = ConnectLogger(wrapped("users_worker"))
    dict_config(tmp_path)
    capture = Capture()
    root.addHandler(capture)

    logger.write(HELLO)
    logger.write(HELLO)

    (record,) = capture.records
    assert (record.name, record.levelname) == ("inngest_connect", "ERROR")
    assert "'users_worker', and logging.config disables" in record.getMessage()


def test_handlers_that_are_removed_leave_the_last_resort(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    last = logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(logging, "lastResort", last)
    logger = ConnectLogger(None)
    root.handlers[:] = []

    logger.write(HELLO)

    assert "hello number=1" in capsys.readouterr().err


class Loguru:
    """As loguru: keyword arguments fill placeholders, what ``bind`` gets is kept as ``extra``."""

    __module__ = "loguru._logger"

    def __init__(self, written: list[tuple[str, dict[str, Any]]], **extra: Any) -> None:
        self.written = written
        self.extra = extra

    def bind(self, **extra: Any) -> "Loguru":
        return Loguru(self.written, **extra)

    def info(self, message: str, *args: Any, **kwargs: Any) -> None:
        text = message.format(*args, **kwargs) if args or kwargs else message
        self.written.append((text, self.extra))

    debug = warning = error = info


def test_a_logger_that_shows_text_only_gets_the_fields_in_the_text() -> None:
    target = Loguru([])

    ConnectLogger(target).write(Record("warning", "hello", {"reason": "{braces}"}))

    ((text, extra),) = target.written
    assert text == "hello reason={braces} help=operations.md#kinds-of-error"
    assert extra["reason"] == "{braces}"


def without_fields(text: str) -> None:
    """A method of a logger that has no place for fields."""


class Plain:
    debug = info = warning = error = staticmethod(without_fields)


@pytest.mark.parametrize("wrong", [Plain(), logging, ModuleType("log")])
def test_what_cannot_take_fields_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="logger is "):
        ConnectLogger(wrong)


def test_a_filter_that_was_there_before_sees_masked_records_too() -> None:
    """It may hand the record to another thread, as ``off_this_thread`` does."""
    seen: list[str] = []

    def remember(record: logging.LogRecord) -> bool:
        seen.append(f"{record.getMessage()} {record.exc_text}")
        return False

    name = "filtered_before"
    logging.getLogger(f"inngest_connect.{name}").addFilter(remember)
    key = f"signkey-test-{'ab' * 32}"

    try:
        raise RuntimeError(key)
    except RuntimeError:
        package_logger(name).exception("wrong key %s", key)

    assert len(seen) == 1
    assert "RuntimeError" in seen[0]
    assert "abab" not in seen[0]
