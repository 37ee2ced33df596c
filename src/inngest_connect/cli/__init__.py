"""The command line, ``inngest-connect``. Private: its interface is the options and exit codes."""

import sys


def main() -> None:
    """Run the command line. Without its extra it names what is missing instead of a traceback."""
    try:
        from .app import app

        app()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "inngest_connect":
            raise
        sys.stderr.write(
            f"inngest-connect: the command line needs {error.name!r}, which is not installed.\n"
            'Install it with: pip install "inngest-connect[cli]"\n'
        )
        sys.exit(2)
