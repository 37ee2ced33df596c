"""Logs of ``inngest-connect run``: one root handler, rendered by structlog.

It takes the records of this package, of the SDK and of the user's ``logging`` loggers, and those of
structlog unless the user's module configures structlog itself.
"""

import logging
import os
import sys
from typing import Any, Final, Literal, TextIO, cast

import structlog

from ..execution.log_context import run_fields
from .queued_handler import QueuedHandler

LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

_LEVEL: Final = "INNGEST_CONNECT_LOG_LEVEL"
_FORM: Final = "INNGEST_CONNECT_LOG_FORMAT"
_CHATTY: Final = ("httpx", "httpcore", "uvicorn", "watchfiles")
"""At INFO they log each HTTP request and the status server."""


def _add_run(
    logger: Any, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """What a function logs says which run it works for. Called where the record is made."""
    return {**run_fields(), **event}


_SHARED: Final[tuple[structlog.typing.Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    _add_run,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
)


def configure_logging(
    level: LogLevel, form: LogFormat, handler: logging.Handler | None = None
) -> None:
    """Replace the root logger's handlers. ``handler`` is by default standard error."""
    handler = handler or QueuedHandler(sys.stderr)
    stream: TextIO | None = getattr(handler, "stream", None)
    colors = stream is not None and stream.isatty() and not os.environ.get("NO_COLOR")
    handler.setFormatter(formatter(form, colors=colors))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def child_logging(level: LogLevel, form: LogFormat) -> str:
    """What ``process_executor(prepare=...)`` takes so that children log as this process does.

    The two variables are those of the options: they say the same to the children.
    """
    os.environ.update({_LEVEL: level, _FORM: form})
    return f"{__name__}:configure_child_logging"


def configure_child_logging() -> None:
    """In a child process: as its parent does."""
    level, form = os.environ[_LEVEL], os.environ[_FORM]
    configure_logging(cast("LogLevel", level), cast("LogFormat", form))


def flush_logging() -> None:
    """Wait, a short time, until what was logged is written."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def formatter(form: LogFormat, *, colors: bool) -> logging.Formatter:
    """What renders a record, of structlog or of ``logging``, as one line."""
    processors: list[structlog.typing.Processor]
    if form == "json":
        processors = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=repr),
        ]
    else:
        plain = structlog.dev.plain_traceback
        processors = [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *processors],
    )
