"""Names the apps so that a child process, which shares no memory with this one, imports them."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ...core.wire.user_text import guarded, is_a, shown_value
from ...errors import ConfigurationError

_FORM: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_REMEDIES: Final = {
    "target": 'name the apps as "module:attribute", or pass a function of a module that '
    "returns them"
}
_REMEDY: Final = "child processes import it: pass a function of a module"


def import_path(target: str | Callable[[], Any], option: str = "target") -> str:
    """Return "module:attribute". Raises ConfigurationError for what cannot be imported.

    ``option`` is the name of the option that it is the value of.
    """
    remedy = _REMEDIES.get(option, _REMEDY)
    if is_a(target, str):
        assert isinstance(target, str)
        if not _FORM.fullmatch(target):
            raise ConfigurationError(
                f"target is {shown_value(target)}; write it as package.module:attribute, "
                "for example shop.worker:apps"
            )
        module, _, name = target.partition(":")
        if module == "__main__":
            raise _defined_in_the_program(option, name)
        return target
    module = guarded(lambda: getattr(target, "__module__", ""), "")
    name = guarded(lambda: getattr(target, "__qualname__", ""), "")
    if not callable(target) or not module or not name:
        raise ConfigurationError(f"{option} is {shown_value(target)}; {remedy}")
    if "<" in name:
        raise ConfigurationError(f"{option} {module}.{name} exists in this process only; {remedy}")
    if module == "__main__":
        raise _defined_in_the_program(option, name)
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not target:
        raise ConfigurationError(
            f"{option} is {shown_value(target)}, but {module}:{name} is something else; {remedy}"
        )
    return f"{module}:{name}"


def _defined_in_the_program(option: str, name: str) -> ConfigurationError:
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    imported = main.__spec__.name if main.__spec__ else Path(file).stem if file else "module"
    remedy = f'pass "{imported}:{name}"' if option == "target" else "define it in another module"
    return ConfigurationError(
        f"{option} {name!r} is defined in the program that was started, which has another name "
        f"when it is imported; {remedy}"
    )
