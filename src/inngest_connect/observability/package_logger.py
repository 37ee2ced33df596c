"""``package_logger``: the only way to a logger of this package, because it redacts.

A record that is printed past ConnectLogger, by a library that was given one of these loggers or by
a line that somebody adds later, is masked before any handler sees it: message, arguments, extra
fields, traceback and stack.
"""

import logging
import traceback
from typing import Final

from .redaction import masked, redact_text

ROOT: Final = "inngest_connect"
RESERVED: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""Attributes of a record that are not fields."""


class RedactingFilter(logging.Filter):
    """Lets every record pass, masked."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask ``record`` in place."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a wrong format is printed as it is, as logging does
            message = f"{record.msg} {record.args}"
        record.msg = redact_text(message)
        record.args = ()
        if record.exc_info is not None and record.exc_info[1] is not None:
            record.exc_text = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
        # A handler that finds the exception itself would print it, secrets included.
        record.exc_info = None
        if record.exc_text:
            record.exc_text = redact_text(record.exc_text)
        if record.stack_info:
            record.stack_info = redact_text(record.stack_info)
        if record.levelno >= logging.WARNING and not hasattr(record, "help"):
            record.help = "operations.md#runbooks"
        for key, value in list(vars(record).items()):
            if key not in RESERVED:
                setattr(record, key, masked(key, value, redact_text))
        return True


_FILTER: Final = RedactingFilter()


def package_logger(name: str = "") -> logging.Logger:
    """The logger "inngest_connect", or the one of that name below it.

    Look it up where it is used: ``logging.config`` disables the loggers that exist, by default, and
    this enables it again. What is not wanted is switched off by its level.
    """
    logger = logging.getLogger(f"{ROOT}.{name}" if name else ROOT)
    logger.disabled = False
    if _FILTER not in logger.filters:
        # The first: one before it could show a record, or hand it to another thread, unmasked.
        logger.filters.insert(0, _FILTER)
    return logger


def silent_logger(name: str) -> "logging.LoggerAdapter[logging.Logger]":
    """For a library that logs every connection: its records reach only handlers of this logger.

    An adapter, because picows creates children of a plain logger, and a child's records do not pass
    the filter of its parent.
    """
    logger = package_logger(name)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logging.LoggerAdapter(logger, {})
