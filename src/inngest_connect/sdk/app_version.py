"""The version of the user's program, found when the ``inngest`` client names none.

INNGEST_CONNECT_APP_VERSION comes first (set empty, it switches the search off), then the variables
in which platforms name what they deployed, then the git commit of the working directory, read from
its files, once per process. Nothing here raises.
"""

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

VARIABLE: Final = "INNGEST_CONNECT_APP_VERSION"

PLATFORM_VARIABLES: Final = (
    # The commit, where a platform tells it: the same for every process and every region.
    "GITHUB_SHA",
    "CI_COMMIT_SHA",
    "RENDER_GIT_COMMIT",
    "RAILWAY_GIT_COMMIT_SHA",
    "VERCEL_GIT_COMMIT_SHA",
    "HEROKU_BUILD_COMMIT",
    "HEROKU_SLUG_COMMIT",
    "KOYEB_GIT_SHA",
    "CF_PAGES_COMMIT_SHA",
    "SOURCE_VERSION",
    "SOURCE_COMMIT",
    "GIT_COMMIT",
    "COMMIT_SHA",
    # Else what was deployed: an image, a revision, a release.
    "IMAGE_TAG",
    "FLY_MACHINE_VERSION",
    "K_REVISION",
    "HEROKU_RELEASE_VERSION",
)

LONGEST: Final = 64
_COMMIT_DIGITS: Final = 12
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BRANCH: Final = re.compile(r"refs/[^\s~^:?*\[\\]+")
_MOST_BYTES: Final = 4 * 1024 * 1024


def detected_app_version(variables: Mapping[str, str] = os.environ) -> str | None:
    """The version of this process's program, None when nothing names it."""
    explicit = variables.get(VARIABLE)
    if explicit is not None and not explicit.strip():
        return None
    for name in (VARIABLE, *PLATFORM_VARIABLES):
        version = _usable(variables.get(name, ""))
        if version is not None:
            is_commit = name != VARIABLE and _COMMIT.fullmatch(version)
            return version[:_COMMIT_DIGITS] if is_commit else version
    commit = _own_commit()
    return commit[:_COMMIT_DIGITS] if commit is not None else None


@functools.cache
def _own_commit() -> str | None:
    return git_commit(Path())


def git_commit(directory: Path) -> str | None:
    """The full commit checked out at ``directory`` or above it, up to the home directory."""
    try:
        git = _git_directory(directory.resolve())
        return _head(git) if git is not None else None
    except (OSError, RuntimeError, ValueError):  # unreadable, a circle of links, or no text
        return None


def _usable(text: str) -> str | None:
    """A version is short, printable text; anything else is somebody's mistake, and ignored."""
    version = text.strip()
    return version if 0 < len(version) <= LONGEST and version.isprintable() else None


def _git_directory(start: Path) -> Path | None:
    """A repository of the home directory itself, such as one of dotfiles, is not the program's."""
    home = Path(os.path.expanduser("~"))
    for directory in (start, *start.parents):
        if directory == home and directory != start:
            return None
        dot_git = directory / ".git"
        if dot_git.is_dir():
            return dot_git
        if dot_git.is_file():  # of a worktree or a submodule: "gitdir: <path>"
            keyword, _, path = _read(dot_git).partition(":")
            return directory / path.strip() if keyword == "gitdir" and path.strip() else None
    return None


def _head(git: Path) -> str | None:
    head = _read(git / "HEAD")
    if _COMMIT.fullmatch(head):
        return head  # detached
    branch = head.removeprefix("ref:").strip()
    if not head.startswith("ref:") or not _BRANCH.fullmatch(branch) or ".." in branch:
        return None
    shared = git
    if (git / "commondir").is_file():  # branches of a worktree are in the main repository
        shared = git / _read(git / "commondir")
    for place in (git, shared):
        if (place / branch).is_file():
            commit = _read(place / branch)
            return commit if _COMMIT.fullmatch(commit) else None
    return _packed(shared, branch)


def _packed(git: Path, branch: str) -> str | None:
    packed = git / "packed-refs"
    if not packed.is_file():
        return None
    for line in _read(packed).splitlines():
        commit, _, name = line.partition(" ")
        if name == branch and _COMMIT.fullmatch(commit):
            return commit
    return None


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MOST_BYTES).decode().strip()
