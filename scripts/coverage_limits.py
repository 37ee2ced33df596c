"""Check the promises about coverage, each separately.

``coverage report`` mixes statements and branches into one figure, and knows neither functions nor
which files are the critical path: those that every request passes.
"""

import json
import sys
from pathlib import Path
from typing import Any

STATEMENTS = 95.0
BRANCHES = 90.0
FUNCTIONS = 90.0
CRITICAL_PATH = (
    "inngest_connect/core/",
    "inngest_connect/state_machine.py",
    "inngest_connect/factory.py",
)
"""Every statement of these has to be covered."""
SHELLS = (
    "inngest_connect/aio/",
    "inngest_connect/execution/",
    "inngest_connect/sdk/",
    "inngest_connect/transport/",
    "inngest_connect/orchestrator.py",
    "inngest_connect/connection.py",
    "inngest_connect/host.py",
    "inngest_connect/worker_view.py",
    "inngest_connect/options.py",
    "inngest_connect/option_values.py",
    "inngest_connect/observability/callbacks.py",
    "inngest_connect/observability/subscriptions.py",
)
"""Part of the critical path too. Some of their statements run only in processes that are killed or
forked, where nothing is recorded."""
SHELL_STATEMENTS = 96.0


def main() -> int:
    report = json.loads(Path(sys.argv[1]).read_text())
    totals = report["totals"]
    shares = {
        "statements": (100 * totals["covered_lines"] / totals["num_statements"], STATEMENTS),
        "branches": (100 * totals["covered_branches"] / totals["num_branches"], BRANCHES),
        "functions": (function_share(report["files"]), FUNCTIONS),
    }
    for path in CRITICAL_PATH + SHELLS:
        if not any(part_of(name, (path,)) for name in report["files"]):
            say(f"{path} is listed in this script and does not exist")
            return 1
    missed = critical_lines(report["files"])
    shells = [file for name, file in report["files"].items() if part_of(name, SHELLS)]
    statements = sum(file["summary"]["num_statements"] for file in shells)
    covered = sum(file["summary"]["covered_lines"] for file in shells)
    shares["statements of the shells"] = (100 * covered / statements, SHELL_STATEMENTS)
    say(
        ", ".join(
            f"{name} {has:.1f} % (at least {least:g})" for name, (has, least) in shares.items()
        )
    )
    say(f"critical path: {len(missed)} statements not covered {' '.join(missed)}".rstrip())
    return 0 if not missed and all(has >= least for has, least in shares.values()) else 1


def function_share(files: dict[str, Any]) -> float:
    """A function counts as covered when any of it ran; declarations of protocols have no body."""
    functions = [
        function
        for file in files.values()
        for name, function in file["functions"].items()
        if name and function["summary"]["num_statements"]
    ]
    return 100 * sum(1 for each in functions if each["executed_lines"]) / len(functions)


def critical_lines(files: dict[str, Any]) -> list[str]:
    return [
        f"{name}:{line}"
        for name, file in files.items()
        if part_of(name, CRITICAL_PATH)
        for line in file["missing_lines"]
    ]


def part_of(name: str, parts: tuple[str, ...]) -> bool:
    return any(part in name.replace("\\", "/") for part in parts)


def say(text: str) -> None:
    print(text)


if __name__ == "__main__":
    sys.exit(main())
