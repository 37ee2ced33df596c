"""Keeps secrets out of everything that is written: by key name and by known value.

A ``Redactor`` belongs to one worker and knows its signing keys, and the tokens of its recent
connections. ``redact_text`` knows those of all workers of the process.
"""

import dataclasses
import re
import threading
import traceback
import urllib.parse
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from ..core import events as seen
from ..core.events import Event
from ..core.wire.remote_text import LONGEST_ID, shortened_id
from ..transport.urls import without_user_information

MASK: Final = "***"
RECENT: Final = 32
"""Tokens remembered; a connection has two, and records of a closed one may still be queued."""
PART: Final = 8
"""Consecutive characters of a secret that are masked wherever they appear."""

_REMOTE_TEXT: Final[dict[type[Event], tuple[str, ...]]] = {
    seen.Connected: ("gateway_url",),
    seen.Disconnected: ("reason",),
    seen.ErrorOccurred: ("message", "stack"),
    seen.FunctionFailed: ("error_type", "error", "step", "stack"),
    seen.Reconnecting: ("cause",),
    seen.RequestCompleted: ("error",),
    seen.WebSocketClosed: ("reason",),
    seen.WebSocketFailed: ("message",),
}
_ID_FIELDS: Final[dict[type[Event], tuple[str, ...]]] = {
    kind: tuple(
        name
        for name in (
            "request_id", "run_id", "function_slug", "app_name", "connection_id", "gateway_group",
        )
        if name in kind.__slots__
    )
    for kind in seen.EVENTS
}  # fmt: skip
_SHORTEST: Final = 6
_MOST_HARMLESS: Final = 4096
_DEEPEST: Final = 6
_SECRET_KEYS: Final = re.compile(
    r"authorization|token|signing_?key|secret|password|credential|payload|body", re.IGNORECASE
)
_BEARER: Final = re.compile(r"(?i)bearer\s+[^\s'\"]+")
_SIGNING_KEY: Final = re.compile(r"signkey-\w+-\w+")
_KEY_BODY: Final = re.compile(r"^signkey-\w+-")

_redactors: "weakref.WeakSet[Redactor]" = weakref.WeakSet()
_redactors_lock: Final = threading.RLock()


class Redactor:
    """``secrets`` are texts that must never appear, whatever they are called.

    Parts of a secret are masked too: a peer can repeat one cut in the middle, or inside an id. So
    every run of ``PART`` characters of a secret is in a table, and a text is compared with the
    table at each of its positions. Learning a secret and masking a text both take time in
    proportion to its length, which matters on the thread that sends heartbeats.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._recent: deque[str] = deque()
        self._parts: dict[str, int] = {}
        """Each part, and in how many places of the secrets it is."""
        self._short: dict[str, int] = {}
        self._harmless: set[str] = set()
        for secret in secrets:
            self._count(secret, 1)
        with _redactors_lock:
            _redactors.add(self)

    def learn(self, *secrets: str) -> None:
        """Mask these too, until ``RECENT`` others have come.

        On one thread only. Others may mask meanwhile: each change of a table is one step.
        """
        for secret in secrets:
            if secret not in self._recent:
                self._recent.append(secret)
                self._count(secret, 1)
                self._harmless.clear()
        while len(self._recent) > RECENT:
            self._count(self._recent.popleft(), -1)

    def _count(self, secret: str, change: int) -> None:
        body = _lower(_KEY_BODY.sub("", secret))
        for form in {body, _lower(urllib.parse.quote(body, safe="", errors="replace"))}:
            table, size = self._parts, PART
            if len(form) < PART:
                table, size = self._short, len(form)
            if size < _SHORTEST:
                continue
            for start in range(len(form) - size + 1):
                part = form[start : start + size]
                left = table.get(part, 0) + change
                if left > 0:
                    table[part] = left
                else:
                    table.pop(part, None)

    def text(self, text: str) -> str:
        """``text`` with every known or recognizable secret masked."""
        text = without_user_information(_SIGNING_KEY.sub(MASK, text))
        if self._parts:
            lower, parts = _lower(text), self._parts
            shown: list[str] = []
            end = 0  # of what is masked or shown already
            for start in range(len(lower) - PART + 1):
                if lower[start : start + PART] in parts:
                    if start > end or not shown:
                        shown += (text[end:start], MASK)
                    end = start + PART
            text = "".join(shown) + text[end:]
        for short in tuple(self._short):
            text = re.sub(re.escape(short), MASK, text, flags=re.IGNORECASE)
        return _BEARER.sub(f"Bearer {MASK}", text)

    def id(self, text: str) -> str:
        """An id of a peer, short and printable, and masked when it contains a part of a secret."""
        if text in self._harmless:  # the names and ids of a request come several times
            return text
        if len(text) <= LONGEST_ID and text.isascii() and text.isprintable():
            if self._parts:
                lower = text.lower()
                # This is done for each request, so only every eighth position is compared, and the
                # last: that finds each run of 15 characters of a secret, wherever it begins.
                for start in (*range(0, len(lower) - PART, PART), max(len(lower) - PART, 0)):
                    if lower[start : start + PART] in self._parts:
                        return self.text(text)
            if len(self._harmless) >= _MOST_HARMLESS:
                self._harmless.clear()
            self._harmless.add(text)
            return text
        return self.text(shortened_id(text))

    def fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """``fields`` masked by key and by value, nested ones included."""
        return {key: masked(key, value, self.text) for key, value in fields.items()}

    def event(self, event: Event) -> Event:
        """The event without secrets in what came from the network or from user code."""
        changed: dict[str, str] = {}
        for name in _ID_FIELDS[type(event)]:
            value = getattr(event, name)
            if value is not None and (shown := self.id(value)) != value:
                changed[name] = shown
        for name in _REMOTE_TEXT.get(type(event), ()):
            value = getattr(event, name)
            if value is not None and (shown := self.text(value)) != value:
                changed[name] = shown
        if not changed:
            return event
        shown_event: Event = dataclasses.replace(cast("Any", event), **changed)
        return shown_event

    def traceback(self, error: BaseException) -> str:
        """The traceback as Python prints it, with causes, notes and groups, masked."""
        return self.text("".join(traceback.format_exception(error)).rstrip("\n"))


def _lower(text: str) -> str:
    """In lower case and of the same length, which ``str.lower`` alone does not promise."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(c.lower()[0] for c in text)


def redact_text(text: str) -> str:
    """Mask what any worker of this process must not show."""
    with _redactors_lock:
        redactors = tuple(_redactors)
    for redactor in redactors or (Redactor(),):
        text = redactor.text(text)
    return text


def masked(key: str, value: Any, text: Callable[[str], str], depth: int = 0) -> Any:
    """``value`` with its texts passed through ``text``; an unknown object becomes its text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_KEYS.search(key):
        return MASK
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"  # may be a payload
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {
                text(str(name)): masked(str(name), item, text, depth + 1)
                for name, item in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [masked(key, item, text, depth + 1) for item in value]
    try:
        shown = str(value)
    except Exception as error:  # noqa: BLE001 - what a foreign __str__ raises must not end a worker
        shown = f"<{type(value).__name__} that cannot be printed: {type(error).__name__}>"
    return text(shown)
