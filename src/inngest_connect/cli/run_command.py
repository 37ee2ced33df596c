"""The options of ``inngest-connect run``.

Those that ``connect()`` has too are shown with their variables but not read from them here: a
variable must not beat what the code says, and ``connect()`` reads it itself.
"""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from inngest_connect_ready import DEFAULT_ADDRESS, HTTP_VARIABLE

_WORKER, _OPERATION, _DEVELOPMENT = "Worker", "Operation", "Development"
_PREFIX: Final = "INNGEST_CONNECT_"
HELP: Final = (
    "Run a worker until it is told to stop.\n\n"
    "[bold]Examples[/bold]\n\n"
    "$ inngest-connect run shop.worker:apps\n\n"
    "$ inngest-connect run shop.worker --env-file .env --reload --live\n\n"
    "$ inngest-connect run shop.worker:make --http 8080 --log-format json\n\n"
    "where shop/worker.py has what you would pass to connect(), or what it returns:\n\n"
    "apps = \\[(client, \\[greet, charge])]\n\n"
    "SIGTERM or Ctrl-C finishes the work in flight, a second one stops at once. An option beats "
    "what the code passes to connect(), which beats a variable.\n\n"
    "[bold]Exit codes[/bold]: 0 closed cleanly, 1 work was abandoned, 2 wrong usage, configuration "
    "or signing key, 3 the worker crashed, or had no first connection in time."
)


class Level(StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class Format(StrEnum):
    console = "console"
    json = "json"


_environment_before: dict[str, str] = dict(os.environ)
"""Without what ``--env-file`` adds: a restarted child reads the file anew."""


def _variable(name: str) -> str:
    return f"\\[env var: {_PREFIX}{name}]"


def _load_env_file(path: Path | None) -> Path | None:
    """Called before all other options are looked at, so that the file can set them too."""
    if path is not None:
        import dotenv

        dotenv.load_dotenv(path, override=False)
    return path


def run(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE[:ATTRIBUTE]",
            help="A list of (client, functions) tuples, one such tuple, a connect() result, or a "
            "function that returns one of these. The attribute may be left out when the module "
            "has only one. The current directory is put on the import path.",
            show_default=False,
        ),
    ],
    processes: Annotated[
        int,
        typer.Option(
            metavar="N",
            envvar=f"{_PREFIX}PROCESSES",
            help="Run functions in so many child processes, behind one connection; 1 runs them "
            "in this one.",
            rich_help_panel=_WORKER,
        ),
    ] = 1,
    max_concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Functions that run at once; the rest is queued. "
            + _variable("MAX_WORKER_CONCURRENCY"),
            show_default="no limit",
            rich_help_panel=_WORKER,
        ),
    ] = None,
    instance_id: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Identifies this process across reconnects; unique per process. "
            + _variable("INSTANCE_ID"),
            show_default="hostname and a suffix",
            rich_help_panel=_WORKER,
        ),
    ] = None,
    gateway_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Dial this instead of the gateway that the API names. " + _variable("GATEWAY_URL"),
            show_default="as the API says",
            rich_help_panel=_WORKER,
        ),
    ] = None,
    shutdown_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SEC",
            help="Seconds that work in flight gets to finish after SIGTERM or Ctrl-C. "
            + _variable("SHUTDOWN_TIMEOUT"),
            show_default="no limit",
            rich_help_panel=_WORKER,
        ),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            envvar=HTTP_VARIABLE,
            help="Serve /healthz, /readyz, /metrics and a status page there. "
            f"inngest-connect ready asks {DEFAULT_ADDRESS} unless told otherwise.",
            show_default="off",
            rich_help_panel=_OPERATION,
        ),
    ] = None,
    log_level: Annotated[
        Level,
        typer.Option(
            metavar="LEVEL",
            envvar=f"{_PREFIX}LOG_LEVEL",
            case_sensitive=False,
            help="debug, info, warning or error. debug has a record for each request, and "
            "tracebacks of errors.",
            rich_help_panel=_OPERATION,
        ),
    ] = Level.info,
    log_format: Annotated[
        Format,
        typer.Option(
            metavar="FORMAT",
            envvar=f"{_PREFIX}LOG_FORMAT",
            case_sensitive=False,
            help="console, or json: one object a line.",
            rich_help_panel=_OPERATION,
        ),
    ] = Format.console,
    env_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar=f"{_PREFIX}ENV_FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            is_eager=True,
            callback=_load_env_file,
            help="Set variables from this file first; those that are set already win.",
            show_default="none",
            rich_help_panel=_OPERATION,
        ),
    ] = None,
    uvloop: Annotated[
        bool,
        typer.Option(
            "--uvloop/--no-uvloop",
            envvar=f"{_PREFIX}UVLOOP",
            help="Run functions on uvloop's event loop.",
            rich_help_panel=_OPERATION,
        ),
    ] = False,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload/--no-reload",
            envvar=f"{_PREFIX}RELOAD",
            help="Watch *.py below the current directory; on a change finish what is in flight, "
            "then start anew.",
            rich_help_panel=_DEVELOPMENT,
        ),
    ] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live/--no-live",
            envvar=f"{_PREFIX}LIVE",
            help="Show state, requests, throughput and latency, redrawn in place. "
            "Needs a terminal; elsewhere it changes nothing.",
            rich_help_panel=_DEVELOPMENT,
        ),
    ] = False,
    traceback: Annotated[
        bool,
        typer.Option(
            "--traceback/--no-traceback",
            envvar=f"{_PREFIX}TRACEBACK",
            help="Show where an error comes from.",
            rich_help_panel=_DEVELOPMENT,
        ),
    ] = False,
) -> None:
    if reload:
        raise typer.Exit(_supervise())
    from .run import RunOptions
    from .run import run as run_worker

    given = {
        "max_worker_concurrency": max_concurrency,
        "instance_id": instance_id,
        "gateway_url": gateway_url,
        "shutdown_timeout": shutdown_timeout,
    }
    options = RunOptions(
        target=target,
        changes={name: value for name, value in given.items() if value is not None},
        processes=processes,
        http=http,
        log_level=log_level.value,
        log_format=log_format.value,
        live=live,
        uvloop=uvloop,
        traceback=traceback,
    )
    raise typer.Exit(run_worker(options))


def _supervise() -> int:
    from .reload import supervise

    # The last of contradicting flags counts. Without bytecode files an edit within the second of
    # the last one, and of the same size, cannot be missed.
    command = [sys.executable, "-m", "inngest_connect.cli", *sys.argv[1:], "--no-reload"]
    return supervise(command, Path.cwd(), {**_environment_before, "PYTHONDONTWRITEBYTECODE": "1"})
