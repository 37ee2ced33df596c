"""The sessions that mock APIs of this process have issued, for scripted mock gateways to check.

A scripted gateway and its API do not know each other: the test connects them by an address only.
"""

from collections import OrderedDict
from typing import Final

_MOST: Final = 10_000


class IssuedSessions:
    """Session and sync token by connection id; the oldest are forgotten."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def add(self, connection_id: str, session_token: str, sync_token: str) -> None:
        self._tokens[connection_id] = session_token, sync_token
        if len(self._tokens) > _MOST:
            self._tokens.popitem(last=False)

    def get(self, connection_id: str, default: tuple[str, str]) -> tuple[str, str]:
        return self._tokens.get(connection_id, default)


ISSUED: Final = IssuedSessions()
