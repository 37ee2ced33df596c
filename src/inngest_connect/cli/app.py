"""The commands and their options. What a command does is in its own module.

A command imports that module only when it runs. ``ready`` is answered before this module is
imported, because a probe runs it every few seconds; it is declared here for ``--help``.
"""

from pathlib import Path
from typing import Annotated

import typer

import inngest_connect_ready

from . import doctor_command, run_command
from .plain_command import PlainCommand

app = typer.Typer(
    name="inngest-connect",
    help="A worker for Inngest Connect. Start with: inngest-connect demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(value: bool) -> None:
    if value:
        import importlib.metadata

        typer.echo(f"inngest-connect {importlib.metadata.version('inngest-connect')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of all commands; the help text is that of ``app``."""


app.command(help=run_command.HELP, no_args_is_help=True, cls=PlainCommand)(run_command.run)
app.command(help=doctor_command.HELP, cls=PlainCommand)(doctor_command.doctor)


@app.command(
    help=inngest_connect_ready.HELP,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def ready(context: typer.Context) -> None:
    """For ``python -m inngest_connect.cli ready``; the installed command does not come here."""
    raise typer.Exit(inngest_connect_ready.main(context.args))


@app.command(cls=PlainCommand)
def journal(
    path: Annotated[Path, typer.Argument(help="The file, as for run --journal.")],
    json: Annotated[bool, typer.Option("--json", help="Print one object a line.")] = False,
) -> None:
    """Show what a journal has: the unfinished requests of a worker, without payloads.

    It may be in use. The exit code is 2 when the file is not a journal.
    """
    from .journal import show_journal

    raise typer.Exit(show_journal(path, as_json=json))


@app.command(cls=PlainCommand)
def demo(
    seconds: Annotated[
        float, typer.Option(min=1.0, max=3600.0, help="How long to send traffic.")
    ] = 8.0,
    rate: Annotated[
        float, typer.Option(min=0.1, max=500.0, help="Function runs to start per second.")
    ] = 20.0,
    seed: Annotated[int, typer.Option(help="Which functions run when; same seed, same order.")] = 1,
    json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON, and nothing else.")
    ] = False,
) -> None:
    """Run a gateway and a worker on this machine, without an Inngest server.

    Sends traffic to five real Inngest functions, drains the worker's gateway half-way, shuts down
    gracefully with work in flight, and says what happened to every request. The exit code is 1 when
    a reply was lost or a request ran twice, 130 after Ctrl-C.
    """
    from .demo import DemoOptions, run_demo

    raise typer.Exit(run_demo(DemoOptions(seconds=seconds, rate=rate, seed=seed, json=json)))


@app.command(cls=PlainCommand)
def gateway(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0 for any.")] = 8288,
    gateway_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the gateway; 0 for any.")
    ] = 8289,
    lease: Annotated[
        float, typer.Option(min=0.1, max=7200.0, help="Seconds a request is leased for.")
    ] = 120.0,
    drain_every: Annotated[
        float, typer.Option(min=0.0, help="Seconds between drains of the gateway; 0 for none.")
    ] = 0.0,
) -> None:
    """Serve an Inngest API and gateway on loopback, for workers in other processes.

    Runs functions when an event is sent to it or when they are invoked over HTTP, and prints the
    result of each run. The exit code is 1 when an acknowledged request was lost.
    """
    from .gateway import run_gateway

    raise typer.Exit(run_gateway(port, gateway_port, lease=lease, drain_every=drain_every))
