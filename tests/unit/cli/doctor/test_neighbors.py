"""The line about what is installed beside the worker."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from inngest_connect.cli.doctor.neighbors import neighbors
from inngest_connect.cli.doctor.output import print_neighbors

pytestmark = pytest.mark.unit


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two libraries that are, and one whose metadata is damaged, and nothing else."""
    for name, text in {
        "sentry_sdk-2.75.0": "Name: sentry-sdk\nVersion: 2.75.0\n",
        "Django-5.2": "Name: Django\nVersion: 5.2\n",
        "loguru-0": "Name: loguru\n",
    }.items():
        folder = tmp_path / f"{name}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\n{text}", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])


def last_line() -> str:
    printed = io.StringIO()
    print_neighbors(Console(file=printed, width=200))
    return printed.getvalue()


def test_one_line_names_what_is_installed_and_its_version(installed: None) -> None:
    assert last_line() == (
        "In this environment: sentry-sdk 2.75.0, loguru of an unknown version, Django 5.2.\n"
    )


def test_without_any_there_is_no_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    assert neighbors() == {}
    assert last_line() == ""
