"""Which line of the user's code an error came from."""

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
    """``error`` is type and text, ``place`` the file, the number of the line, and the line."""

    error: str
    place: str


def mistake_in_users_code(error: BaseException) -> Mistake:
    """The deepest line outside installed packages and Python's library. Secrets are masked."""
    path, number, text = "", 0, ""
    syntax: Any = error if is_a(error, SyntaxError) else None
    if syntax is not None and syntax.filename is not None:
        # Its traceback ends in the import; the wrong line is in the error.
        path, number, text = syntax.filename, syntax.lineno or 0, syntax.text or ""
        described = syntax.msg
    else:
        described = error_message(error).strip().partition("\n")[0]
        packages = (*site.getsitepackages(), site.getusersitepackages())
        installed = ("<", _PACKAGE, sysconfig.get_path("stdlib"), *packages)
        for frame, line in traceback.walk_tb(error.__traceback__):
            name = frame.f_code.co_filename
            if not name.startswith(installed):
                path, number, text = name, line, linecache.getline(name, line)
    name = class_name(error)
    if Path(path).is_relative_to(Path.cwd()):
        path = str(Path(path).relative_to(Path.cwd()))
    place = f"{path}, line {number}: {text.strip()}" if path else "See --traceback"
    redactor = Redactor()
    return Mistake(
        redactor.text(clean(f"{name}: {described}" if described else name, _LONGEST)),
        redactor.text(clean(place, _LONGEST)),
    )
