"""Runs the checks for the command line."""

import asyncio
import sys

import typer
from rich.console import Console

from ...errors import ConnectError
from .checks import CHECKS, examine
from .examination import APP_ID, Examination, Subject, from_environment, from_target
from .findings import exit_code
from .output import as_json, print_introduction, print_neighbors, print_result, print_verdict

INTERRUPTED = 130


def run_doctor(target: str | None, *, timeout: float, handshake: bool, json: bool) -> int:
    """Returns the exit code. ``timeout`` is seconds for one piece of network I/O."""
    console = Console(quiet=json)
    whose = target or f"this environment, with the app {APP_ID}"
    print_introduction(console, whose, handshake)
    try:
        try:
            # Not within a running event loop: the module is imported as in a program.
            found: Subject | ConnectError = from_target(target) if target else from_environment()
        except ConnectError as error:
            found = error
        known = _variables_of_commands()
        examination = Examination(found, timeout, handshake=handshake, known_variables=known)
        redactor = examination.redactor
        with console.status("") as progress:  # on terminals only
            results = asyncio.run(
                examine(
                    examination,
                    lambda result: progress.update(f"{result.number} of {len(CHECKS)} checks"),
                )
            )
    except KeyboardInterrupt:
        sys.stderr.write("inngest-connect doctor: interrupted\n")
        return INTERRUPTED
    if json:
        sys.stdout.write(as_json(target, results, redactor) + "\n")
    print_verdict(console, results, handshake, redactor)
    for result in results:
        print_result(console, result, redactor)
    print_neighbors(console)
    return exit_code(results)


def _variables_of_commands() -> frozenset[str]:
    """Every variable that an option of ``inngest-connect`` is read from."""
    from ..app import app

    found: set[str] = set()
    for command in getattr(typer.main.get_command(app), "commands", {}).values():
        for parameter in command.params:
            names = parameter.envvar or ()
            found |= {names} if isinstance(names, str) else set(names)
    return frozenset(found)
