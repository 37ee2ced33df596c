"""``record``: a dataclass that type checkers hold to be frozen, and that is cheap to make.

A frozen dataclass sets each field through ``object.__setattr__``, which makes it three to four
times as expensive as one that is not, and a request makes a dozen (docs/performance.md).
"""

import dataclasses
from typing import TypeVar, dataclass_transform

Class = TypeVar("Class")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def record(cls: type[Class]) -> type[Class]:
    """Treat instances as immutable: they are handed from thread to thread."""
    return dataclasses.dataclass(slots=True, unsafe_hash=True)(cls)
