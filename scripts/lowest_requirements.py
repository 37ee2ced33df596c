"""Print the lower bound of every runtime dependency as a constraint, from pyproject.toml."""

import re
import tomllib
from pathlib import Path

_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([0-9][0-9A-Za-z.]*)")


def main() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = list(project["dependencies"])
    for extra in ("cli", "status", "testing"):
        requirements += extras[extra]
    lowest = {}
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match is not None:
            lowest[match[1]] = match[2]
    for name, version in sorted(lowest.items()):
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()
