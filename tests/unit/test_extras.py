"""A part of the package that is used without its extra names it in one line."""

import subprocess
import sys

import pytest

from inngest_connect.extras import missing_extra

pytestmark = pytest.mark.unit


def last_line(code: str, *without: str) -> str:
    """The last line that ``code`` writes where the modules ``without`` are not installed."""
    program = (
        "import importlib.abc, sys\n"
        "class Missing(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name.partition('.')[0] in {without!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        f"sys.meta_path.insert(0, Missing())\n{code}"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    return (done.stdout + done.stderr).splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "module", "extra"),
    [
        ("from inngest_connect.status import StatusServer", "starlette", "status"),
        ("from inngest_connect.status import status_app", "uvicorn", "status"),
        ("from inngest_connect.testing import EmbeddedGateway", "starlette", "testing"),
        ("from inngest_connect.cli import main; main()", "typer", "cli"),
    ],
)
def test_the_extra_is_named(code: str, module: str, extra: str) -> None:
    line = last_line(code, module)

    assert (
        f'needs {module!r}, which is not installed; pip install "inngest-connect[{extra}]"' in line
    )


def test_a_module_of_this_package_or_the_sdk_that_is_missing_is_no_missing_extra() -> None:
    for name in ("inngest_connect.nothing", "inngest", None):
        error = ModuleNotFoundError("no", name=name)
        assert missing_extra("x", "y", error) is error


def test_the_version_is_that_of_the_installed_package() -> None:
    from importlib.metadata import version

    import inngest_connect

    assert inngest_connect.__version__ == version("inngest-connect")
    with pytest.raises(AttributeError, match="'inngest_connect' has no attribute 'nope'"):
        inngest_connect.nope  # type: ignore[attr-defined]  # noqa: B018


def test_the_package_can_be_run_as_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inngest_connect", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.startswith("inngest-connect ")
