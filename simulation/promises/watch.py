"""Watch: what reaches one incarnation of a worker and what it does, by kind, for the watchers.

Each watcher states the promises of one subject. It registers for the inputs, messages and commands
that concern it, so that all others cost one look into a table. A turn is one input and all that
follows from it immediately; ``turn_ends`` checks what had to happen in it.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Any, Final

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core import inputs
from inngest_connect.core.settings import CoreSettings
from inngest_connect.core.shutdown import Stage
from inngest_connect.core.worker_core import WorkerCore
from inngest_connect.protocol import DECODE_ERRORS
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.state_machine import ConnectionState

from ..invariants import InvariantViolated
from .limits import NEVER, Limits
from .table import Tally

_KIND_TAG: Final = 0x08
"""The first byte of an encoded ConnectMessage whose kind is not 0."""


def kind_of(data: bytes) -> int:
    """Return the kind of an encoded ConnectMessage, as far as its beginning shows it."""
    return data[1] if len(data) > 1 and data[0] == _KIND_TAG else 0


def payload_of(data: bytes) -> bytes | None:
    """Return the payload of an encoded ConnectMessage, None when it cannot be decoded."""
    try:
        return pb.ConnectMessage.FromString(data).payload
    except DECODE_ERRORS:
        return None


class Watch:
    """Times are virtual seconds. ``core`` is asked for what no command shows."""

    def __init__(self, core: WorkerCore, settings: CoreSettings, tally: Tally) -> None:
        self.core = core
        self.settings = settings
        self.tally = tally
        self.now = 0.0
        self.limits = Limits()
        """Keys are tuples that begin with the name of the promise."""
        self.input: inputs.Input = inputs.Tick()
        """What the present turn began with."""
        self.stage = Stage.RUNNING
        """The stage of the shutdown when the present turn began."""
        self.closing_at: float | None = None
        """When the worker began to shut down."""
        self.due: float | None = None
        """When the core wants to be called next, after a turn."""
        self._inputs: dict[type, list[Callable[[Any], None]]] = defaultdict(list)
        self._messages: dict[int, list[Callable[[int, bytes], None]]] = defaultdict(list)
        self._any_message: list[Callable[[int, bytes], None]] = []
        self._commands: dict[type, list[Callable[[Any], None]]] = defaultdict(list)
        self._sent: dict[int, list[Callable[[int, bytes], None]]] = defaultdict(list)
        self._turn_ends: list[Callable[[], None]] = []
        self._missed: dict[str, Callable[[Hashable], bool]] = {}

    # --- registration --------------------------------------------------------------------------

    def on_input(self, kind: type, take: Callable[[Any], None]) -> None:
        """Call ``take`` with each input of this class, before the core handles it."""
        self._inputs[kind].append(take)

    def on_message(self, kind: int | None, take: Callable[[int, bytes], None]) -> None:
        """Call ``take`` with generation and message; None for every message, of any kind."""
        if kind is None:
            self._any_message.append(take)
        else:
            self._messages[kind].append(take)

    def on_command(self, kind: type, take: Callable[[Any], None]) -> None:
        """Call ``take`` with each command or event of this class."""
        self._commands[kind].append(take)

    def on_sent(self, kind: int, take: Callable[[int, bytes], None]) -> None:
        """Call ``take`` with generation and message, for each that the worker sends."""
        self._sent[kind].append(take)

    def on_turn_end(self, take: Callable[[], None]) -> None:
        """Call ``take`` when all commands of a turn were carried out."""
        self._turn_ends.append(take)

    def on_missed(self, promise: str, excused: Callable[[Hashable], bool]) -> None:
        """Ask ``excused`` about a limit that seems to be missed: True if it moved or cleared it."""
        self._missed[promise] = excused

    # --- judgment ------------------------------------------------------------------------------

    def broken(self, promise: str, text: str) -> InvariantViolated:
        """Return the violation of a promise."""
        return InvariantViolated(f"{promise}: {text}")

    # --- what happens --------------------------------------------------------------------------

    def received(self, core: WorkerCore, input: inputs.Input, now: float) -> None:
        """Take the input that begins a turn, before the core handles it."""
        self.core, self.now, self.input = core, now, input
        self.stage = core.shutdown.stage
        self.followed(input)

    def followed(self, input: inputs.Input) -> None:
        """Take an input, before the core handles it."""
        kind = type(input)
        for take in self._inputs[kind]:
            take(input)
        if kind is inputs.MessageReceived:
            generation, data = input.generation, input.data  # type: ignore[union-attr]
            for take_any in self._any_message:
                take_any(generation, data)
            for take_kind in self._messages[kind_of(data)]:
                take_kind(generation, data)

    def command(self, command: do.Command) -> None:
        """Take a command or an event, before it is carried out."""
        kind = type(command)
        if kind is seen.StateChanged and command.state is ConnectionState.CLOSING:  # type: ignore[union-attr]
            self.closing_at = self.now
        for take in self._commands[kind]:
            take(command)
        if kind is do.Send or kind is do.Acknowledge:
            generation, data = command.generation, command.data  # type: ignore[union-attr]
            for take_sent in self._sent[kind_of(data)]:
                take_sent(generation, data)

    def turn_ends(self, due: float | None) -> None:
        """All commands of this turn were carried out; ``due`` is when the core is called next."""
        self.due = due
        for take in self._turn_ends:
            take()
        if self.core.finished:
            return
        limits, next_turn = self.limits, NEVER if due is None else due
        while (missed := limits.missed(next_turn)) is not None:
            key, at = missed
            promise = key[0]  # type: ignore[index]
            excused = self._missed.get(promise)
            if excused is None or not excused(key):
                raise self.broken(promise, f"due at {at:.3f} {key[1:]}, next turn: {due}")  # type: ignore[index]
