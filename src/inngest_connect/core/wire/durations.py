"""Go duration strings, as the gateway sends its intervals ("10s", "1m0s", "1h30m0.5s", "250µs").

The grammar is that of Go's ``time.ParseDuration`` (docs/protocol.md#durations): an optional sign,
then one or more decimal numbers each with a unit; "0" alone is valid.
"""

import re
from typing import Final

_UNIT_SECONDS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "\u00b5s": 1e-6,
    "\u03bcs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART: Final = r"(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)"
_PARTS: Final = re.compile(_PART, re.ASCII)
_DURATION: Final = re.compile(rf"([+-]?)((?:{_PART})+)", re.ASCII)
_LONGEST_TEXT: Final = 64


def parse_duration(text: str) -> float:
    """Return ``text`` in seconds. Raises ValueError for everything that Go's parser refuses."""
    if text in ("0", "+0", "-0"):
        return 0.0
    match = _DURATION.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
    if match is None:
        raise ValueError(f"{text[:_LONGEST_TEXT]!r} is not a duration such as '10s' or '1m30s'")
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PARTS.findall(match[2]))
    return -seconds if match[1] == "-" else seconds


def span(seconds: float) -> str:
    """Rounded, for people: a message that names milliseconds after an hour is hard to read."""
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
