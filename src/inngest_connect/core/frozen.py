"""``frozen``: a dataclass whose instances type checkers treat as immutable, and that is cheap.

It is cheap in two ways, both measured in docs/performance.md. A frozen dataclass sets each field
through ``object.__setattr__``, which makes an instance three to four times as expensive, and a
request creates a dozen. And a dataclass compiles the methods that it generates when its module is
imported: the methods below are written once for all classes instead.
"""

import dataclasses
import functools
from typing import Any, TypeVar, dataclass_transform

Class = TypeVar("Class")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def frozen(cls: type[Class]) -> type[Class]:
    """Type checkers forbid to change an instance: it is handed from thread to thread."""
    # Not ``frozen=True``: nothing at run time keeps an instance from being changed, mypy does.
    made: Any = dataclasses.dataclass(slots=True, repr=False, eq=False)(cls)
    made.__repr__, made.__eq__, made.__hash__ = _repr, _eq, _hash
    return made  # type: ignore[no-any-return]


def _repr(self: Any) -> str:
    cls: Any = type(self)
    shown = [f"{name}={getattr(self, name)!r}" for name in _shown(cls)]
    return f"{cls.__qualname__}({', '.join(shown)})"


@functools.cache
def _shown(cls: Any) -> tuple[str, ...]:
    # A field with ``repr=False`` holds a payload or a token, which no log and no traceback shows.
    return tuple(field.name for field in dataclasses.fields(cls) if field.repr)


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in self.__match_args__)


def _eq(self: Any, other: object) -> Any:  # bool or NotImplemented
    if type(other) is not type(self):
        return NotImplemented
    return _values(self) == _values(other)


def _hash(self: Any) -> int:
    return hash(_values(self))
