"""Makes ULIDs, as the server does: 48 bits of milliseconds, 80 bits of randomness, base 32."""

import base64
from collections.abc import Callable
from typing import Final

from ...core.wire.ulid import is_ulid

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TO_CROCKFORD: Final = bytes.maketrans(b"0123456789ABCDEFGHIJKLMNOPQRSTUV", _ALPHABET.encode())


def make_ulid(seconds: float, random_bits: Callable[[int], int]) -> str:
    """Return a ULID for a time in seconds; ``random_bits(80)`` gives its tail."""
    value = (int(seconds * 1000) << 80) | random_bits(80)
    # 130 bits are 26 digits; 160 bits are whole groups of base 32, of which the first 26 count.
    digits = base64.b32hexencode((value << 30).to_bytes(20, "big"))
    return digits[:26].translate(_TO_CROCKFORD).decode()


def ulid_seconds(ulid: str) -> float:
    """The time in a ULID. Raises ValueError when it is none."""
    if not is_ulid(ulid):
        raise ValueError(f"{ulid!r} is not a ULID")
    value = 0
    for character in ulid.upper()[:10]:
        value = value * 32 + _ALPHABET.index(character)
    return value / 1000
