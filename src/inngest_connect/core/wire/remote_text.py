"""Makes text from the network safe for logs, terminals and the status page."""

from typing import Final

LONGEST: Final = 200
# Ids of Inngest are ULIDs and UUIDs, of 26 and 36 characters; names are longer.
LONGEST_ID: Final = 64
_SHORTENED_ID: Final = 16


def clean(text: str, longest: int = LONGEST) -> str:
    """Escape control characters (C0, C1, line separators) and cut to ``longest`` characters."""
    shortened = text if len(text) <= longest else text[:longest] + "..."
    if shortened.isprintable():
        return shortened
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shortened)


def shortened_id(text: str) -> str:
    """An id or a name as it is shown: whole when it is of usual length, its beginning otherwise."""
    return clean(text if len(text) <= LONGEST_ID else f"{text[:_SHORTENED_ID]}...")
