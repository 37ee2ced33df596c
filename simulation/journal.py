"""ModelJournal: what a worker has on disk, in virtual time, and what a successor finds there.

Stands for ``inngest_connect.journal``: what has changed is written in one transaction a moment
later, or when a disk that stalls goes on. A crash takes what was not written yet.
"""

import random
from typing import TYPE_CHECKING, Final

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.protocol import connect_pb2 as pb

from .invariants import InvariantViolated

if TYPE_CHECKING:
    from .simulation import Simulation

GATHER: Final = 0.005
"""Seconds from a change to its transaction."""
ANSWERED_WITHIN: Final = 10.0
"""Seconds that a successor has, when nothing hinders it."""
LONGEST_FLUSH_DELAY: Final = 40.0
"""Seconds between two tries of a flush, at most."""
OPENED_AFTER: Final = (0.0, 0.02, 3.0)
"""Seconds from the start of a process until it has the file."""


class Row:
    """One request. Times are virtual seconds."""

    def __init__(self, request: pb.GatewayExecutorRequestData, reply: bytes | None, at: float):
        self.request = request
        self.reply = reply
        self.acknowledged_at = at


class ModelJournal:
    """``rows`` are on disk. ``recovered`` has which process was given each request, and when."""

    def __init__(self, sim: "Simulation") -> None:
        self._sim = sim
        self._required = sim.schedule.core.journal_commit == "required"
        self._draw = random.Random(~sim.schedule.seed - 6)
        self._changed: dict[str, Row | None] = {}
        self._stalled_until = 0.0
        self._left: set[str] = set()
        """Requests that a successor was not given yet."""
        self.rows: dict[str, Row] = {}
        self.recovered: dict[str, tuple[int, float]] = {}

    def stall(self, until: float) -> None:
        """The disk answers nothing before."""
        self._stalled_until = max(self._stalled_until, until)

    def record(self, command: do.JournalRecord) -> None:
        """Carry out a command."""
        request_id = command.request.request_id
        known = self._changed.get(request_id) or self.rows.get(request_id)
        at = self._sim.now if known is None else known.acknowledged_at
        self._change(request_id, Row(command.request, command.reply, at))

    def erase(self, command: do.JournalErase) -> None:
        """Carry out a command."""
        if command.request_id in self.rows or command.request_id in self._changed:
            self._change(command.request_id, None)

    def _change(self, request_id: str, row: Row | None) -> None:
        if not self._changed:
            self._sim.later(self._sim.now + GATHER, self._commit, self._sim.incarnation)
        self._changed[request_id] = row

    def _commit(self, incarnation: int) -> None:
        sim = self._sim
        if incarnation != sim.incarnation:
            return  # what a crash has interrupted is not written at all
        until = max(self._stalled_until, sim.worker_frozen_until)
        if sim.now < until:
            sim.later(until, self._commit, incarnation)
            return
        written = self._write()
        if self._required:
            sim.deliver(inputs.JournalCommitted(tuple(written)))

    def _write(self) -> list[str]:
        changed, self._changed = self._changed, {}
        for request_id, row in changed.items():
            if row is None:
                self.rows.pop(request_id, None)
            else:
                self.rows[request_id] = row
        return [key for key, row in changed.items() if row is not None and row.reply is not None]

    # --- a crash -------------------------------------------------------------------------------

    def crashed(self, restart: float) -> None:
        """The process is dead, and another one starts after so many seconds."""
        sim, opened = self._sim, self._draw.choice(OPENED_AFTER)
        if self._changed:
            sim.counts.situation("a crash interrupts the journal")
        self._changed.clear()
        self._left = set(self.rows)
        if self.rows:
            sim.later(sim.now + restart + opened, self._recover, sim.incarnation)

    def _recover(self, incarnation: int) -> None:
        sim = self._sim
        if incarnation != sim.incarnation or sim.core.finished:
            return
        if sim.now < sim.worker_frozen_until:
            # A moment later, because the process starts before.
            sim.later(sim.worker_frozen_until + GATHER, self._recover, incarnation)
            return
        here = {entry.request.request_id for entry in sim.core.requests}
        self._left.clear()
        entries = [
            inputs.JournalEntry(row.request, row.reply, sim.now - row.acknowledged_at)
            for row in self.rows.values()
        ]
        for entry in entries:
            left = "a request" if entry.reply is None else "a reply"
            sim.counts.situation(f"a successor finds {left} in the journal")
            if entry.request.request_id not in here:  # forwarded again, it is executed by now
                self.recovered[entry.request.request_id] = sim.incarnation, sim.now
        sim.deliver(inputs.JournalRecovered(tuple(entries), "the one before"))

    def left_to_its_lease(self, request_id: str, lease_until: float) -> None:
        """A lease ran out: not of a request that a successor could have answered long before."""
        sim = self._sim
        incarnation, since = self.recovered.get(request_id, (-1, 0.0))
        if incarnation != sim.incarnation or sim.core.machine.is_shutting_down():
            return
        if request_id in sim.invariants.excused:
            return
        hindered = max(
            sim.api.fault_until,
            sim.api.keys_until,
            sim.worker_frozen_until,
            sim.faults.stores_from,
        )
        if lease_until > max(since, hindered + LONGEST_FLUSH_DELAY) + ANSWERED_WITHIN:
            raise InvariantViolated(f"{request_id} is left to its lease, although it was recovered")

    # --- in the end ----------------------------------------------------------------------------

    def finally_holds(self) -> None:
        """A worker that has ended without leaving work behind leaves nothing in the journal.

        What it has left, or was not given before it ended, is for the next process.
        """
        self._write()
        invariants, core = self._sim.invariants, self._sim.core
        for request_id in self.rows:
            if request_id in self._left or core.shutdown.forced:
                invariants.excuse(request_id)
            else:
                raise InvariantViolated(f"the journal still has {request_id}")
