"""Where the apps can be imported from, since a child process shares no memory with its parent."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ...core.wire.user_text import guarded, is_a, shown_value
from ...errors import ConfigurationError

_FORM: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_REMEDY: Final = (
    'name the apps as "module:attribute", or pass a function of a module that returns them'
)


def import_path(target: str | Callable[[], Any]) -> str:
    """Return "module:attribute". Raises ConfigurationError for what nobody can import."""
    if is_a(target, str):
        assert isinstance(target, str)
        if not _FORM.fullmatch(target):
            raise ConfigurationError(
                f"target is {shown_value(target)}; write it as package.module:attribute, "
                "for example shop.worker:apps"
            )
        return target
    module = guarded(lambda: getattr(target, "__module__", ""), "")
    name = guarded(lambda: getattr(target, "__qualname__", ""), "")
    if not callable(target) or not module or not name:
        raise ConfigurationError(f"target is {shown_value(target)}; {_REMEDY}")
    if "<" in name:
        raise ConfigurationError(f"target {module}.{name} exists in this process only; {_REMEDY}")
    if module == "__main__":
        raise ConfigurationError(
            f"target {name!r} is defined in the program that was started, which has another name "
            f'when it is imported; pass "{_name_of_main()}:{name}"'
        )
    if _found(module, name) is not target:
        raise ConfigurationError(
            f"target is {shown_value(target)}, but {module}:{name} is something else; {_REMEDY}"
        )
    return f"{module}:{name}"


def _found(module: str, name: str) -> Any:
    value: Any = sys.modules.get(module)
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def _name_of_main() -> str:
    main = sys.modules["__main__"]
    if main.__spec__ is not None:
        return main.__spec__.name
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else "module"
