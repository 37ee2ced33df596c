"""Which line of the user's own code an error came from."""

import linecache
import site
import sysconfig
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.wire.remote_text import clean
from ..core.wire.user_text import class_name, error_message, is_a
from ..observability.redaction import Redactor

_LONGEST = 1000
_PACKAGE = str(Path(__file__).parents[1])


@dataclass(frozen=True, slots=True)
class Mistake:
    """``error`` is type and text, ``place`` the file, the line and what stands there."""

    error: str
    place: str


def mistake_in_users_code(error: BaseException) -> Mistake:
    """The deepest line that is neither an installed package's nor Python's. Secrets are masked."""
    redactor = Redactor()
    syntax: Any = error if is_a(error, SyntaxError) else None
    if syntax is not None and syntax.filename is not None:
        path, number, text = syntax.filename, syntax.lineno or 0, syntax.text or ""
        described = syntax.msg
    else:
        path, number, text = _deepest(error)
        described = error_message(error).strip().partition("\n")[0]
    name = class_name(error)
    place = f"{_relative(path)}, line {number}: {text.strip()}" if path else "See --traceback"
    return Mistake(
        redactor.text(clean(f"{name}: {described}" if described else name, _LONGEST)),
        redactor.text(clean(place, _LONGEST)),
    )


def _deepest(error: BaseException) -> tuple[str, int, str]:
    for frame, number in reversed(list(traceback.walk_tb(error.__traceback__))):
        path = frame.f_code.co_filename
        if not path.startswith("<") and not path.startswith(_installed()):
            return path, number, linecache.getline(path, number)
    return "", 0, ""


def _installed() -> tuple[str, ...]:
    packages = [*site.getsitepackages(), site.getusersitepackages()]
    return (_PACKAGE, sysconfig.get_path("stdlib"), *packages)


def _relative(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
