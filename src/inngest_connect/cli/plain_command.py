"""PlainCommand: a command whose messages about wrong values say which value, in plain words.

What typer says depends on its release: newer ones speak of inputs that "should be" something, and
leave the value out.
"""

import os
import re
from collections.abc import Sequence
from typing import Any, Final

import typer
from typer.core import TyperCommand

from ..core.wire.user_text import shown_value

_WORDS: Final = (
    (r"Input should be a valid integer.*", "is not a whole number"),
    (r"Input should be a valid number.*", "is not a number"),
    (r"Input should be a valid boolean.*", "is not a switch; use 1, true, 0 or false"),
    (r"Input should be less than or equal to (\S+)", r"is above the limit, \1"),
    (r"Input should be greater than or equal to (\S+)", r"is below the limit, \1"),
    (r"Value error, .*is not one of (.*?)\.?", r"is not one of \1"),
)


class PlainCommand(TyperCommand):
    """For ``app.command(cls=PlainCommand)``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Overrides the method that reads the command line and the variables."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            value = _value(error.param, given)
            if value is not None:
                error.message = plain(error.message, value)
            raise


def plain(message: str, value: str) -> str:
    """``message`` about a wrong ``value`` without the words of a library; others stay."""
    for pattern, words in _WORDS:
        found = re.fullmatch(pattern, message, re.S)
        if found:
            return f"{shown_value(value)} {found.expand(words)}"
    return message


def _value(parameter: Any, arguments: Sequence[str]) -> str | None:
    """What was given for ``parameter``, on the command line or in its variable."""
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in getattr(parameter, "opts", ()):
            return value if equals else next(iter(arguments[position + 1 :]), None)
    names = getattr(parameter, "envvar", None) or ()
    names = [names] if isinstance(names, str) else names
    return next((os.environ[name] for name in names if name in os.environ), None)
