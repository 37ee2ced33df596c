"""``record``: a dataclass that type checkers hold to be frozen, and that is cheap to make.

Cheap twice (docs/performance.md). A frozen dataclass sets each field through
``object.__setattr__``, which makes an instance three to four times as expensive, and a request
makes a dozen. And what a dataclass generates, it compiles when the module is imported: the methods
below are written once for all records instead.
"""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

Class = TypeVar("Class")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def record(cls: type[Class]) -> type[Class]:
    """Treat instances as immutable: they are handed from thread to thread."""
    made: Any = dataclasses.dataclass(slots=True, repr=False, eq=False)(cls)
    made.__repr__, made.__eq__, made.__hash__ = _repr, _eq, _hash
    return made  # type: ignore[no-any-return]


def _repr(self: Any) -> str:
    shown = [f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.repr]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in self.__match_args__)


def _eq(self: Any, other: object) -> Any:  # bool or NotImplemented
    if type(other) is not type(self):
        return NotImplemented
    return _values(self) == _values(other)


def _hash(self: Any) -> int:
    return hash(_values(self))
