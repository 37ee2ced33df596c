"""StackFaults: what only the shells of a worker can suffer, beside the faults of the core's."""

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ..entry import Entry
from ..faults import Faults
from ..schedule import Schedule, make_schedule

if TYPE_CHECKING:
    from .stack import StackSimulation

LONGEST_FAULT: Final = 20.0
"""Seconds of a schedule after its last entry. Hours of idle heartbeats show nothing."""
_KINDS: Final = (
    "pause_io",
    "pause_application",
    "refuse_keys",
    "rotate_key",
    "no_threads",
    "odd_answers",
    "stall_dials",
    "fragment",
)

_OF_THE_CORE: Final = ("slow_line", "sleep", "deliver_answered_again", "keys")
"""Faults of the core's simulation that this one has no counterpart for, or its own."""


def make_stack_schedule(seed: int) -> Schedule:
    """Return the core's schedule of this seed, with up to three faults of the shells."""
    schedule = make_schedule(seed, journal=False)
    draw = random.Random(f"stack {seed}")
    entries = [entry for entry in schedule.entries if entry.kind not in _OF_THE_CORE]
    busy = max((entry.at for entry in entries), default=0.0) + 1.0
    for _ in range(draw.choice((0, 1, 3))):
        at = round(draw.random() * busy, 3)
        kind, seconds = draw.choice(_KINDS), draw.choice((0.3, 3.0, 12.0, 40.0))
        entries.append(Entry(at, kind, seconds))
        if kind in ("refuse_keys", "rotate_key", "odd_answers"):
            # What the API answers to a flush matters when something has to be flushed.
            entries.append(Entry(at, "lose_acknowledgements", seconds))
            entries += [Entry(at, "request", 0.01, "async"), Entry(at, "request", seconds, "async")]
    entries.sort(key=lambda entry: entry.at)
    quiet_from = min(schedule.quiet_from, busy + LONGEST_FAULT)
    return replace(schedule, entries=tuple(entries), quiet_from=quiet_from)


class StackFaults(Faults):
    """``until`` fields are virtual seconds."""

    def __init__(self, sim: "StackSimulation") -> None:
        super().__init__(sim)
        self._stack = sim
        self.odd_answers_until = 0.0
        """Something between the worker and the API answers now and then."""
        self.stalled_until = 0.0
        """Neither names nor upgrades are answered before."""
        self.fragments_until = 0.0
        """Messages come in fragments, and pings between them."""
        self.keys_refused_until = 0.0
        self.accepted_key: int | None = None
        """The index of the only signing key that is accepted; None for all."""

    def happen(self, entry: Entry) -> None:
        """See ``Faults.happen``."""
        if entry.kind not in _KINDS:
            super().happen(entry)
            return
        sim = self._stack
        if sim.core.finished:
            return
        sim.note("fault", entry)
        until = sim.now + min(entry.amount, sim.schedule.quiet_from - entry.at)
        match entry.kind:
            case "pause_io":
                sim.pause("inngest-connect-io", until)
            case "pause_application":
                sim.pause("main", until)
            case "refuse_keys":
                self.keys_refused_until = until
            case "rotate_key" if sim.schedule.core.signing_keys > 1:
                self.accepted_key = 1 if self.accepted_key in (None, 0) else 0
            case "no_threads":
                sim.refuse_threads(until)
            case "odd_answers":
                self.odd_answers_until = until
            case "stall_dials":
                self.stalled_until = until
            case "fragment":
                self.fragments_until = until
        sim.health.check()
