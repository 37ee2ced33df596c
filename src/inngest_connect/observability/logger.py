"""ConnectLogger: structured records about the life of a connection.

Records go to the standard ``logging`` tree under "inngest_connect", with the fields both in the
text and as ``extra``; or as they are to a structlog logger. Everything passes the redactor, and
what repeats itself is folded. docs/logging.md has the levels, the fields and the order of records.
"""

import contextlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from ..core import events as seen
from ..core.wire.user_text import has_method, shown_error, shown_value
from ..errors import ConfigurationError
from .package_logger import RESERVED, package_logger
from .records import REQUESTS, Record, plain_fields, record_of
from .redaction import Redactor
from .repetition import Folding
from .subscriptions import is_async

LoggerOption = Any
"""A ``logging.Logger``, a structlog logger, None for the default, or False for silence."""

MOST_REQUESTS: Final = 10_000
_NUMBERS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_ENDED: Final = (seen.ReplyAcknowledged, seen.LeaseLost)


class ConnectLogger:
    """Levels ERROR, WARN, INFO, DEBUG.

    ``context`` is in every record, ``introduction`` in ``connected``; ``clock`` is in seconds.
    """

    def __init__(
        self,
        logger: LoggerOption = None,
        redactor: Redactor | None = None,
        context: dict[str, Any] | None = None,
        introduction: dict[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ConfigurationError for something that is no logger."""
        self._target = _target(logger)
        self._is_enabled: Callable[[int], bool] | None = None
        self._redactor = redactor if redactor is not None else Redactor()
        self._context = context or {}
        self._introduction = introduction or {}
        self._clock = clock
        self._folding = Folding()
        self._lock = threading.Lock()
        self._connection: dict[str, Any] = {}
        self._requests: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._complained = False

    # --- written by hand -------------------------------------------------------------------

    def debug(self, event: str, **fields: Any) -> None:
        self._write(Record("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self._write(Record("info", event, fields))

    def warn(self, event: str, **fields: Any) -> None:
        self._write(Record("warning", event, fields))

    def error(self, event: str, *, error: BaseException | None = None, **fields: Any) -> None:
        """With ``error``, its traceback is in the record, causes and notes included, redacted."""
        self._write(Record("error", event, fields), error)

    # --- observations ----------------------------------------------------------------------

    def observe(self, observation: seen.Event) -> None:
        """Write the record that belongs to an observation, if there is one. From any thread."""
        if self._target is None:
            return
        if type(observation) in REQUESTS:
            if self._enabled(10):
                self._request(observation)
            return
        now = self._clock()
        record = record_of(observation)
        if record.level == "debug":
            with self._lock:
                due = self._folding.passed(now)
            self._write_all(due)
            if self._enabled(10):
                self._write(self._placed(record, observation))
            return
        record = self._placed(record, observation)
        with self._lock:
            due = self._folding.add(record, now)
        self._write_all(due)
        if not any(one is record for one in due):
            self._write(Record("debug", record.event, record.fields))

    def writes_requests(self) -> bool:
        """Whether the records of each request, which are DEBUG, go anywhere."""
        return self._target is not None and self._enabled(10)

    def close(self) -> None:
        """Write what was counted and not told yet."""
        with self._lock:
            due = self._folding.close(self._clock())
        self._write_all(due)

    def _request(self, observation: seen.Event) -> None:
        """One of the records of a request, with what an earlier one knew of it. DEBUG only."""
        fields = plain_fields(observation)
        request_id = fields["request_id"]
        for name, value in self._requests.pop(request_id, {}).items():
            fields.setdefault(name, value)
        self._write(Record("debug", observation.name, fields))
        if isinstance(observation, _ENDED):
            return
        names = ("run_id", "function_slug", "connection_id", "gateway_group")
        fields.setdefault("gateway_group", self._connection.get("gateway_group"))
        self._requests[request_id] = {name: fields[name] for name in names if fields.get(name)}
        if len(self._requests) > MOST_REQUESTS:
            self._requests.popitem(last=False)

    def _placed(self, record: Record, observation: seen.Event) -> Record:
        """Add where it happened, as far as the observation itself does not say it."""
        fields = record.fields
        if isinstance(observation, _ENDED):
            self._requests.pop(observation.request_id, None)
        group = self._connection.get("gateway_group")
        if group is not None and fields.get("connection_id") == self._connection["connection_id"]:
            fields.setdefault("gateway_group", group)
        elif "request_id" in fields:
            for name, value in self._connection.items():
                fields.setdefault(name, value)
        if isinstance(observation, seen.Connected):
            self._connection = {
                "connection_id": observation.connection_id,
                "gateway_group": observation.gateway_group,
            }
            fields.update(self._context, **self._introduction)
        elif isinstance(observation, seen.Disconnected) and (
            observation.connection_id == self._connection.get("connection_id")
        ):
            self._connection = {}
        return record

    # --- the target ------------------------------------------------------------------------

    def _enabled(self, level: int) -> bool:
        """Whether records of ``level`` go anywhere."""
        if self._is_enabled is None:
            self._is_enabled = _level_check(self._target)
        return self._is_enabled(level)

    def _write_all(self, records: Iterable[Record]) -> None:
        for record in records:
            self._write(record)

    def _write(self, record: Record, error: BaseException | None = None) -> None:
        if self._target is None or not self._enabled(_NUMBERS[record.level]):
            return
        try:
            fields = self._redactor.fields(record.fields)
            if error is not None:
                fields["exception"] = self._redactor.traceback(error)
            context = self._redactor.fields(self._context)
            event = self._redactor.text(record.event)
            if isinstance(self._target, logging.Logger | logging.LoggerAdapter):
                _log(self._target, _NUMBERS[record.level], event, fields, context)
            else:
                getattr(self._target, record.level)(event, **{**context, **fields})
        except BaseException as broken:  # noqa: BLE001 - user code; observers come after the log
            self._complain(broken)

    def _complain(self, broken: BaseException) -> None:
        """The user's logger raised: say so once, where Python prints what it cannot log."""
        if not self._complained:
            self._complained = True
            text = "the logger given to connect() raised %s; its records are lost"
            with contextlib.suppress(BaseException):  # its handlers are user code, too
                package_logger().error(text, self._redactor.text(shown_error(broken)))


def _target(logger: LoggerOption) -> Any:
    if logger is False:
        return None
    if logger is None:
        return package_logger()
    if all(has_method(logger, level) for level in _NUMBERS):
        if any(is_async(getattr(logger, level)) for level in _NUMBERS):
            raise ConfigurationError(
                f"logger is {shown_value(logger)}, whose methods are async: nothing awaits them on "
                "the thread of the log, so pass one with plain methods"
            )
        return logger
    raise ConfigurationError(
        f"logger is {shown_value(logger)}; pass a logging.Logger, a structlog logger, False for "
        "silence, or leave it out for the logger 'inngest_connect'"
    )


def _level_check(target: Any) -> Callable[[int], bool]:
    """Asked for with every request, so a structlog proxy is resolved once, at the first record."""
    if isinstance(target, logging.Logger | logging.LoggerAdapter):
        return target.isEnabledFor
    bound = target.bind() if hasattr(target, "bind") else target
    for name in ("is_enabled_for", "isEnabledFor"):
        if hasattr(type(bound), name):  # of the instance, any name may be a method that logs
            return cast("Callable[[int], bool]", getattr(bound, name))
    return lambda _: True


def _log(
    target: "logging.Logger | logging.LoggerAdapter[Any]",
    level: int,
    event: str,
    fields: dict[str, Any],
    context: dict[str, Any],
) -> None:
    """The text says what a plain handler shows; the same fields are attributes of the record."""
    shown = {key: value for key, value in fields.items() if key != "exception"}
    text = " ".join([event, *(f"{key}={_shown(value)}" for key, value in shown.items())])
    if "exception" in fields:
        text = f"{text}\n{fields['exception']}"
    attributes = {"event": event, **context, **fields}
    extra = {(f"{key}_" if key in RESERVED else key): value for key, value in attributes.items()}
    target.log(level, text, extra=extra)


def _shown(value: Any) -> str:
    """As it would stand in Python, but without quotes around a plain word."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str) and value and not set(value) & set(" \t\n'\"="):
        return value
    return repr(value)
