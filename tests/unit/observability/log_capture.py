"""A logger that keeps its records."""

import io
import logging
from typing import Any


class Capture(logging.Handler):
    """Keeps records, and what a plain handler would have printed."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.records: list[logging.LogRecord] = []
        self.printed = io.StringIO()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.printed.write(self.format(record) + "\n")

    @property
    def sequence(self) -> list[tuple[str, str]]:
        return [(record.levelname, vars(record)["event"]) for record in self.records]

    def fields(self, index: int = -1) -> dict[str, Any]:
        return vars(self.records[index])

    def everything(self) -> str:
        """All that any formatter could get at."""
        return self.printed.getvalue() + "".join(str(vars(record)) for record in self.records)


def captured(level: int = logging.DEBUG) -> tuple[logging.Logger, Capture]:
    """A logger outside the tree, and its records."""
    logger, capture = logging.Logger("test", level), Capture()
    logger.addHandler(capture)
    return logger, capture
