"""Keeps secrets out of everything that is written: by key name and by known value."""

import re
from collections.abc import Iterable
from typing import Any, Final

MASK: Final = "***"

_SECRET_KEYS: Final = re.compile(
    r"authorization|token|signing_?key|secret|password|credential|payload|body", re.IGNORECASE
)
_BEARER: Final = re.compile(r"(?i)bearer\s+\S+")
_SIGNING_KEY: Final = re.compile(r"signkey-\w+-\w+")


class Redactor:
    """``secrets`` are texts that must never appear, whatever they are called."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(sorted({s for s in secrets if len(s) >= 6}, key=len, reverse=True))

    def text(self, text: str) -> str:
        """Return ``text`` with every known or recognisable secret masked."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return _SIGNING_KEY.sub(MASK, _BEARER.sub(f"Bearer {MASK}", text))

    def fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return ``fields`` masked by key and by value, nested ones included."""
        return {key: self._value(key, value) for key, value in fields.items()}

    def _value(self, key: str, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if _SECRET_KEYS.search(key):
            return MASK
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return self.fields(value)
        if isinstance(value, list | tuple):
            return [self._value(key, item) for item in value]
        return self.text(str(value))
