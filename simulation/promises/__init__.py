"""Promises: every promise of docs/reliability.md that the core decides, checked and counted.

``Promises`` watches one incarnation of a worker. Each promise has a name, and ``Tally`` counts how
often it was in question; docs/reliability.md has the table.
"""

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.core.settings import CoreSettings
from inngest_connect.core.worker_core import WorkerCore

from .attempts import AttemptPromises
from .connections import ConnectionPromises
from .journal import JournalPromises
from .keys import Keys
from .leases import LeasePromises
from .replies import ReplyPromises
from .reports import ReportPromises
from .requests import RequestPromises
from .shutdown import ShutdownPromises
from .slots import SlotPromises
from .table import PROMISES, Tally
from .watch import Watch

__all__ = ["PROMISES", "Promises", "Tally"]


class Promises:
    """``received`` begins a turn, ``turn_ends`` ends it. Times are virtual seconds."""

    def __init__(self, core: WorkerCore, settings: CoreSettings, tally: Tally) -> None:
        watch = Watch(core, settings, tally)
        # The order matters: those that judge what an input ends come before those that forget it.
        reports = ReportPromises(watch)
        keys = Keys(watch)
        attempts = AttemptPromises(watch, keys)
        connections = ConnectionPromises(watch)
        requests = RequestPromises(watch, connections)
        LeasePromises(watch, connections, requests)
        replies = ReplyPromises(watch, connections, keys)
        JournalPromises(watch)
        SlotPromises(watch)
        ShutdownPromises(watch, connections, requests, replies)
        reports.connections = attempts.connections = connections
        reports.requests, reports.replies = requests, replies
        self._watch = watch

    def received(self, core: WorkerCore, input: inputs.Input, now: float) -> None:
        """Take the input that begins a turn, before the core handles it."""
        self._watch.received(core, input, now)

    def followed(self, input: inputs.Input) -> None:
        """Take an input that follows from a command of this turn, before the core handles it."""
        self._watch.followed(input)

    def command(self, command: do.Command) -> None:
        """Take a command or an event, before it is carried out."""
        self._watch.command(command)

    def turn_ends(self, due: float | None) -> None:
        """All commands of the turn were carried out; ``due`` is when the core is called next."""
        self._watch.turn_ends(due)
