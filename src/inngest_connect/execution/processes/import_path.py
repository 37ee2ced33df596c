"""Names the apps so that a child process, which shares no memory with this one, imports them."""

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
    """Return "module:attribute". Raises ConfigurationError for what cannot be imported."""
    if is_a(target, str):
        assert isinstance(target, str)
        if not _FORM.fullmatch(target):
            raise ConfigurationError(
                f"target is {shown_value(target)}; write it as package.module:attribute, "
                "for example shop.worker:apps"
            )
        module, _, name = target.partition(":")
        if module == "__main__":
            raise _defined_in_the_program(name)
        return target
    module = guarded(lambda: getattr(target, "__module__", ""), "")
    name = guarded(lambda: getattr(target, "__qualname__", ""), "")
    if not callable(target) or not module or not name:
        raise ConfigurationError(f"target is {shown_value(target)}; {_REMEDY}")
    if "<" in name:
        raise ConfigurationError(f"target {module}.{name} exists in this process only; {_REMEDY}")
    if module == "__main__":
        raise _defined_in_the_program(name)
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not target:
        raise ConfigurationError(
            f"target is {shown_value(target)}, but {module}:{name} is something else; {_REMEDY}"
        )
    return f"{module}:{name}"


def _defined_in_the_program(name: str) -> ConfigurationError:
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    imported = main.__spec__.name if main.__spec__ else Path(file).stem if file else "module"
    return ConfigurationError(
        f"target {name!r} is defined in the program that was started, which has another name "
        f'when it is imported; pass "{imported}:{name}"'
    )
