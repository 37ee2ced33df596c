"""ULIDs, as far as a worker needs them: is this one?

Presenting a lease id that is no ULID makes the gateway close the whole connection with 1008
(PROTOCOL.md section 2), so ids are checked before they are kept.
"""

import re
from typing import Final

_ULID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII | re.IGNORECASE)


def is_ulid(text: str) -> bool:
    return _ULID.fullmatch(text) is not None
