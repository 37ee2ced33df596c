"""SigningKey: leaves this process only as the hash that the API compares."""

import hashlib
import re
from typing import Final

from ..errors import ConfigurationError
from .urls import is_plain

_KEY_PREFIX: Final = re.compile(r"^signkey-\w+-", re.ASCII)


def key_hint(key: str) -> str:
    """``key``, of whatever form, by its last four characters."""
    end = key[-4:]
    return f"***{end}" if len(key) > 8 and is_plain(end) else "***"


class SigningKey:
    """A signing key that cannot be printed, formatted or pickled by accident."""

    __slots__ = ("_digest", "_key")

    def __init__(self, key: str, variable: str = "INNGEST_SIGNING_KEY") -> None:
        """``variable`` is where it is set. Raises ConfigurationError for a wrong form."""
        self._key = key = key.strip()
        digits = _KEY_PREFIX.sub("", key)
        try:
            body = bytes.fromhex(digits) if is_plain(digits) else b""
        except ValueError:
            body = b""
        if not body:
            raise ConfigurationError(
                f"the signing key {self.hint()} is not of the form signkey-<env>-<hexadecimal "
                f"digits>: copy it again from the Inngest dashboard into {variable}"
            )
        self._digest = hashlib.sha256(body).hexdigest()

    def bearer(self) -> str:
        """The value of the Authorization header."""
        return f"Bearer {self._digest}"

    def hint(self) -> str:
        """The key by its last four characters."""
        return key_hint(self._key)

    def secrets(self) -> tuple[str, str]:
        """What a log must never contain: the key and its hash."""
        return (self._key, self._digest)

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a signing key is not pickled")
