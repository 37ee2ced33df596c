"""Objects of user code that do not let themselves be looked at."""

from typing import Any


def leave(*_: object) -> Any:
    raise SystemExit(3)


class NoClass:
    """A type check by ``isinstance`` raises."""

    __class__ = property(leave)


NoName: Any = type("BadMeta", (type,), {"__name__": property(leave)})("NoName", (), {})
"""The name of its class raises."""


class NumberWithMethods(float):
    """Each comparison and conversion of it raises."""

    __le__ = __ge__ = __lt__ = __gt__ = __float__ = __format__ = __repr__ = __str__ = leave


class Text(str):
    """Each method that a log, a parser or an encoder calls raises."""

    __format__ = __len__ = __getitem__ = __contains__ = __eq__ = __str__ = leave
    isprintable = encode = partition = lstrip = strip = find = leave  # type: ignore[assignment]
    __hash__ = str.__hash__
