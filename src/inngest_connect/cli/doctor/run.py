"""Runs the checks for the command line and writes what they find."""

import asyncio
import sys
import time
from dataclasses import dataclass

import typer
from rich.console import Console

from ...errors import ConfigurationError
from ...observability.redaction import Redactor
from .checks import examine, unreadable
from .examination import Examination
from .findings import Finding, Problem, Result, exit_code
from .report import Censor, as_json, print_introduction, print_result, print_verdict
from .subject import APP_ID, Subject, from_environment, from_target

INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorOptions:
    """``timeout`` is seconds for one piece of network I/O."""

    target: str | None
    timeout: float
    handshake: bool
    json: bool


def run_doctor(options: DoctorOptions) -> int:
    """Returns the exit code."""
    try:
        return _run(options)
    except KeyboardInterrupt:
        sys.stderr.write("inngest-connect doctor: interrupted\n")
        return INTERRUPTED


def _run(options: DoctorOptions) -> int:
    console = Console(quiet=options.json)
    whose = options.target or f"this environment, with the app {APP_ID}"
    print_introduction(console, whose, options.handshake)
    begun = time.monotonic()
    censor = Censor(Redactor().text)

    def tell(result: Result) -> None:
        print_result(console, result, censor)

    try:
        subject = from_environment() if options.target is None else from_target(options.target)
    except ConfigurationError as error:
        results = unreadable(_unreadable(error), time.monotonic() - begun)
        for result in results:
            tell(result)
    else:
        examination = _examination(subject, options)
        censor = Censor(lambda text: examination.redactor().text(text))
        results = asyncio.run(examine(examination, tell))
    if options.json:
        sys.stdout.write(as_json(options.target, results, censor) + "\n")
    print_verdict(console, results, options.handshake)
    return exit_code(results)


def _examination(subject: Subject, options: DoctorOptions) -> Examination:
    return Examination(
        subject,
        options.timeout,
        handshake=options.handshake,
        known_variables=_variables_of_commands(),
    )


def _unreadable(error: ConfigurationError) -> Finding:
    text, _, remedy = str(error).partition("\n")
    return Finding(text, (Problem(text, remedy or "Correct what the text names"),))


def _variables_of_commands() -> frozenset[str]:
    """Every variable that an option of ``inngest-connect`` is read from."""
    from ..app import app

    group = typer.main.get_command(app)
    found: set[str] = set()
    for command in getattr(group, "commands", {}).values():
        for parameter in command.params:
            names = parameter.envvar or ()
            found |= {names} if isinstance(names, str) else set(names)
    return frozenset(found)
