"""What a command writes and returns when it ends with an error: two lines, and an exit code."""

import os
import traceback
from typing import Final

from ..aio.process_exit import write_last_words
from ..core.wire.user_text import shown_error
from ..errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    StartupTimeout,
    UnsupportedSDKError,
    WorkAbandoned,
    WorkerCrashed,
)
from ..observability.redaction import Redactor
from .logs import flush_logging

ABANDONED: Final = 1
WRONG_USAGE: Final = 2
CRASHED: Final = 3
_WRITE_LIMIT: Final = 2.0
"""Seconds for the message, as standard error can be a pipe that nobody reads."""

_CODES: Final[tuple[tuple[type[ConnectError], int, str], ...]] = (
    (WorkAbandoned, ABANDONED, "A longer --shutdown-timeout gives work more time to finish."),
    (
        AuthenticationError,
        WRONG_USAGE,
        "Check INNGEST_SIGNING_KEY and INNGEST_ENV; inngest-connect doctor finds the cause.",
    ),
    (UnsupportedSDKError, WRONG_USAGE, "Install a version of inngest that works."),
    (ConfigurationError, WRONG_USAGE, "See inngest-connect run --help; --traceback shows where."),
    (StartupTimeout, CRASHED, "Find the cause with inngest-connect doctor."),
    (WorkerCrashed, CRASHED, "Please report this, with what --traceback shows."),
    (ConnectError, CRASHED, "--traceback shows where it comes from."),
)


def write_failure(error: ConnectError, *, with_traceback: bool) -> int:
    """Write the error to standard error and return the exit code that belongs to it."""
    code, advice = next((code, text) for kind, code, text in _CODES if isinstance(error, kind))
    message = str(error)
    if isinstance(error, WorkerCrashed) and error.__cause__ is not None:
        message = f"{message}: {shown_error(error.__cause__)}"
    # A message of several lines ends with its own advice.
    lines = message if "\n" in message else f"{message}\n{advice}"
    if with_traceback:
        lines = "".join(traceback.format_exception(error)) + lines
    flush_logging()  # what was logged before comes first
    text = Redactor().text(f"inngest-connect: {lines}\n")
    if not write_last_words(text, _WRITE_LIMIT):
        os._exit(code)  # nobody reads standard error, and the interpreter would wait for it too
    return code
