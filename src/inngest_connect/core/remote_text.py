"""Text that came over the network, made safe for logs, terminals and the status page."""

from typing import Final

LONGEST: Final = 200


def clean(text: str) -> str:
    """Escape control characters (C0, C1, line separators) and cut to 200 characters."""
    shortened = text if len(text) <= LONGEST else text[:LONGEST] + "..."
    if shortened.isprintable():
        return shortened
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shortened)
