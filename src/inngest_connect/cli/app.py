"""The commands and their options. What a command does is in a module of its own."""

import importlib.metadata
from typing import Annotated

import typer

from .demo import DemoOptions, run_demo

app = typer.Typer(
    name="inngest-connect",
    help="A worker for Inngest Connect. Start with: inngest-connect demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"inngest-connect {importlib.metadata.version('inngest-connect')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A worker for Inngest Connect. Start with: inngest-connect demo"""


@app.command()
def demo(
    seconds: Annotated[
        float, typer.Option(min=1.0, max=3600.0, help="How long to send traffic.")
    ] = 8.0,
    rate: Annotated[
        float, typer.Option(min=0.1, max=500.0, help="Function runs to start per second.")
    ] = 20.0,
    seed: Annotated[int, typer.Option(help="Which functions run when; same seed, same order.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print only the last line.")] = False,
) -> None:
    """Run a gateway and a worker on this machine, without an Inngest server.

    Sends traffic to five real Inngest functions, drains the worker's gateway half-way, shuts down
    gracefully with work in flight, and ends with one line of JSON. The exit code is 1 when a reply
    was lost or a request ran twice, 130 after Ctrl-C.
    """
    raise typer.Exit(run_demo(DemoOptions(seconds=seconds, rate=rate, seed=seed, quiet=json)))
