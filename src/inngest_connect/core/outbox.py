"""Outbox: the only way out of the core. What it decided about one input, in order, and its counts.

Every part of the core has the same outbox and puts its commands there while it handles an input.
``WorkerCore.handle`` takes them all at the end, so the order of effects is the order of decisions.
"""

from collections import Counter

from .commands import Command
from .events import ErrorOccurred


class Outbox:
    """``counters`` counts by name since the worker began; nothing else counts the same again."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._commands: list[Command] = []
        # Bound once: this is called several times for each request. It stays valid because
        # ``take`` empties the list and does not replace it.
        self.put = self._commands.append

    def take(self) -> list[Command]:
        """Return what was put since the last call. The caller may extend the list."""
        commands = self._commands[:]
        del self._commands[:]
        return commands

    def error(
        self,
        kind: str,
        message: str,
        *,
        connection_id: str | None = None,
        request_id: str | None = None,
        fatal: bool = False,
    ) -> None:
        """Put an ``error`` event that no single request is to blame for."""
        self.put(ErrorOccurred(kind, message, request_id, connection_id, fatal))
