"""Report: what the core answers to one event, and what it counts.

Owns the worker's state machine, so that no state changes without being told, and the counters.
"""

from collections import Counter

from ..errors import InvalidTransition
from ..state_machine import ConnectionEvent, ConnectionStateMachine
from .commands import Command
from .events import ErrorOccurred, StateChanged


class Report:
    """``commands`` is what has been decided in answer to the present event."""

    def __init__(self) -> None:
        self.machine = ConnectionStateMachine()
        self.counters: Counter[str] = Counter()
        self.commands: list[Command] = []

    def transition(self, event: ConnectionEvent, now: float) -> None:
        """Apply ``event``. A refusal is our own mistake; it is told and changes nothing."""
        before = self.machine.external_state
        try:
            self.machine.handle(event, now)
        except InvalidTransition as error:
            self.counters["invalid_transitions"] += 1
            self.error("invalid_transition", str(error))
            return
        after = self.machine.external_state
        if after is not before:
            self.commands.append(StateChanged(before, after))

    def error(
        self,
        kind: str,
        message: str,
        *,
        connection_id: str | None = None,
        request_id: str | None = None,
        fatal: bool = False,
    ) -> None:
        self.commands.append(ErrorOccurred(kind, message, request_id, connection_id, fatal))
