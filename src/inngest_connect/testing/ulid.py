"""Makes ULIDs, as the server does: 48 bits of milliseconds, 80 bits of randomness, base 32."""

from collections.abc import Callable
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def make_ulid(seconds: float, random_bits: Callable[[int], int]) -> str:
    """Return a ULID for a time in seconds; ``random_bits(80)`` gives its tail."""
    value = (int(seconds * 1000) << 80) | random_bits(80)
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))


def ulid_seconds(ulid: str) -> float:
    """The time in a ULID. Raises ValueError when it is none."""
    if len(ulid) != 26 or any(c not in _ALPHABET for c in ulid.upper()):
        raise ValueError(f"{ulid!r} is not a ULID")
    value = 0
    for character in ulid.upper()[:10]:
        value = value * 32 + _ALPHABET.index(character)
    return value / 1000
