"""Starting the command line, or importing the package, costs only what is used."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]
HEAVY = {"inngest", "picows", "starlette", "uvicorn", "httpx", "google", "structlog", "asyncio"}


def imported_by(code: str) -> set[str]:
    """The top-level modules that are loaded after ``code`` ran in a fresh interpreter."""
    program = (
        f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_a_command_imports_only_what_it_needs() -> None:
    main = "from inngest_connect.cli import main; sys.argv = ['inngest-connect', {!r}]; main()"

    for argument in ("--help", "--version"):
        assert imported_by(main.format(argument)) & HEAVY == set()


def test_the_package_imports_its_parts_when_one_is_used() -> None:
    assert imported_by("import inngest_connect") & HEAVY == set()
    assert "inngest" in imported_by("from inngest_connect import connect")


def test_the_package_has_its_public_names_whatever_was_imported_first() -> None:
    code = (
        "import inngest_connect.connecting, inngest_connect; "
        "from inngest_connect import *; "
        "assert callable(connect) and inngest_connect.connect is connect; "
        "assert inngest_connect.errors.ConnectError is ConnectError; "
        "assert dir(inngest_connect) == sorted(inngest_connect.__all__); "
        "assert not hasattr(inngest_connect, 'nothing')"
    )

    assert "inngest" in imported_by(code)


def test_the_docs_have_every_option_and_variable_of_run() -> None:
    code = "from inngest_connect.cli import run_command"
    assert "inngest" not in imported_by(code)
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    source = (ROOT / "src/inngest_connect/cli/run_command.py").read_text(encoding="utf-8")

    variables = re.findall(r"(?:_PREFIX\}|_variable\(\")([A-Z_]+)", source)

    assert len(variables) >= 10
    for name in variables:
        assert f"| `INNGEST_CONNECT_{name}` |" in page
