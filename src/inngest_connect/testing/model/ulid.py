"""Makes ULIDs, as the server does: 48 bits of milliseconds, 80 bits of randomness, base 32."""

import base64
from collections.abc import Callable
from typing import Final

_TO_CROCKFORD: Final = bytes.maketrans(
    b"0123456789ABCDEFGHIJKLMNOPQRSTUV", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
)


def make_ulid(seconds: float, random_bits: Callable[[int], int]) -> str:
    """Return a ULID for a time in seconds; ``random_bits(80)`` returns its random part."""
    value = (int(seconds * 1000) << 80) | random_bits(80)
    # 130 bits are 26 digits; 160 bits are whole groups of base 32, of which the first 26 count.
    digits = base64.b32hexencode((value << 30).to_bytes(20, "big"))
    return digits[:26].translate(_TO_CROCKFORD).decode()
