"""Keeps secrets out of everything that is written: by key name and by known value.

A ``Redactor`` belongs to one worker and knows its signing keys for good and the tokens of its
recent connections. ``redact_text`` and ``redact_value`` know those of all workers of the process.
"""

import dataclasses
import re
import threading
import traceback
import urllib.parse
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ..core import observations as seen
from ..core.observations import Observation

MASK: Final = "***"
RECENT: Final = 32
"""Tokens remembered; a connection has two, and the log of a closed one may still be on its way."""

_REMOTE_TEXT: Final[dict[type[Observation], str]] = {
    seen.Disconnected: "reason",
    seen.ErrorOccurred: "message",
    seen.Reconnecting: "cause",
    seen.WebSocketClosed: "reason",
    seen.WebSocketFailed: "message",
}
_SHORTEST: Final = 6
_DEEPEST: Final = 6
_SECRET_KEYS: Final = re.compile(
    r"authorization|token|signing_?key|secret|password|credential|payload|body", re.IGNORECASE
)
_BEARER: Final = re.compile(r"(?i)bearer\s+[^\s'\"]+")
_SIGNING_KEY: Final = re.compile(r"signkey-\w+-\w+")
_KEY_BODY: Final = re.compile(r"^signkey-\w+-")

_living: "weakref.WeakSet[Redactor]" = weakref.WeakSet()
_living_lock: Final = threading.RLock()


class Redactor:
    """``secrets`` are texts that must never appear, whatever they are called."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lasting = tuple(secrets)
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._secrets: tuple[str, ...] = ()
        self._pattern: re.Pattern[str] | None = None
        self._compile()
        with _living_lock:
            _living.add(self)

    def learn(self, *secrets: str) -> None:
        """Mask these too, until ``RECENT`` others have come. On one thread only."""
        self._recent.extend(secret for secret in secrets if secret not in self._recent)
        self._compile()

    def _compile(self) -> None:
        spelled = {
            form
            for secret in (*self._lasting, *self._recent)
            for form in (secret, _KEY_BODY.sub("", secret), urllib.parse.quote(secret, safe=""))
            if len(form) >= _SHORTEST
        }
        self._secrets = tuple(sorted(spelled, key=len, reverse=True))
        alternatives = "|".join(map(re.escape, self._secrets))
        self._pattern = re.compile(alternatives, re.IGNORECASE) if alternatives else None

    def text(self, text: str) -> str:
        """Return ``text`` with every known or recognisable secret masked."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
            if text.endswith("..."):
                text = self._cut_off(text)
        return _SIGNING_KEY.sub(MASK, _BEARER.sub(f"Bearer {MASK}", text))

    def _cut_off(self, text: str) -> str:
        """A text that was shortened may end in the middle of a secret."""
        kept = text[:-3]
        for secret in self._secrets:
            for length in range(min(len(secret), len(kept)), _SHORTEST - 1, -1):
                if kept.endswith(secret[:length]):
                    return f"{kept[:-length]}{MASK}..."
        return text

    def fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``fields`` masked by key and by value, nested ones included."""
        return {key: masked(key, value, self.text) for key, value in fields.items()}

    def observation(self, observation: Observation) -> Observation:
        """The observation with the text that came from the network or from user code masked."""
        name = _REMOTE_TEXT.get(type(observation))
        if name is None:
            return observation
        told = getattr(observation, name)
        shown = self.text(told)
        return observation if shown == told else _with(observation, name, shown)

    def traceback(self, error: BaseException) -> str:
        """The traceback as Python prints it, with causes, notes and groups, masked."""
        return self.text("".join(traceback.format_exception(error)).rstrip("\n"))


def _with(observation: Any, name: str, text: str) -> Observation:
    changed: Observation = dataclasses.replace(observation, **{name: text})
    return changed


def redact_text(text: str) -> str:
    """Mask what any worker of this process must not show."""
    with _living_lock:
        living = tuple(_living)
    for redactor in living or (Redactor(),):
        text = redactor.text(text)
    return text


def redact_value(key: str, value: Any) -> Any:
    """As ``Redactor.fields`` for one field, with the secrets of all workers."""
    return masked(key, value, redact_text)


def masked(key: str, value: Any, text: Callable[[str], str], depth: int = 0) -> Any:
    """``value`` with its texts passed through ``text``; an unknown object becomes its text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_KEYS.search(key):
        return MASK
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"  # may be anybody's payload
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {
                text(str(name)): masked(str(name), item, text, depth + 1)
                for name, item in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [masked(key, item, text, depth + 1) for item in value]
    return text(_described(value))


def _described(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - what a foreign __str__ raises must not end a worker
        return f"<{type(value).__name__} that cannot be printed: {type(error).__name__}>"
