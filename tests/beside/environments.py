"""Virtual environments with a wheel of the working tree, one for each set of packages."""

import contextlib
import fcntl
import hashlib
import json
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.beside.situations import HERE, Environment

ROOT: Final = Path(__file__).parents[2]
CACHE: Final = ROOT / ".venv-beside"
_PIP: Final = ("-m", "pip", "--quiet", "--disable-pip-version-check")
_LIMIT: Final = 900


class CannotInstall(Exception):
    """The packages of an environment cannot be installed here."""


def programs_of(environment: Environment) -> Path:
    """Return the directory of programs of an environment, which is made if it does not exist."""
    if environment.name == HERE:
        return Path(sys.executable).parent
    with _alone("wheel"):
        wheel = _wheel()
    wanted = json.dumps([sys.version, environment.extras, *sorted(environment.packages)])
    directory = CACHE / hashlib.sha256(wanted.encode()).hexdigest()[:12]
    marker = directory / "installed"
    with _alone(directory.name):
        if not marker.exists():
            venv.create(directory, with_pip=True, clear=True)
            extras = f"[{environment.extras}]" if environment.extras else ""
            _run(directory / "bin" / "python", "install", f"{wheel}{extras}", *environment.packages)
            marker.write_text(wheel.parent.name)
        if marker.read_text() != wheel.parent.name:
            _run(directory / "bin" / "python", "install", "--no-deps", "--force-reinstall", wheel)
            marker.write_text(wheel.parent.name)
    return directory / "bin"


def parts(programs: Path) -> dict[str, str]:
    """Return where an environment has its packages, and the wheel that it was made with."""
    (libraries,) = programs.parent.glob("lib/python*/site-packages")
    found = {"LIBRARIES": str(libraries)}
    marker = programs.parent / "installed"
    if marker.exists():
        (wheel,) = (CACHE / "wheels" / marker.read_text()).glob("*.whl")
        found["WHEEL"] = str(wheel)
    return found


def versions(programs: Path, distributions: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of Python and of these distributions."""
    code = (
        "import json, platform, sys; from importlib.metadata import version; "
        "print(json.dumps({'python': platform.python_version()} "
        "| {name: version(name) for name in sys.argv[1:]}))"
    )
    done = subprocess.run(
        [programs / "python", "-c", code, *distributions], capture_output=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _wheel() -> Path:
    # In a directory that is named after what it is built from.
    sources = [ROOT / "pyproject.toml", *sorted((ROOT / "src").rglob("*"))]
    digest = hashlib.sha256()
    for path in sources:
        if path.is_file() and path.suffix != ".pyc":
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    directory = CACHE / "wheels" / digest.hexdigest()[:12]
    if not list(directory.glob("*.whl")):
        _run(sys.executable, "wheel", "--no-deps", "--wheel-dir", directory, ROOT)
    (wheel,) = directory.glob("*.whl")
    return wheel


def _run(python: Path | str, *arguments: Path | str) -> None:
    command = [str(part) for part in (python, *_PIP, *arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT)
    if done.returncode:
        raise CannotInstall(done.stderr[-2000:])


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    # Between the processes of pytest-xdist, too.
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
