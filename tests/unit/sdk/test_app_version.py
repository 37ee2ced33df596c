"""The version of the user's program, from each source and from odd repositories."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from inngest_connect.sdk import app_version
from inngest_connect.sdk.app_version import PLATFORM_VARIABLES, VARIABLE, git_commit

pytestmark = pytest.mark.unit
COMMIT = "0123456789abcdef" * 2 + "01234567"
OTHER = "f" * 40


def detected(variables: dict[str, str]) -> str | None:
    return app_version.detected_app_version(variables)


def repository(root: Path, head: str = "ref: refs/heads/main\n") -> Path:
    git = root / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text(head)
    return git


@pytest.fixture(autouse=True)
def _no_repository_above(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app_version._own_commit.cache_clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path.parent))


def test_the_explicit_variable_is_taken_as_it_is() -> None:
    assert detected({VARIABLE: f" {COMMIT} ", "GITHUB_SHA": OTHER}) == COMMIT


@pytest.mark.parametrize("name", PLATFORM_VARIABLES)
def test_each_platforms_variable_is_known_and_a_commit_is_shortened(name: str) -> None:
    assert detected({name: "release-7"}) == "release-7"
    assert detected({name: COMMIT}) == "0123456789ab"


def test_the_variables_have_an_order() -> None:
    every = {name: f"from {name}" for name in PLATFORM_VARIABLES}

    for name in PLATFORM_VARIABLES:
        assert detected(every) == f"from {name}"
        del every[name]


@pytest.mark.parametrize("value", ["", "  ", "x" * 65, "two\nlines", "\x1b[31m"])
def test_a_value_that_is_no_version_is_passed_over(value: str) -> None:
    assert detected({"GITHUB_SHA": value, "IMAGE_TAG": "v1"}) == "v1"
    assert detected({"GITHUB_SHA": value}) is None


def test_an_empty_variable_switches_the_search_off(tmp_path: Path) -> None:
    (repository(tmp_path) / "refs/heads/main").write_text(COMMIT)

    assert detected({VARIABLE: "", "GITHUB_SHA": OTHER}) is None
    assert detected({VARIABLE: "x" * 65}) == "0123456789ab"


def test_without_variables_it_is_the_commit_of_the_working_directory_read_once(
    tmp_path: Path,
) -> None:
    branch = repository(tmp_path) / "refs/heads/main"
    branch.write_text(f"{COMMIT}\n")

    first = detected({})
    branch.write_text(OTHER)

    assert (first, detected({})) == ("0123456789ab", "0123456789ab")


def test_the_repository_may_be_above_and_the_branch_deep_or_packed(tmp_path: Path) -> None:
    git = repository(tmp_path, "ref: refs/heads/größe/2\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    packed_refs = f"# pack-refs with: peeled\n{OTHER} refs/heads/größe/20\n"
    packed_refs += f"{COMMIT} refs/heads/größe/2\n^{OTHER}\n"
    (git / "packed-refs").write_text(packed_refs)

    packed = git_commit(below)
    (git / "refs/heads/größe").mkdir()
    (git / "refs/heads/größe/2").write_text(OTHER)

    assert (packed, git_commit(below)) == (COMMIT, OTHER)


def test_a_detached_head_and_a_longer_hash() -> None:
    git = repository(Path(), OTHER)
    detached = git_commit(Path())
    (git / "HEAD").write_text("a" * 64 + "\n")

    assert (detached, git_commit(Path())) == (OTHER, "a" * 64)


@pytest.mark.parametrize("relative", [True, False])
def test_a_worktree_or_submodule_points_elsewhere(tmp_path: Path, relative: bool) -> None:
    main, work = tmp_path / "main", tmp_path / "work"
    (repository(main) / "refs/heads/side").write_text(COMMIT)
    own = main / ".git" / "worktrees" / "work"
    own.mkdir(parents=True)
    work.mkdir()
    (own / "HEAD").write_text("ref: refs/heads/side\n")
    (own / "commondir").write_text("../..\n" if relative else f"{main / '.git'}\n")
    target = "../main/.git/worktrees/work" if relative else own
    (work / ".git").write_text(f"gitdir: {target}\n")

    assert git_commit(work) == COMMIT


@pytest.mark.parametrize(
    "head",
    ["", "ref:", "ref: refs/heads/none", "ref: refs/../../secret", "0123", "ref: HEAD", "\0"],
)
def test_a_head_that_leads_nowhere_gives_no_version(tmp_path: Path, head: str) -> None:
    repository(tmp_path, head)
    (tmp_path / "secret").write_text(COMMIT)

    assert git_commit(tmp_path) is None


def test_files_that_cannot_be_read_give_no_version(tmp_path: Path) -> None:
    git = repository(tmp_path)
    (git / "refs/heads/main").write_text("no commit")
    unreadable = git_commit(tmp_path)
    (git / "HEAD").unlink()
    without_head = git_commit(tmp_path)
    (git / "HEAD").write_bytes(b"\xff\xfe")
    no_text = git_commit(tmp_path)
    (git / "HEAD").unlink()
    (git / "HEAD").symlink_to("HEAD")
    circle = git_commit(tmp_path)
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / ".git").write_text("what is this")

    assert [unreadable, without_head, no_text, circle, git_commit(odd)] == [None] * 5


def test_a_repository_of_the_home_directory_is_not_the_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository(tmp_path) / "refs/heads/main").write_text(COMMIT)
    program = tmp_path / "program"
    program.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))

    assert git_commit(program) is None
    assert git_commit(tmp_path) == COMMIT


def test_a_working_directory_that_is_gone_gives_no_version(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()

    assert detected({}) is None


def test_the_lists_in_the_documentation_are_these() -> None:
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")
    section = page.partition("### App version")[2].partition("\n## ")[0]

    named = re.findall(r"`([A-Z]\w+)`", section)

    assert tuple(named) == (VARIABLE, *PLATFORM_VARIABLES)


def test_git_itself_says_the_same(tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.com", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    subprocess.run([*git, "pack-refs", "--all"], check=True)
    said = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)

    assert git_commit(tmp_path) == said.stdout.strip()
