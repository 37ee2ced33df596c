"""The options of ``inngest-connect doctor``."""

from pathlib import Path
from typing import Annotated, Final

import typer

from .run_command import env_file_option

HELP: Final = (
    "Find out why a worker does not connect from here.\n\n"
    "Does, check by check, what a worker does to connect, and shows a remedy for each failure: "
    "configuration, signing key, name, address, TLS, proxy, the API's answer, gateway, WebSocket, "
    "handshake, heartbeats, close.\n\n"
    "The verdict comes first, then the checks. It takes no work and changes nothing on the server: "
    "it stops before the handshake, in which a worker registers its functions. "
    "[bold]--connect[/bold] goes on.\n\n"
    "[bold]Exit codes[/bold]: 0 nothing failed, 10 plus the number of the first check that failed "
    "(11 configuration to 22 close), 2 wrong usage, 130 interrupted."
)


def doctor(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="MODULE[:ATTRIBUTE]",
            help="A worker, as for run: its apps and options are used. Without it, the variables "
            "of this environment and an app for this purpose.",
            show_default=False,
        ),
    ] = None,
    handshake: Annotated[
        bool,
        typer.Option(
            "--connect/--no-connect",
            "--handshake/--no-handshake",
            help="Go on with the handshake, as a worker. It REPLACES what the server knows of the "
            "apps: functions that are missing here are unregistered until a live worker connects "
            "again. Without MODULE it leaves an app named inngest-connect-doctor behind.",
        ),
    ] = False,
    env_file: Annotated[
        Path | None,
        env_file_option(
            "Set variables from this file first, as run does; those that are set already win."
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=600.0,
            help="Seconds for each answer of the network; the handshake gets six times as long.",
        ),
    ] = 10.0,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, and nothing else.")
    ] = False,
) -> None:
    """See ``HELP``."""
    from .doctor.run import run_doctor

    raise typer.Exit(run_doctor(target, timeout=timeout, handshake=handshake, json=json))
