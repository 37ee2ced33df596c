"""An extension of griffe, which reads the docstrings for the site without importing the package."""

import griffe

DATACLASS = griffe.ExprName("dataclasses.dataclass")


class FrozenClasses(griffe.Extension):
    """Shows the fields of a class that ``core/frozen.py`` decorates as its parameters."""

    def on_class_instance(self, *, cls: griffe.Class, **_: object) -> None:
        """Let it count as a dataclass, which it is."""
        for decorator in cls.decorators:
            if getattr(decorator.value, "canonical_path", "").endswith(".frozen.frozen"):
                decorator.value = DATACLASS
