"""The pytest plugin in separate processes, as users' projects run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import ROOT, blocks

EXAMPLES = ROOT / "examples" / "testing"
pytestmark = pytest.mark.integration


def run_pytest(
    directory: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments]
    return subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_the_examples_pass_in_both_modes(tmp_path: Path, mode: str) -> None:
    example = tmp_path / "test_with_fixtures.py"
    example.write_text((EXAMPLES / "test_with_fixtures.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    ended = run_pytest(tmp_path, f"--asyncio-mode={mode}", "--strict-markers")

    assert "5 passed" in ended.stdout, ended.stdout + ended.stderr


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_the_files_of_the_page_for_users_pass(tmp_path: Path, mode: str) -> None:
    for block in blocks(ROOT / "docs" / "testing-your-functions.md"):
        name = block.text.partition("\n")[0].removeprefix("# ")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(block.text, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")

    ended = run_pytest(
        tmp_path, f"--asyncio-mode={mode}", "--strict-markers", "-W", "error::ResourceWarning"
    )

    assert "5 passed" in ended.stdout, ended.stdout + ended.stderr


def test_without_pytest_asyncio_a_fixture_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "pytest_asyncio.py").write_text("raise ImportError\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_one.py").write_text(
        "def test_one(embedded_gateway): ...\n"
        "def test_two(gateway_thread): assert gateway_thread.api_origin\n"
    )

    ended = run_pytest(tmp_path, "-p", "no:asyncio", PYTHONPATH=str(tmp_path))

    assert "1 passed" in ended.stdout, ended.stdout + ended.stderr
    assert "1 error" in ended.stdout
    assert "the fixture embedded_gateway needs pytest-asyncio: pip install" in ended.stdout


def test_a_run_that_uses_no_fixture_does_not_import_the_worker(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_nothing.py").write_text(
        "import sys\ndef test_nothing():\n    assert 'inngest_connect' not in sys.modules\n"
    )

    ended = run_pytest(tmp_path)

    assert "1 passed" in ended.stdout, ended.stdout + ended.stderr


def test_the_fixtures_and_their_marker_are_documented_by_pytest_itself(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    fixtures = run_pytest(tmp_path, "--fixtures").stdout
    markers = run_pytest(tmp_path, "--markers").stdout

    assert "connect_harness" in fixtures
    assert "gateway_thread" in fixtures
    assert "An Inngest server on loopback" in fixtures
    assert "connect_gateway(**settings)" in markers
