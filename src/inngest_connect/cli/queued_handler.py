"""QueuedHandler: the log of the command line, which is written on a separate thread.

Standard error can be a pipe that nobody reads. The program's functions, its import and the SDK log
on the main thread, where a blocked write would stop the worker before it starts, or its event loop.
"""

import logging
import os
import threading
from typing import TextIO

from ..observability.outlet import DRAIN_SECONDS, Call, Outlet


class QueuedHandler(logging.StreamHandler[TextIO]):
    """Records are formatted on the thread that logs, because of its context variables."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._outlet: Outlet[str] = Outlet(self._write, is_frequent=lambda item: type(item) is str)
        self._process = os.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record. Never blocks, except in a forked process."""
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
            warning = {
                "name": "inngest_connect.run",
                "levelno": logging.WARNING,
                "levelname": "WARNING",
                "msg": "log lines were dropped, because nobody read them in time",
                "lines": lost,
                "help": "operations.md#kinds-of-error",
            }
            text += self.terminator + self.format(logging.makeLogRecord(warning))
        self.stream.write(text + self.terminator)
        self.stream.flush()
