"""The version of the user's program, for a client without one.

INNGEST_CONNECT_APP_VERSION comes first (set empty, it switches the search off), then the variables
in which platforms name what they deployed, then the git commit of the working directory, which is
read from its files once per process. Nothing here raises.
"""

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

VARIABLE: Final = "INNGEST_CONNECT_APP_VERSION"

PLATFORM_VARIABLES: Final = (
    # The commit, which is the same for every process and every region.
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
        version = variables.get(name, "").strip()
        # Anything but a short, printable text is a mistake of the platform, and ignored.
        if 0 < len(version) <= LONGEST and version.isprintable():
            is_commit = name != VARIABLE and _COMMIT.fullmatch(version)
            return version[:_COMMIT_DIGITS] if is_commit else version
    commit = _own_commit()
    return commit[:_COMMIT_DIGITS] if commit is not None else None


@functools.cache
def _own_commit() -> str | None:
    return git_commit(Path())


def git_commit(directory: Path) -> str | None:
    """The full commit checked out at ``directory`` or above it, up to the home directory."""
    home = Path(os.path.expanduser("~"))
    try:
        start = directory.resolve()
        for folder in (start, *start.parents):
            if folder == home and folder != start:
                return None  # a repository of dotfiles, say, is not the program's
            git = folder / ".git"
            if git.is_file():  # of a worktree or a submodule: "gitdir: <path>"
                link = re.fullmatch(r"gitdir:\s*(.+)", _read(git))
                return _head(folder / link[1]) if link else None
            if git.is_dir():
                return _head(git)
    except (OSError, RuntimeError, ValueError):  # unreadable, a circle of links, or no text
        pass
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
    if (shared / "packed-refs").is_file():
        for line in _read(shared / "packed-refs").splitlines():
            commit, _, name = line.partition(" ")
            if name == branch and _COMMIT.fullmatch(commit):
                return commit
    return None


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MOST_BYTES).decode().strip()
