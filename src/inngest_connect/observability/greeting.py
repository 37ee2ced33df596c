"""The line with which a worker greets a person whose program has set up no logging.

Without a handler Python prints warnings and errors only, so a worker that connects would look like
one that hangs. A program that logs has the record ``connected``, and a file gets no such line.
"""

import contextlib
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

_MOST_APPS: Final = 5


def introduced(functions: Mapping[str, Sequence[str]], api_origin: str) -> dict[str, Any]:
    """The fields of the first ``connected``: what is served, and for whom."""
    return {
        "apps": sorted(functions),
        "functions": sum(map(len, functions.values())),
        "api_origin": api_origin,
    }


def greet(logger: logging.Logger, fields: Mapping[str, Any]) -> None:
    """Write it if standard error is a terminal and ``logger`` has no handler. May block."""
    stream = sys.stderr
    # A program without standard error has None here, and some replace it by what has no isatty.
    with contextlib.suppress(Exception):
        if stream.isatty() and not logger.hasHandlers():
            stream.write(greeting(fields))
            stream.flush()


def greeting(fields: Mapping[str, Any]) -> str:
    """``fields`` are those of the first ``connected``."""
    apps = fields["apps"]
    more = f" and {len(apps) - _MOST_APPS} more" if len(apps) > _MOST_APPS else ""
    count = fields["functions"]
    return (
        f"inngest-connect: ready: {', '.join(apps[:_MOST_APPS])}{more} with {count} "
        f"function{'' if count == 1 else 's'}, connected to {fields['api_origin']} (gateway "
        f"{fields.get('gateway_url') or fields['gateway_group']}). Ctrl-C stops it; "
        "logging.basicConfig(level=logging.INFO) shows more\n"
    )
