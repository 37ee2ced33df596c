"""QueuedHandler: the log of the command line, which is written on a thread of its own.

Standard error can be a pipe that nobody reads. The program's functions, its import and the SDK log
on the main thread, where a blocked write would stop the worker before it starts, or its event loop.
"""

import logging
import os
import threading
from typing import TextIO

from ..observability.outlet import DRAIN_SECONDS, Call, Outlet


class QueuedHandler(logging.StreamHandler[TextIO]):
    """Records are formatted where they are made, for their context variables."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._outlet: Outlet[str] = Outlet(self._write, is_frequent=lambda item: type(item) is str)
        self._process = os.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        if os.getpid() != self._process:
            # A process that a function forked has no such thread, and may end without flushing.
            super().emit(record)
            return
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - as every handler of logging
            self.handleError(record)
            return
        self._outlet.put(text)

    def flush(self) -> None:
        """Wait until all that was logged is written, but no longer than two seconds."""
        if os.getpid() != self._process:
            super().flush()
        elif not self._outlet.abandoned:
            written = threading.Event()
            self._outlet.put(Call(written.set))
            written.wait(DRAIN_SECONDS)

    def _write(self, text: str) -> None:
        lost = self._outlet.newly_dropped()
        if lost:
            text += self.terminator + self.format(_dropped(lost))
        self.stream.write(text + self.terminator)
        self.stream.flush()


def _dropped(lines: int) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": "inngest_connect.run",
            "levelno": logging.WARNING,
            "levelname": "WARNING",
            "msg": "log lines were dropped, because nobody read them in time",
            "lines": lines,
        }
    )
