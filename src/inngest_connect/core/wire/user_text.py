"""What is shown of the objects of user code. Nothing here raises, whatever they do.

A wrong value of an option is shown too, and may be a secret that was passed in the wrong place.

``__str__`` of an exception is user code, and so are its class, its notes and its traceback. What
these return can be a subclass of ``str`` that overrides methods, so it is copied to a plain one.
"""

import re
from collections.abc import Callable
from typing import Final

from .remote_text import clean

# Bypasses a metaclass that defines ``__name__`` itself.
_NAME: Final = type.__dict__["__name__"]
_LONGEST_VALUE: Final = 100
# Signing keys, and the user information of URLs.
_SECRET: Final = re.compile(r"signkey-\w+-\w+|(?<=://)[^\s'\"]*(?=@)")


def class_name(value: object) -> str:
    """The name of its class. Runs no code of the user."""
    return clean(str.__str__(_NAME.__get__(type(value))))


def is_a(value: object, *kinds: type) -> bool:
    """``isinstance`` without running the value's ``__class__``; a bool is not a number."""
    kind = type(value)
    return issubclass(kind, kinds) and (kind is not bool or bool in kinds)


def guarded(show: Callable[[], str], otherwise: str) -> str:
    """What ``show`` returns, or ``otherwise`` when user code in it raises or returns no text."""
    try:
        return str.__str__(show())
    except BaseException:  # noqa: BLE001 - of user code: not an exit or a Ctrl-C of ours
        return otherwise


def error_message(error: BaseException) -> str:
    """``str(error)``, as long as it is."""
    otherwise = f"{class_name(error)}, which cannot be shown: its __str__ or __repr__ raises"
    return guarded(lambda: str(error), otherwise)


def shown_error(error: BaseException) -> str:
    """``Name: message`` on one line, as the last line of a traceback, cleaned and shortened."""
    name, message = class_name(error), error_message(error)
    if not message or message.startswith(f"{name}, which cannot be shown"):
        return message or name
    return clean(f"{name}: {message}")


def shown_value(value: object) -> str:
    """The ``repr`` of a wrong value for an error message: short, printable, without secrets."""
    text = guarded(lambda: repr(value), f"an object of type {class_name(value)}")
    return clean(_SECRET.sub("***", text), _LONGEST_VALUE)


def has_method(value: object, name: str) -> bool:
    """Whether it has one, as far as its ``__getattr__`` lets that be known."""
    try:
        return callable(getattr(value, name, None))
    except BaseException:  # noqa: BLE001 - of user code
        return False
