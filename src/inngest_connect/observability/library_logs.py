"""``off_this_thread``: log records that libraries write on a thread of this package leave it, too.

On the I/O thread httpx logs every request at INFO, and asyncio every exception that nothing
retrieved; the status server logs on its own thread. Their handlers are the program's, and may
block: a standard error that nobody reads must stop neither of these threads.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

_LOGGERS: Final = (
    "aiohappyeyeballs",
    "asyncio",
    "inngest_connect.status",
    "httpx",
    # A filter applies to the records of its own logger only, not to those of children.
    *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")),
)

Put = Callable[[Callable[[], None]], None]

_threads: Final[dict[int, Put]] = {}


class _OffThread(logging.Filter):
    """Lets records of other threads pass, and hands over those of ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        put = _threads.get(record.thread or 0)
        # A record of ours that another thread handles, as a QueueListener does, may block that one.
        if put is None or threading.get_ident() != record.thread:
            return True
        put(partial(logging.getLogger(record.name).callHandlers, record))
        return False


_FILTER: Final = _OffThread()


@contextlib.contextmanager
def off_this_thread(put: Put) -> Iterator[None]:
    """Until the end of the block, ``put`` gets what writes a record that this thread makes."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
    ident = threading.get_ident()
    _threads[ident] = put
    try:
        yield
    finally:
        if _threads.get(ident) is put:
            del _threads[ident]
