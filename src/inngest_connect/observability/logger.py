"""ConnectLogger: the log records of one worker.

Records go to the standard ``logging`` tree under "inngest_connect", with the fields both in the
text and as ``extra``; or as they are to a structlog logger. Everything passes the redactor, and
what repeats itself is folded. docs/logging.md has the levels, the fields and the order of records.
"""

import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from ..core import events as seen
from ..core.wire.user_text import shown_error
from .greeting import greet
from .help import help_of
from .log_target import (
    NUMBERS,
    checked_target,
    is_standard,
    level_check,
    standard_logger,
    stays_disabled,
    takes_text,
)
from .package_logger import RESERVED, package_logger
from .records import REQUESTS, Record, record_of
from .redaction import Redactor
from .repetition import Folding

MOST_REQUESTS: Final = 10_000
_OF_REQUESTS: Final = ("run_id", "function_slug", "connection_id", "gateway_group")


class ConnectLogger:
    """Belongs to one thread, which the target may block.

    ``context`` is in every record, ``introduction`` in ``connected``, and ``first`` in the first of
    these; ``clock`` is in seconds.
    """

    def __init__(
        self,
        logger: Any = None,
        redactor: Redactor | None = None,
        context: dict[str, Any] | None = None,
        introduction: dict[str, Any] | None = None,
        first: dict[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``logger`` is a ``logging.Logger``, a structlog logger, None for the default, or False.

        False is silence. Raises ConfigurationError for something that is not a logger.
        """
        self._target = checked_target(logger)
        self._is_default = logger is None
        self._is_enabled: Callable[[int], bool] | None = None
        self._standard: logging.Logger | None = None
        self._redactor = redactor if redactor is not None else Redactor()
        self._context = context or {}
        self._introduction = introduction or {}
        self._first = first or {}
        self._clock = clock
        self._folding = Folding()
        self._connection: dict[str, Any] = {}
        """Id and gateway group of the connection that serves."""
        self._requests: OrderedDict[str, dict[str, Any]] = OrderedDict()
        """What earlier events said of a request, at DEBUG only."""
        self._complaints: set[str] = set()

    def observe(self, event: seen.Event) -> None:
        """Write the record of an event, or count it as a repetition."""
        if self._target is None:
            return
        at_debug = self._enabled(logging.DEBUG)
        if type(event) in REQUESTS and not at_debug:
            return  # the most frequent case: nothing is built
        now = self._clock()
        record = record_of(event)
        if record.level != "debug":
            self._add_context(event, record.fields)
            due = self._folding.add(record, now)
            if not any(one is record for one in due):
                due.append(Record("debug", record.event, record.fields))
        else:
            due = self._folding.passed(now)
            if at_debug:
                self._add_context(event, record.fields)
                due.append(record)
        for one in due:
            self.write(one)
        if self._first and type(event) is seen.Connected:
            self._first = {}
            if self._is_default:
                greet(package_logger(), self._redactor.fields(record.fields))

    def writes_requests(self) -> bool:
        """Whether the records of each request, which are DEBUG, go anywhere."""
        return self._target is not None and self._enabled(logging.DEBUG)

    def close(self) -> None:
        """Write what was counted and not reported yet."""
        for record in self._folding.close(self._clock()):
            self.write(record)

    def write(self, record: Record) -> None:
        """Write ``record``, masked, if its level is enabled. Raises nothing."""
        if self._target is None or not self._enabled(NUMBERS[record.level]):
            return
        target = self._target
        try:
            event = self._redactor.text(record.event)
            fields = self._redactor.fields(record.fields)
            # For people: nobody reads the tenth digit of a delay.
            fields.update({k: float(f"{v:.4g}") for k, v in fields.items() if type(v) is float})
            if record.level in ("warning", "error"):
                fields["help"] = help_of(record.event, fields.get("kind"))
            everything = {**self._redactor.fields(self._context), **fields}
            if not is_standard(target) and not takes_text(target):
                getattr(target, record.level)(event, **everything)
                return
            # The text says what a plain handler shows; the same fields are attributes.
            exception = fields.pop("exception", None)
            text = " ".join([event, *(f"{key}={_shown(value)}" for key, value in fields.items())])
            if exception is not None:
                text = f"{text}\n{exception}"
            if not is_standard(target):
                bound = target.bind(**everything) if hasattr(target, "bind") else target
                getattr(bound, record.level)(text)
                return
            attributes = {"event": event, **everything}
            extra = {f"{key}_" if key in RESERVED else key: attributes[key] for key in attributes}
            target.log(NUMBERS[record.level], text, extra=extra)
        except BaseException as broken:  # noqa: BLE001 - user code; observers come after the log
            self._complain("raised", self._redactor.text(shown_error(broken)))

    def _complain(self, what: str, more: str) -> None:
        """Once: what a logger of the user does to its records, in the log of this package."""
        if what in self._complaints:
            return
        self._complaints.add(what)
        with contextlib.suppress(BaseException):  # its handlers are user code, too
            text = "the logger given to connect() %s %s; its records are lost"
            package_logger().error(text, what, more)

    def _enabled(self, level: int) -> bool:
        if self._is_enabled is None:
            self._is_enabled = level_check(self._target)
            self._standard = standard_logger(self._target)
        standard = self._standard
        if standard is not None and standard.disabled and stays_disabled(standard):
            self._complain(
                "is disabled:",
                f"it is {standard.name!r}, and logging.config disables the loggers that exist, "
                "unless disable_existing_loggers is False",
            )
        return self._is_enabled(level)

    def _add_context(self, event: seen.Event, fields: dict[str, Any]) -> None:
        """Add where it happened, as far as the event itself does not say it."""
        serving = self._connection
        if type(event) in REQUESTS:
            request_id = fields["request_id"]
            for name, value in self._requests.pop(request_id, {}).items():
                fields.setdefault(name, value)
            if not isinstance(event, seen.ReplyAcknowledged):  # its last event
                known = {"gateway_group": serving.get("gateway_group"), **fields}
                known = {name: known[name] for name in _OF_REQUESTS if known.get(name)}
                self._requests[request_id] = known
                if len(self._requests) > MOST_REQUESTS:
                    self._requests.popitem(last=False)
            return
        if serving and fields.get("connection_id") == serving["connection_id"]:
            fields.setdefault("gateway_group", serving["gateway_group"])
        elif "request_id" in fields:
            for name, value in serving.items():
                fields.setdefault(name, value)
        match event:
            case seen.LeaseLost(request_id=request_id):
                self._requests.pop(request_id, None)
            case seen.Connected(connection_id=connection_id, gateway_group=group):
                self._connection = {"connection_id": connection_id, "gateway_group": group}
                fields.update(self._context, **self._introduction, **self._first)
            case seen.Disconnected(connection_id=connection_id):
                if connection_id == serving.get("connection_id"):
                    self._connection = {}


def _shown(value: Any) -> str:
    """As Python prints it, but without quotes around a plain word."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str) and value and not set(value) & set(" \t\n'\"="):
        return value
    return repr(value)
