"""Recognizes ULIDs.

A gateway that receives a lease id that is not a ULID closes the whole connection with 1008, so ids
are checked before they are kept. See docs/protocol.md#lease-ids.
"""

import re
from typing import Final

_ULID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII | re.IGNORECASE)


def is_ulid(text: str) -> bool:
    """Whether ``text`` is a ULID: 26 characters of Crockford's base 32, below 2**128."""
    return _ULID.fullmatch(text) is not None
