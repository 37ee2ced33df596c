"""ConnectLogger: structured records about the life of a connection.

Records go to the standard ``logging`` tree under "inngest_connect" through structlog, with the
fields as ``extra``; or to any structlog logger the user passes. A healthy connection is quiet:
requests are DEBUG. Observations become records here and nowhere else.
"""

import logging
from collections import Counter
from typing import Any, Final, Literal

import structlog

from ..core import observations as seen
from .redaction import Redactor

LoggerOption = Any
"""A ``logging.Logger``, a structlog logger, None for the default, or False for silence."""

Level = Literal["debug", "info", "warning", "error"]

ONCE: Final = frozenset({"malformed_message", "invalid_transition", "protocol_violation"})
"""Kinds of which one record each is enough; the counters have the rest."""

_QUIET_ERRORS: Final = frozenset(
    {
        # Each of these is followed by a Reconnecting that names it: one WARN line per attempt.
        "authentication_failed",
        "connection_failed",
        "gateway_endpoint_refused",
        "gateway_silent",
        "rate_limited",
        "start_failed",
        "invalid_transition",
    }
)
_LOUD_ERRORS: Final = frozenset(
    {"handshake_refused", "reply_evicted", "reply_refused", "reply_undelivered", "sync_failed"}
)


class ConnectLogger:
    """Levels ERROR, WARN, INFO, DEBUG. ``context`` is in every record."""

    def __init__(
        self,
        logger: LoggerOption = None,
        redactor: Redactor | None = None,
        context: dict[str, Any] | None = None,
    ) -> None:
        self._logger = None if logger is False else _wrap(logger)
        self._redactor = redactor if redactor is not None else Redactor()
        self._context = context or {}
        self._folded: Counter[str] = Counter()

    def bind(self, **context: Any) -> "ConnectLogger":
        """A logger with more context, on the same target."""
        bound = ConnectLogger(False, self._redactor, {**self._context, **context})
        bound._logger = self._logger
        return bound

    def debug(self, event: str, **fields: Any) -> None:
        self._log("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._log("info", event, fields)

    def warn(self, event: str, **fields: Any) -> None:
        self._log("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._log("error", event, fields)

    def _log(self, level: Level, event: str, fields: dict[str, Any]) -> None:
        if self._logger is None:
            return
        kept = self._redactor.fields({**self._context, **fields})
        getattr(self._logger, level)(event, **kept)

    def observe(self, observation: seen.Observation) -> None:
        """Write the record that belongs to an observation, if there is one."""
        if self._logger is None:
            return
        match observation:
            case (
                seen.RequestReceived()
                | seen.RequestStarted()
                | seen.RequestCompleted()
                | seen.ReplyAcknowledged()
            ):
                if self._debugging():
                    self.debug(observation.name, **_fields(observation))
            case seen.StateChanged(previous, state):
                self.info("state_change", previous=previous.value, state=state.value)
            case seen.ErrorOccurred():
                self._error_occurred(observation)
            case seen.Disconnected(expected=expected):
                self._log("info" if expected else "warning", "disconnected", _fields(observation))
            case seen.Reconnecting(failures=failures):
                level: Level = "warning" if failures else "info"
                self._log(level, "reconnecting", _fields(observation))
            case seen.Connected() | seen.Draining():
                self.info(observation.name, **_fields(observation))
            case seen.LeaseLost():
                self.warn("lease_lost", **_fields(observation))
            case _:
                self.debug(observation.name, **_fields(observation))

    def _debugging(self) -> bool:
        """Whether DEBUG records go anywhere; per-request records are not built otherwise."""
        enabled = getattr(self._logger, "isEnabledFor", None) or getattr(
            self._logger, "is_enabled_for", None
        )
        return enabled is None or bool(enabled(logging.DEBUG))

    def _error_occurred(self, error: seen.ErrorOccurred) -> None:
        fields = {
            "kind": error.kind,
            "detail": error.message,
            "request_id": error.request_id,
            "connection_id": error.connection_id,
        }
        fields = {key: value for key, value in fields.items() if value is not None}
        if error.kind in ONCE:
            key = f"{error.kind}:{error.message}"
            self._folded[key] += 1
            if self._folded[key] > 1:
                return
        if error.fatal or error.kind in _LOUD_ERRORS:
            self._log("error", "error", fields)
        elif error.kind in _QUIET_ERRORS:
            self._log("debug", "error", fields)
        else:
            self._log("warning", "error", fields)


def _fields(observation: Any) -> dict[str, Any]:
    return {name: getattr(observation, name) for name in observation.__slots__}


def _wrap(logger: LoggerOption) -> Any:
    """A structlog logger over the standard tree, unless the user brought one."""
    if logger is not None and hasattr(logger, "bind"):
        return logger
    target = logger if logger is not None else logging.getLogger("inngest_connect")
    return structlog.wrap_logger(
        target,
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
