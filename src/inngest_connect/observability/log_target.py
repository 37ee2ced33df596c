"""What ``connect(logger=...)`` takes: which loggers, and how a record is given to each kind."""

import inspect
import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, cast

from ..core.wire.user_text import has_method, is_a, shown_value
from ..errors import ConfigurationError
from .callbacks import is_async
from .package_logger import ROOT, package_logger

NUMBERS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_TEXT_ONLY: Final = ("loguru", "logbook")
"""Their methods take keyword arguments, as values for placeholders: what has none is not shown."""


def checked_target(logger: Any) -> Any:
    """The logger for this value of the option, None for silence. Raises ConfigurationError."""
    if logger is False:
        return None
    if logger is None:
        return package_logger()
    shown = shown_value(logger)
    if is_a(logger, ModuleType) or not all(has_method(logger, level) for level in NUMBERS):
        raise ConfigurationError(
            f"logger is {shown}; pass a logging.Logger, a structlog logger, False for silence, or "
            "leave it out for the logger 'inngest_connect'"
        )
    methods = [getattr(logger, level) for level in NUMBERS]
    if any(is_async(method) for method in methods):
        raise ConfigurationError(
            f"logger is {shown}, whose methods are async: nothing awaits them on the thread of the "
            "log, so pass one with plain methods"
        )
    if not is_standard(logger) and not all(map(_takes_fields, methods)):
        raise ConfigurationError(
            f"logger is {shown}, whose methods take no keyword arguments, and records have fields: "
            "pass a logging.Logger or a structlog logger, or give them **fields"
        )
    return logger


def is_standard(target: Any) -> bool:
    """Whether it is one of the standard library, which takes the fields as ``extra``."""
    return isinstance(target, logging.Logger | logging.LoggerAdapter)


def takes_text(target: Any) -> bool:
    """Whether it would not show fields that are passed as keyword arguments."""
    return any(each.__module__.partition(".")[0] in _TEXT_ONLY for each in type(target).__mro__)


def standard_logger(target: Any) -> logging.Logger | None:
    """The standard library's logger that it is, or writes to. Resolves a structlog proxy."""
    bound = target if is_standard(target) or not hasattr(target, "bind") else target.bind()
    for inner in (bound, getattr(bound, "logger", None), getattr(bound, "_logger", None)):
        if isinstance(inner, logging.Logger):
            return inner
    return None


def stays_disabled(logger: logging.Logger) -> bool:
    """Whether ``logging.config`` has disabled it, as it does with all that exist by default.

    Those of this package are enabled again instead: they are configured by level, and nothing else
    would say why a worker is silent.
    """
    if logger.disabled and (logger.name == ROOT or logger.name.startswith(f"{ROOT}.")):
        logger.disabled = False
    return logger.disabled


def level_check(target: Any) -> Callable[[int], bool]:
    """Used with every request, so a structlog proxy is resolved once, at the first record."""
    if is_standard(target):
        return cast("Callable[[int], bool]", target.isEnabledFor)
    bound = target.bind() if hasattr(target, "bind") else target
    for name in ("is_enabled_for", "isEnabledFor"):
        if hasattr(type(bound), name):  # of the instance, any name may be a method that logs
            return cast("Callable[[int], bool]", getattr(bound, name))
    return lambda _: True


def _takes_fields(method: Callable[..., Any]) -> bool:
    try:
        inspect.signature(method).bind("event", field=1)
    except TypeError:
        return False
    except ValueError:  # of a builtin that does not say
        pass
    return True
