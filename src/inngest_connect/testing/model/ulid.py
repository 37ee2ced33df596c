"""Makes ULIDs, as the server does: 48 bits of milliseconds, 80 bits of randomness, base 32."""

from collections.abc import Callable
from typing import Final

_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(first + second for first in _DIGITS for second in _DIGITS)
"""Two digits for each value of 10 bits: a simulation makes an id with every lease."""


def make_ulid(seconds: float, random_bits: Callable[[int], int]) -> str:
    """Return a ULID for a time in seconds; ``random_bits(80)`` returns its random part."""
    value = (int(seconds * 1000) << 80) | random_bits(80)
    # 130 bits are 26 digits, of which the first is at most 7.
    return "".join([_PAIRS[value >> shift & 0x3FF] for shift in range(120, -1, -10)])
