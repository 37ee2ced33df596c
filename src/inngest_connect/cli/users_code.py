"""Which line of the user's own code an error came from."""

import linecache
import site
import sysconfig
import traceback
from dataclasses import dataclass
from pathlib import Path

from ..observability.redaction import Redactor

_PACKAGE = str(Path(__file__).parents[1])


@dataclass(frozen=True, slots=True)
class Mistake:
    """``error`` is type and text, ``place`` the file, the line and what stands there."""

    error: str
    place: str


def mistake_in_users_code(error: BaseException) -> Mistake:
    """The deepest line that is neither an installed package's nor Python's. Secrets are masked."""
    redactor = Redactor()
    if isinstance(error, SyntaxError) and error.filename is not None:
        path, number, text = error.filename, error.lineno or 0, error.text or ""
        described = error.msg
    else:
        path, number, text = _deepest(error)
        described = str(error).strip().partition("\n")[0]
    name = type(error).__name__
    place = f"{_relative(path)}, line {number}: {text.strip()}" if path else "See --traceback"
    return Mistake(
        redactor.text(f"{name}: {described}" if described else name), redactor.text(place)
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
