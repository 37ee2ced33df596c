"""The command line, ``inngest-connect``. Private: its interface is the options and exit codes."""

import sys

from ..extras import missing_extra


def main() -> None:
    """Run the command line. Without its extra it names what is missing instead of a traceback."""
    try:
        from .app import app

        app()
    except ModuleNotFoundError as error:
        missing = missing_extra("the command line", "cli", error)
        if missing is error:
            raise
        sys.stderr.write(f"inngest-connect: {missing}\n")
        sys.exit(2)
