"""The options that a variable of the environment can set, where the program does not."""

import os
import socket
import uuid
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from .core.wire.user_text import is_a, shown_value
from .errors import ConfigurationError
from .option_values import checked_choice, checked_count, checked_seconds
from .transport.urls import check_plain, check_url

Isolation = Literal["thread", "none"]
Variables = Mapping[str, str]

MAX_CONCURRENCY_VARIABLE: Final = "INNGEST_CONNECT_MAX_WORKER_CONCURRENCY"
GATEWAY_URL_VARIABLE: Final = "INNGEST_CONNECT_GATEWAY_URL"
ISOLATE_VARIABLE: Final = "INNGEST_CONNECT_ISOLATE_EXECUTION"
INSTANCE_ID_VARIABLE: Final = "INNGEST_CONNECT_INSTANCE_ID"
SHUTDOWN_TIMEOUT_VARIABLE: Final = "INNGEST_CONNECT_SHUTDOWN_TIMEOUT"

LONGEST_INSTANCE_ID: Final = 256
_MOST_DIGITS: Final = 20

_process_suffix = uuid.uuid4().hex[:6]
"""Two processes of one host must not share a concurrency limit, and a forked one is another."""


def default_instance_id() -> str:
    """The host and a suffix of this process."""
    return f"{socket.gethostname()}-{_process_suffix}"


def _renew_suffix() -> None:
    global _process_suffix  # noqa: PLW0603 - a fact about the process, changed in a forked child
    _process_suffix = uuid.uuid4().hex[:6]


os.register_at_fork(after_in_child=_renew_suffix)


def _variable(name: str, variables: Variables) -> str:
    """The value of a variable without what surrounds it. Raises ConfigurationError."""
    return check_plain(name, variables.get(name, "").strip())


def resolved_instance_id(value: str | None, variables: Variables) -> str:
    source = "instance_id"
    if value is None:
        source = INSTANCE_ID_VARIABLE
        value = _variable(INSTANCE_ID_VARIABLE, variables) or None
    if value is None:
        return default_instance_id()
    if (
        not is_a(value, str)
        or not value.strip()
        or not value.isprintable()  # neither a control character nor half of a surrogate pair
        or len(value) > LONGEST_INSTANCE_ID
    ):
        raise ConfigurationError(
            f"{source} is {shown_value(value)}; pass a printable name of at most "
            f"{LONGEST_INSTANCE_ID} characters that is unique per process, or leave it out"
        )
    return value


def resolved_max_worker_concurrency(value: int | None, variables: Variables) -> int | None:
    if value is not None:
        return checked_count("max_worker_concurrency", value)
    text = _variable(MAX_CONCURRENCY_VARIABLE, variables)
    if not text:
        return None
    is_number = text.lstrip("+-").isdecimal() and len(text) <= _MOST_DIGITS
    return checked_count(MAX_CONCURRENCY_VARIABLE, int(text) if is_number else text)


def resolved_gateway_url(value: str | None, variables: Variables) -> str | None:
    source = "gateway_url"
    if value is None:
        value = _variable(GATEWAY_URL_VARIABLE, variables) or None
        source = GATEWAY_URL_VARIABLE
    if value is None:
        return None
    if not is_a(value, str):
        raise ConfigurationError(f"{source} is {shown_value(value)}; pass a ws:// or wss:// URL")
    check_url(source, value, ("ws", "wss"), "wss://gateway.example.com/v0/connect", user=False)
    return value


def resolved_isolation(value: Any, variables: Variables) -> Isolation:
    if value is not None:
        chosen: Isolation = checked_choice("isolation", value, get_args(Isolation))
        return chosen
    text = _variable(ISOLATE_VARIABLE, variables).lower()
    if text in ("", "1", "true"):
        return "thread"
    if text in ("0", "false"):
        return "none"
    raise ConfigurationError(f"{ISOLATE_VARIABLE} is {shown_value(text)}; use 1, true, 0 or false")


def resolved_shutdown_timeout(value: float | None, variables: Variables) -> float | None:
    if value is not None:
        return checked_seconds("shutdown_timeout", value)
    text = _variable(SHUTDOWN_TIMEOUT_VARIABLE, variables)
    if not text:
        return None
    try:
        limit = float(text)
    except ValueError:
        raise ConfigurationError(
            f"{SHUTDOWN_TIMEOUT_VARIABLE} is {shown_value(text)}; set seconds from 0, or nothing "
            "for no limit"
        ) from None
    return checked_seconds(SHUTDOWN_TIMEOUT_VARIABLE, limit)
