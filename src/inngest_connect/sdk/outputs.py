"""Encodes what a function returns as JSON that every parser accepts.

The SDK uses ``json.dumps``, which writes NaN and Infinity. JSON does not have them (RFC 8259,
section 6), and the server cannot read such a reply.
"""

import json
import math
from typing import Any, Final

_ENCODER: Final = json.JSONEncoder(allow_nan=False)
_MOST_VALUES: Final = 100_000
"""Values that are looked at to find the one that is wrong; a circular output has no end."""
_LONGEST_PATH: Final = 500
LONGEST_ERROR_TEXT: Final = 2**18
"""Characters of an exception's message, and of its stack, that are sent. The beginning says what is
wrong, and a reply that is too large would be replaced whole. Encoded, each can take six bytes."""


class NotJson(Exception):
    """An output that JSON cannot express; the text says what and where."""


def encode(output: object) -> bytes:
    """Raises NotJson."""
    try:
        return _ENCODER.encode(output).encode()
    except Exception as error:  # circular, too deep, changed by a thread meanwhile, no memory
        try:
            text = _not_finite(output) or f"{type(error).__name__}: {error}"
        except Exception:  # noqa: BLE001 - the output's own methods
            text = type(error).__name__
        raise NotJson(text) from error


def _not_finite(output: object) -> str | None:
    """A number that is not finite, with its path in ``output``."""
    rest: list[tuple[object, str]] = [(output, "")]
    for _ in range(_MOST_VALUES):
        if not rest:
            break
        value, path = rest.pop()
        if isinstance(value, float) and not math.isfinite(value):
            where = path or "the top"
            return f"{value} at {where}, and JSON has no such number; return None or a string"
        if len(path) > _LONGEST_PATH:
            continue
        if isinstance(value, dict):
            rest += [(each, f"{path}[{key!r}]") for key, each in value.items()]
        elif isinstance(value, list | tuple):
            rest += [(each, f"{path}[{at}]") for at, each in enumerate(value)]
    return None


def shorten_error(body: Any, *, is_error: bool) -> None:
    """Cut the texts of the error that a body of the SDK is, or that its steps have."""
    if is_error:
        errors = [body]
    else:
        steps = body if isinstance(body, list) else []
        errors = [step.get("error") for step in steps if isinstance(step, dict)]
    for error in errors:
        if not isinstance(error, dict):
            continue
        for name in ("message", "stack"):
            text = error.get(name)
            if isinstance(text, str) and len(text) > LONGEST_ERROR_TEXT:
                error[name] = text[:LONGEST_ERROR_TEXT]
