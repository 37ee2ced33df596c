"""What starting a command imports: a probe every few seconds must cost next to nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]
SERVERS = {"starlette", "uvicorn"}


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


def test_ready_imports_only_its_own_module_and_the_standard_library() -> None:
    ready = (
        "from inngest_connect_ready import entry; sys.argv = ['inngest-connect', 'ready', "
        "'--http', '127.0.0.1:9', '--timeout', '1']; entry()"
    )

    imported = imported_by(ready)

    assert "inngest_connect_ready" in imported
    assert imported & {"inngest_connect", "inngest", "asyncio", "typer", "http"} == set()


def test_the_installed_command_answers_ready_by_itself() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    assert 'inngest-connect = "inngest_connect_ready:entry"' in project
    assert '"src/inngest_connect_ready.py"' in project


def test_a_command_imports_only_what_it_needs() -> None:
    main = "from inngest_connect.cli import main; sys.argv = ['inngest-connect', {!r}]; main()"

    for argument in ("--help", "--version"):
        assert imported_by(main.format(argument)) & SERVERS == set()


def test_the_package_imports_no_server() -> None:
    assert imported_by("import inngest_connect") & SERVERS == set()
