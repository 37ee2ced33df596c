"""What is logged of the clients of a status server, and of uvicorn itself.

uvicorn logs a line for everything that is not HTTP, without the address, on loggers that belong to
the program. A filter on these loggers takes the records of status servers and passes on all others:
a warning becomes one of ours with the client's address, an error one of ours with its traceback,
and the rest is dropped. Records of other uvicorn servers in the process are not touched.
"""

import logging
import time
from contextvars import ContextVar
from typing import Final

from ..core.wire.remote_text import clean
from ..observability.package_logger import package_logger

QUIET_SECONDS: Final = 600.0
_MOST_SOURCES: Final = 64


class ClientLog:
    """Warnings about clients: at most one for each address in ten minutes, then with a count.

    Of more than 64 addresses the others share one line.
    """

    def __init__(self) -> None:
        self._sources: dict[str, tuple[float, int]] = {}
        """When an address was logged last, and how many warnings were counted since."""

    def warn(self, source: str, text: str, now: float) -> None:
        """``source`` is an address without its port, ``now`` in monotonic seconds."""
        if source not in self._sources and len(self._sources) >= _MOST_SOURCES:
            self._sources = {
                each: (logged_at, count)
                for each, (logged_at, count) in self._sources.items()
                if now - logged_at < QUIET_SECONDS
            }
            if len(self._sources) >= _MOST_SOURCES:
                source = "other addresses"
        logged_at, count = self._sources.get(source, (float("-inf"), 0))
        if now - logged_at < QUIET_SECONDS:
            self._sources[source] = (logged_at, count + 1)
            return
        self._sources[source] = (now, 0)
        more = f" ({count} more since the last line)" if count else ""
        package_logger("status").warning("status server: %s: %s%s", source, clean(text), more)


served: Final[ContextVar[tuple[ClientLog, str] | None]] = ContextVar("served", default=None)
"""The log of the status server whose code runs, and the address of the client that it serves.

The server's thread sets it first and each connection sets it when bytes arrive. asyncio copies the
context for callbacks and tasks, so it is right also in the task that answers a request.
"""


class _UvicornRecords(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        context = served.get()
        if context is None:
            return True
        log, source = context
        if record.levelno >= logging.ERROR:
            text = record.getMessage().strip()
            package_logger("status").error(
                "status server: %s: %s", source, clean(text), exc_info=record.exc_info
            )
        elif record.levelno >= logging.WARNING:
            log.warn(source, record.getMessage(), time.monotonic())
        return False


_FILTER: Final = _UvicornRecords()


def take_uvicorn_records() -> None:
    """Add the filter to uvicorn's loggers; may be repeated."""
    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).addFilter(_FILTER)
