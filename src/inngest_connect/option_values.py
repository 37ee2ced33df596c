"""Checks of single options, and readers of variables. An error has the name, value and remedy.

A value can be any object of the user: it is judged by its type, none of its methods is trusted, and
secrets in it are not shown.
"""

import contextlib
import inspect
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from .core.settings import LONGEST_SECONDS, Timing, is_seconds
from .core.wire.user_text import has_method, is_a, shown_value
from .errors import ConfigurationError
from .transport.urls import check_url

Check = Callable[[str, Any], Any]
"""Takes the name of an option or variable and its value; returns the value that is used.

Raises ConfigurationError.
"""

LARGEST_COUNT: Final = 2**31 - 1
"""What fields of the protocol and buffers of the transport can hold."""
LONGEST_INSTANCE_ID: Final = 256
_SMALLEST_BUFFER: Final = 1024
_NOT_PATHS: Final = ("beside", "required", "normal", "full")
"""Values of the options that go with a path, and are easily taken for one."""
_NOT_HANDLED: Final = ("SIGKILL", "SIGSTOP")


def value_that(is_right: Callable[[Any], bool], remedy: str) -> Check:
    """Return a check that refuses values that are not right, with the remedy."""

    def check(name: str, value: Any) -> Any:
        if not is_right(value):
            raise ConfigurationError(f"{name} is {shown_value(value)}; {remedy}")
        return value

    return check


def one_of(*choices: str) -> Check:
    """Return a check for one of the texts."""
    return value_that(
        lambda value: is_a(value, str) and value in choices,
        f"pass one of {', '.join(map(repr, choices))}",
    )


def provider_with(method: str) -> Check:
    """Return a check for an OpenTelemetry provider."""
    return value_that(
        lambda value: has_method(value, method),
        f"pass an OpenTelemetry provider, which has {method}(), or leave it out for the global one",
    )


count = value_that(
    lambda value: is_a(value, int) and 1 <= value <= LARGEST_COUNT,
    f"pass a whole number from 1 to {LARGEST_COUNT}, or leave it out for no limit",
)
seconds = value_that(
    is_seconds, f"pass seconds from 0 to {LONGEST_SECONDS:g}, or leave it out for no limit"
)
warning_age = value_that(
    lambda value: value is None or (is_seconds(value) and value > 0),
    "pass seconds above 0, or None for no warning",
)
buffer_size = value_that(
    lambda value: is_a(value, int) and value >= _SMALLEST_BUFFER,
    f"pass a number of bytes from {_SMALLEST_BUFFER}",
)
message_size = value_that(
    lambda value: is_a(value, int) and _SMALLEST_BUFFER <= value <= LARGEST_COUNT,
    f"pass a number of bytes from {_SMALLEST_BUFFER} to {LARGEST_COUNT}",
)
endpoint_function = value_that(callable, "pass a function from URL to URL")
executor_factory = value_that(callable, "pass process_executor(...), or leave it out")


def _makes_contexts(value: Any) -> bool:
    # A context manager of contextlib can be called, too: as a decorator.
    if not callable(value) or hasattr(type(value), "__enter__"):
        return False
    try:
        function = inspect.unwrap(value)
    except Exception:  # noqa: BLE001 - of user code; what is called is ``value``
        function = value
    return not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function))


context_function = value_that(
    lambda value: value is None or _makes_contexts(value),
    "pass a function that returns a context manager, such as sentry_sdk.isolation_scope without (),"
    " and no async one",
)
retry_strategy = value_that(
    lambda value: has_method(value, "delay"),
    "pass an object with delay(failures, random) -> seconds",
)
timing = value_that(lambda value: is_a(value, Timing), "pass a Timing(...), or leave it out")
listeners = value_that(
    lambda value: is_a(value, Mapping),
    'pass a dict of event names and functions, such as {"error": report}',
)
switch = value_that(lambda value: type(value) is bool, "pass True or False")
anything = value_that(lambda value: True, "")
"""For what is checked where it is used."""
instance_name = value_that(
    lambda value: (
        is_a(value, str)
        and bool(value.strip())
        and value.isprintable()  # neither a control character nor half of a surrogate pair
        and len(value) <= LONGEST_INSTANCE_ID
    ),
    f"pass a printable name of at most {LONGEST_INSTANCE_ID} characters that is unique per "
    "process, or leave it out",
)


def file_path(name: str, value: Any) -> str | None:
    """Check the path of a file, of which the directory may not exist yet."""
    if value is None:
        return None
    try:
        text = os.fspath(value)
    except TypeError:
        text = value
    if is_a(text, bytes):
        text = os.fsdecode(text)
    value_that(
        lambda it: is_a(it, str) and bool(it.strip()) and "\0" not in it and it not in _NOT_PATHS,
        "pass the path of a file, or leave it out",
    )(name, text)
    return str(text)


def gateway_address(name: str, value: Any) -> Any:
    """Check a URL that a WebSocket can be dialed at."""
    value_that(lambda it: is_a(it, str), "pass a ws:// or wss:// URL")(name, value)
    check_url(name, value, ("ws", "wss"), "wss://gateway.example.com/v0/connect", user=False)
    return value


def api_address(name: str, value: Any) -> Any:
    """Check a URL that the API can be called at; it can have user information."""
    value_that(lambda it: is_a(it, str), "pass an http:// or https:// URL")(name, value)
    check_url(name, value, ("http", "https"), "http://127.0.0.1:8288")
    return value


def signals(name: str, value: Any) -> Sequence[signal.Signals]:
    """Check signals that a process can handle."""
    try:
        if is_a(value, str, bytes, Mapping):
            raise TypeError
        found = tuple(signal.Signals(one) for one in value)
    except Exception:  # noqa: BLE001 - of the iteration, which is user code
        raise ConfigurationError(
            f"{name} is {shown_value(value)}; pass a list of signal.Signals, [] for none"
        ) from None
    if any(one.name in _NOT_HANDLED for one in found):
        raise ConfigurationError(
            f"{name} is {shown_value(value)}; SIGKILL and SIGSTOP cannot be handled by any "
            "process: leave them out"
        )
    return found


def number(name: str, text: str) -> float | str:
    """Read a variable. A text that is not a number stays a text, and the check refuses it."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def isolation(name: str, text: str) -> str:
    """Read a variable that is a switch. Raises ConfigurationError."""
    meanings = {"1": "thread", "true": "thread", "0": "none", "false": "none"}
    if text.lower() not in meanings:
        raise ConfigurationError(f"{name} is {shown_value(text)}; use 1, true, 0 or false")
    return meanings[text.lower()]
