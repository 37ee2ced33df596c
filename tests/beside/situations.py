"""The rows of ``table.toml``: what users run a worker beside, and what must hold there."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

FOLDER: Final = Path(__file__).parent
HERE: Final = "here"
"""The name of the environment that runs the tests."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Packages that are installed together with the worker."""

    name: str
    packages: tuple[str, ...] = ()
    extras: str = ""
    """Of inngest-connect, as in "cli,testing"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One row. Commands are split as a shell does, and run in a copy of ``programs``."""

    name: str
    group: str
    command: str
    environment: str = HERE
    packages: tuple[str, ...] = ()
    """Distributions whose versions belong to the result."""
    holds: Literal["works", "works with", "refused"] = "works"
    setup: str = ""
    """The line of set-up that it works with."""
    error: str = ""
    """What the error contains that refuses it."""
    says: str = ""
    """What the output contains, whatever else it does."""
    played: Literal["worker", "tests"] = "worker"
    """Whether the command is a worker that is served from outside, or a run of tests."""
    workers: int = 1
    exit_code: int = 0
    """After SIGTERM, or of the tests."""
    variables: dict[str, str] = field(default_factory=dict)
    build: str = ""
    """A command that runs before."""
    edited: str = ""
    """The file that is changed, so that a reloader starts the worker again."""
    ipv6: bool = False
    """API and gateway listen on ::1 only."""
    signaled: Literal["process", "child"] = "process"
    """Which process gets SIGTERM: the one that is started, or its first child."""
    probe: str = ""
    """A command that fails where this situation cannot be had."""
    unavailable: str = ""
    """Why, when the probe fails."""


def _load() -> tuple[dict[str, Environment], dict[str, Situation]]:
    table = tomllib.loads((FOLDER / "table.toml").read_text(encoding="utf-8"))
    environments = {HERE: Environment(HERE)}
    for name, entry in table["environments"].items():
        packages = tuple(entry["packages"])
        environments[name] = Environment(name, packages, entry.get("extras", ""))
    situations: dict[str, Situation] = {}
    for row in table.get("situation", []):
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in row.items()
        }
        situation = Situation(**values)
        if situation.name in situations or situation.environment not in environments:
            raise ValueError(f"the row {situation.name!r}: a second one, or no such environment")
        situations[situation.name] = situation
    return environments, situations


ENVIRONMENTS, SITUATIONS = _load()
