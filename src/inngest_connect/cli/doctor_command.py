"""The options of ``inngest-connect doctor``."""

from typing import Annotated

import typer


def doctor(
    handshake: Annotated[
        bool,
        typer.Option(
            "--handshake/--no-handshake",
            help="Whether to go on after the WebSocket is open. A handshake registers the app "
            "'inngest-connect-doctor', with one function that is never called.",
        ),
    ] = True,
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
    """Find out why a worker does not connect from here.

    Looks, stage by stage, at what a worker would do with the variables of this environment:
    configuration, signing key, name, address, TLS, proxy, the API's answer, gateway, WebSocket,
    handshake, heartbeats, close. Each failure comes with a remedy.

    It takes no work, and touches no running worker: its instance id is its own. While it runs it
    counts as one connection of your plan.

    Exit codes: 0 nothing failed, 10 plus the number of the first check that failed (11
    configuration to 22 close), 2 wrong usage, 130 interrupted.
    """
    from .doctor.run import DoctorOptions, run_doctor

    options = DoctorOptions(timeout=timeout, handshake=handshake, json=json)
    raise typer.Exit(run_doctor(options))
