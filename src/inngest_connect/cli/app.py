"""The commands and their options. What a command does is in a module of its own.

Those modules are imported by the commands that need them, and only then: a probe that runs every
few seconds must not pay for the test kit of the demo.
"""

from typing import Annotated

import typer

from . import doctor_command, run_command
from .default_address import DEFAULT_ADDRESS, HTTP_VARIABLE

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
    """A worker for Inngest Connect. Start with: inngest-connect demo"""


app.command(help=run_command.HELP, no_args_is_help=True)(run_command.run)
app.command(help=doctor_command.HELP)(doctor_command.doctor)


@app.command()
def ready(
    http: Annotated[
        str,
        typer.Option(
            metavar="[HOST:]PORT", envvar=HTTP_VARIABLE, help="The worker's status server."
        ),
    ] = DEFAULT_ADDRESS,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 3.0,
    live_only: Annotated[
        bool, typer.Option("--live-only", help="Ask whether it is alive (/healthz), no more.")
    ] = False,
) -> None:
    """Ask a worker that runs with --http whether it is ready, for probes without curl.

    Prints one line with the reason. The exit code is 0 when it is, 1 when it is not or does not
    answer, 2 for wrong usage.
    """
    from .ready import ask

    try:
        yes, reason = ask(http, "/healthz" if live_only else "/readyz", timeout)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--http") from None
    question = "live" if live_only else "ready"
    typer.echo(f"{question}: {reason}" if yes else f"not {question}: {reason}")
    raise typer.Exit(0 if yes else 1)


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
    from .demo import DemoOptions, run_demo

    raise typer.Exit(run_demo(DemoOptions(seconds=seconds, rate=rate, seed=seed, quiet=json)))


@app.command()
def gateway(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0 for any.")] = 8288,
    gateway_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the gateway; 0 for any.")
    ] = 8289,
    lease: Annotated[
        float, typer.Option(min=0.1, max=7200.0, help="Seconds a request is leased for.")
    ] = 120.0,
    drain_every: Annotated[
        float, typer.Option(min=0.0, help="Drain the gateway every so many seconds; 0 never.")
    ] = 0.0,
) -> None:
    """Serve an Inngest API and gateway on loopback, for workers in other processes.

    Runs functions when an event is sent to it or when they are invoked over HTTP, and prints the
    result of each run. The exit code is 1 when an acknowledged request was lost.
    """
    from .gateway import GatewayOptions, run_gateway

    options = GatewayOptions(
        port=port, gateway_port=gateway_port, lease=lease, drain_every=drain_every
    )
    raise typer.Exit(run_gateway(options))


@app.command()
def simulate(
    seeds: Annotated[int, typer.Option(min=1, help="How many schedules to run.")] = 20_000,
    first: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0 for one on each core.")] = 0,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Replay this one as a timeline, shrunk if it fails.")
    ] = None,
) -> None:
    """Simulate days of trouble: the real decisions of a worker in a world made of models.

    Each seed is one schedule of requests and faults, played in virtual time with all invariants
    checked after every step. The exit code is 1 when one is violated.
    """
    from . import simulate as simulation

    if seed is not None:
        raise typer.Exit(simulation.replay(seed))
    raise typer.Exit(simulation.simulate(first, seeds, jobs))


@app.command()
def chaos(
    seconds: Annotated[float, typer.Option(min=1.0, help="How long faults happen.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="Which faults happen when.")] = 1,
) -> None:
    """Run real worker processes under random faults, and account for every request.

    Connections are reset, swallowed, slowed and refused, gateways drained and killed, the API
    fails, and processes are stopped and continued. The last line is the ledger as JSON; the exit
    code is 1 when an acknowledged request was lost or executed twice by one worker.
    """
    from .chaos import run

    raise typer.Exit(run(seconds, seed))
