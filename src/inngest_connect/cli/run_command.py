"""The options of ``inngest-connect run``.

Those that ``connect()`` has too are shown with their variables, which are not read here: a variable
must not beat what the code passes, and ``connect()`` reads it itself.
"""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from inngest_connect_ready import DEFAULT_ADDRESS

from ..options import OPTIONS

_WORKER, _OPERATION, _DEVELOPMENT = "Worker", "Operation", "Development"
HELP: Final = (
    "Run a worker until a signal stops it.\n\n"
    "[bold]Examples[/bold]\n\n"
    "$ inngest-connect run shop.worker:apps\n\n"
    "$ inngest-connect run shop.worker --env-file .env --reload --live\n\n"
    "$ inngest-connect run shop.worker:make --http 8080 --log-format json\n\n"
    "where shop/worker.py has what you would pass to connect(), or what it returns:\n\n"
    "apps = \\[(client, \\[greet, charge])]\n\n"
    "SIGTERM or Ctrl-C finishes the work in flight; a second one stops immediately. An option "
    "beats what the code passes to connect(), which beats a variable.\n\n"
    "[bold]Exit codes[/bold]: 0 closed cleanly, 1 work was abandoned, 2 wrong usage, configuration "
    "or signing key, 3 the worker crashed, or had no first connection in time."
)


class Level(StrEnum):
    """The values of ``--log-level``."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class Format(StrEnum):
    """The values of ``--log-format``."""

    console = "console"
    json = "json"


_environment_before: dict[str, str] = dict(os.environ)
"""Without what ``--env-file`` adds: a restarted child reads the file again."""


def _connect_option(name: str, flag: str, metavar: str) -> Any:
    """An option of ``connect()``."""
    option = OPTIONS[name]
    return typer.Option(
        flag,
        metavar=metavar,
        help=f"{option.help.replace('``', '')} \\[env var: {option.variable}]",
        show_default=option.shown_default,
        rich_help_panel=_WORKER,
    )


def _option(panel: str, name: str, text: str, **rest: Any) -> Any:
    """An option of this command only; its variable is read here."""
    return typer.Option(
        envvar=f"INNGEST_CONNECT_{name}",
        help=text,
        rich_help_panel=panel,
        case_sensitive=False,
        **rest,
    )


def _load_env_file(path: Path | None) -> Path | None:
    """Called before all other options are read, so that the file can set them too."""
    if path is not None:
        import dotenv

        dotenv.load_dotenv(path, override=False)
    return path


def env_file_option(text: str, panel: str | None = None) -> Any:
    """``--env-file``, of every command that reads a worker's variables."""
    return typer.Option(
        envvar="INNGEST_CONNECT_ENV_FILE",
        help=text,
        rich_help_panel=panel,
        metavar="FILE",
        show_default="none",
        exists=True,
        dir_okay=False,
        readable=True,
        is_eager=True,
        callback=_load_env_file,
    )


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
        _option(
            _WORKER,
            "PROCESSES",
            "Child processes that run the functions, behind one connection (docs/processes.md); "
            "with 1 this process runs them.",
            metavar="N",
        ),
    ] = 1,
    max_worker_concurrency: Annotated[
        int | None, _connect_option("max_worker_concurrency", "--max-concurrency", "N")
    ] = None,
    instance_id: Annotated[
        str | None, _connect_option("instance_id", "--instance-id", "NAME")
    ] = None,
    gateway_url: Annotated[
        str | None, _connect_option("gateway_url", "--gateway-url", "URL")
    ] = None,
    startup_timeout: Annotated[
        float | None, _connect_option("startup_timeout", "--startup-timeout", "SEC")
    ] = None,
    shutdown_timeout: Annotated[
        float | None, _connect_option("shutdown_timeout", "--shutdown-timeout", "SEC")
    ] = None,
    journal: Annotated[str | None, _connect_option("journal", "--journal", "FILE")] = None,
    http: Annotated[
        str | None,
        _option(
            _OPERATION,
            "HTTP",
            "Serve /healthz, /readyz, /metrics and a status page there; on loopback without a "
            f"host. inngest-connect ready asks {DEFAULT_ADDRESS} by default.",
            metavar="[HOST:]PORT",
            show_default="off",
        ),
    ] = None,
    log_level: Annotated[
        Level,
        _option(
            _OPERATION,
            "LOG_LEVEL",
            "debug, info, warning or error. debug has a record for each request, and tracebacks "
            "of errors.",
            metavar="LEVEL",
        ),
    ] = Level.info,
    log_format: Annotated[
        Format,
        _option(_OPERATION, "LOG_FORMAT", "console, or json: one object a line.", metavar="FORMAT"),
    ] = Format.console,
    env_file: Annotated[
        Path | None,
        env_file_option(
            "Set variables from this file first; those that are set already win.", _OPERATION
        ),
    ] = None,
    uvloop: Annotated[
        bool, _option(_OPERATION, "UVLOOP", "Run functions on uvloop's event loop.")
    ] = False,
    reload: Annotated[
        bool,
        _option(
            _DEVELOPMENT,
            "RELOAD",
            "Watch *.py below the current directory; on a change finish what is in flight, then "
            "start again.",
        ),
    ] = False,
    live: Annotated[
        bool,
        _option(
            _DEVELOPMENT,
            "LIVE",
            "Show the state and its cause, errors, requests and failures, redrawn in place. Needs "
            "a terminal; elsewhere it changes nothing.",
        ),
    ] = False,
    traceback: Annotated[
        bool, _option(_DEVELOPMENT, "TRACEBACK", "Show where an error comes from.")
    ] = False,
) -> None:
    """Run a worker; ``HELP`` describes it to users."""
    if reload:
        raise typer.Exit(_supervise())
    from .run import run as run_worker

    given = {
        "max_worker_concurrency": max_worker_concurrency,
        "instance_id": instance_id,
        "gateway_url": gateway_url,
        "startup_timeout": startup_timeout,
        "shutdown_timeout": shutdown_timeout,
        "journal": journal,
    }
    code = run_worker(
        target,
        {name: value for name, value in given.items() if value is not None},
        processes=processes,
        http=http,
        log_level=log_level.value,
        log_format=log_format.value,
        live=live,
        uvloop=uvloop,
        traceback=traceback,
    )
    raise typer.Exit(code)


def _supervise() -> int:
    from .reload import supervise

    # The last of contradicting flags counts. Without bytecode files an edit within the second of
    # the last one, and of the same size, cannot be missed.
    command = [sys.executable, "-m", "inngest_connect.cli", *sys.argv[1:], "--no-reload"]
    return supervise(command, Path.cwd(), {**_environment_before, "PYTHONDONTWRITEBYTECODE": "1"})
