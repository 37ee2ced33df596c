"""What is published: ``make package`` builds ``dist/``, and this installs it as users do."""

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]
DIST = Path(__file__).parents[2] / "dist"
QUICKSTART = (Path(__file__).parents[2] / "examples" / "quickstart.py").read_text(encoding="utf-8")


def the(pattern: str) -> Path:
    found = list(DIST.glob(pattern))
    assert len(found) == 1, f"{DIST} has {found}; make package builds it"
    return found[0]


def installed(directory: Path, requirement: str) -> Path:
    """Return the directory of programs of a new environment with ``requirement``."""
    venv.create(directory, with_pip=True)
    programs = directory / ("Scripts" if sys.platform == "win32" else "bin")
    python = str(programs / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
    subprocess.run(pip, check=True)
    return programs


def output(*command: object, cwd: Path, code: int = 0) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, text=True, capture_output=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_wheel_has_the_package_and_nothing_else() -> None:
    names = zipfile.ZipFile(the("*.whl")).namelist()

    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        "inngest_connect", "inngest_connect_pytest.py", "inngest_connect_ready.py",
    }  # fmt: skip
    assert "inngest_connect/py.typed" in names
    assert [name for name in names if name.endswith("licenses/LICENSE")] != []
    assert sum(info.file_size for info in zipfile.ZipFile(the("*.whl")).infolist()) < 3_000_000


def test_the_sdist_has_the_source_and_no_tests_or_tools() -> None:
    with tarfile.open(the("*.tar.gz")) as archive:
        tops = {name.split("/")[1] for name in archive.getnames() if "/" in name}

    assert tops == {
        "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "SECURITY.md", ".gitignore",
        "pyproject.toml", "src",
    }  # fmt: skip


def test_the_metadata_names_the_license() -> None:
    wheel = zipfile.ZipFile(the("*.whl"))
    (name,) = [each for each in wheel.namelist() if each.endswith("METADATA")]

    lines = wheel.read(name).decode().splitlines()

    assert "License-Expression: Apache-2.0" in lines
    assert "License-File: LICENSE" in lines
    assert "Requires-Python: >=3.11" in lines


@pytest.mark.parametrize("pattern", ["*.whl", "*.tar.gz"])
def test_without_extras_a_worker_can_be_made_and_what_is_missing_is_named(
    pattern: str, tmp_path: Path
) -> None:
    programs = installed(tmp_path / "venv", str(the(pattern)))
    (tmp_path / "quickstart.py").write_text(QUICKSTART, encoding="utf-8")
    python = programs / "python"

    made = output(python, "-c", "import quickstart; print('made')", cwd=tmp_path)
    command = output(programs / "inngest-connect", "run", "quickstart", cwd=tmp_path, code=2)
    status = output(python, "-c", "import inngest_connect.status", cwd=tmp_path, code=1)
    testing = output(
        python, "-c", "from inngest_connect.testing import EmbeddedGateway", cwd=tmp_path, code=1
    )

    assert made == "made\n"
    assert 'pip install "inngest-connect[cli]"' in command
    assert "Traceback" not in command
    assert 'pip install "inngest-connect[status]"' in status
    assert 'pip install "inngest-connect[testing]"' in testing


def test_with_the_extra_the_demo_runs(tmp_path: Path) -> None:
    programs = installed(tmp_path / "venv", f"{the('*.whl')}[cli]")

    version = output(programs / "inngest-connect", "--version", cwd=tmp_path)
    demo = output(programs / "inngest-connect", "demo", "--seconds", "2", "--json", cwd=tmp_path)

    assert version.startswith("inngest-connect 0.")
    assert '"lost": 0, "duplicates": 0' in demo
