"""Checks of single options. Each error names the option, its value without secrets, and a remedy.

A value can be any object: it is judged by its type, and none of its methods is trusted.
"""

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from .core.retry import RetryStrategy, ScheduleRetry
from .core.wire.user_text import has_method, is_a, shown_value
from .errors import ConfigurationError

Value = TypeVar("Value")

LONGEST_SECONDS: Final = 1e9
"""Thirty years. Timers of the operating system overflow with much longer ones."""
LARGEST_COUNT: Final = 2**31 - 1
"""What fields of the protocol and buffers of the transport can hold."""
_SMALLEST_BUFFER: Final = 1024
_NOT_HANDLED: Final = ("SIGKILL", "SIGSTOP")


def is_seconds(value: Any, smallest: float = 0.0) -> bool:
    """Whether it is a finite number of seconds that every timer can wait for."""
    return is_a(value, int, float) and smallest <= value <= LONGEST_SECONDS


def checked_seconds(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    if not is_seconds(value):
        raise ConfigurationError(
            f"{name} is {shown_value(value)}; pass seconds from 0 to {LONGEST_SECONDS:g}, or None "
            "for no limit"
        )
    return float(value)


def checked_warning(name: str, value: float | None) -> float | None:
    if value is not None and not (is_seconds(value) and value > 0):
        raise ConfigurationError(
            f"{name} is {shown_value(value)}; pass seconds above 0, or None for no warning"
        )
    return None if value is None else float(value)


def checked_size(name: str, value: int) -> int:
    if not is_a(value, int) or not value >= _SMALLEST_BUFFER:
        raise ConfigurationError(
            f"{name} is {shown_value(value)}; pass a number of bytes from {_SMALLEST_BUFFER}"
        )
    return value


def checked_message_size(name: str, value: int) -> int:
    if checked_size(name, value) > LARGEST_COUNT:
        raise ConfigurationError(
            f"{name} is {shown_value(value)}; pass a number of bytes up to {LARGEST_COUNT}"
        )
    return value


def checked_count(name: str, value: object) -> int:
    if not is_a(value, int) or not 1 <= value <= LARGEST_COUNT:  # type: ignore[operator]
        raise ConfigurationError(
            f"{name} is {shown_value(value)}; pass a whole number from 1 to {LARGEST_COUNT}, or "
            "leave it out for no limit"
        )
    return value  # type: ignore[return-value]


def checked_signals(
    value: Sequence[signal.Signals] | None, otherwise: tuple[signal.Signals, ...]
) -> tuple[signal.Signals, ...]:
    if value is None:
        return otherwise
    try:
        if is_a(value, str, bytes, Mapping):
            raise TypeError
        found = tuple(signal.Signals(one) for one in value)
    except Exception:  # noqa: BLE001 - of the iteration, which is user code
        raise ConfigurationError(
            f"shutdown_signals is {shown_value(value)}; pass a list of signal.Signals, [] for none"
        ) from None
    if any(one.name in _NOT_HANDLED for one in found):
        raise ConfigurationError(
            f"shutdown_signals is {shown_value(value)}; SIGKILL and SIGSTOP cannot be handled by "
            "any process: leave them out"
        )
    return found


def checked_instance(
    name: str, value: Any, kind: type[Value], otherwise: Value, remedy: str
) -> Value:
    """``otherwise`` for None."""
    if value is None:
        return otherwise
    if not is_a(value, kind):
        raise ConfigurationError(f"{name} is {shown_value(value)}; {remedy}")
    return value  # type: ignore[no-any-return]


def checked_choice(name: str, value: Any, choices: Iterable[str]) -> Any:
    if not is_a(value, str) or value not in choices:
        raise ConfigurationError(
            f"{name} is {shown_value(value)}; pass one of {', '.join(map(repr, choices))}"
        )
    return value


def checked_provider(name: str, value: Any, method: str) -> Any:
    if value is not None and not has_method(value, method):
        raise ConfigurationError(
            f"{name} is {shown_value(value)}; pass an OpenTelemetry provider, which has "
            f"{method}(), or leave it out for the global one"
        )
    return value


def checked_retry(value: RetryStrategy | None) -> RetryStrategy:
    if value is None:
        return ScheduleRetry()
    if not has_method(value, "delay"):
        raise ConfigurationError(
            f"retry is {shown_value(value)}; pass an object with delay(failures, random) -> seconds"
        )
    return value


def checked_function(name: str, value: Any, remedy: str) -> Any:
    if value is not None and not callable(value):
        raise ConfigurationError(f"{name} is {shown_value(value)}; {remedy}")
    return value


def checked_switch(name: str, value: bool, remedy: str) -> bool:
    if type(value) is not bool:
        raise ConfigurationError(f"{name} is {shown_value(value)}; {remedy}")
    return value


def checked_listeners(value: Any) -> dict[str, Callable[[Any], object]]:
    """``on=``; its names and functions are checked when they are added."""
    if value is None:
        return {}
    if not is_a(value, Mapping):
        raise ConfigurationError(
            f"on is {shown_value(value)}; pass a dict of event names and functions, such as "
            '{"error": report}'
        )
    return dict(value)
