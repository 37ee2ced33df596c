"""Text that came over the network, made safe for logs, terminals and the status page."""

from typing import Final

LONGEST: Final = 200


def clean(text: str, longest: int = LONGEST) -> str:
    """Escape control characters (C0, C1, line separators) and cut to ``longest`` characters."""
    shortened = text if len(text) <= longest else text[:longest] + "..."
    if shortened.isprintable():
        return shortened
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shortened)
