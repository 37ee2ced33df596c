"""Health: whether the worker has a sound connection, keeps it, and comes back to one."""

from typing import TYPE_CHECKING, Final

from inngest_connect.core import inputs
from inngest_connect.core.requests.leases import UNANSWERED_RETRY
from inngest_connect.core.wire.durations import parse_duration
from inngest_connect.state_machine import ConnectionState
from inngest_connect.testing.model.actions import RequestEnded

from .invariants import InvariantViolated
from .network import Link
from .second_worker import is_anothers

if TYPE_CHECKING:
    from .simulation import Simulation

RECOVERY: Final = 90.0
"""Seconds within which a worker is ACTIVE again once nothing is wrong and its retry is due."""
ECHOES: Final = 5.0
"""Seconds from the end of the last fault until nothing of it can end a new attempt."""

LONGEST_BEAT: Final = 10.0
"""Seconds between heartbeats at most. One that the server could not store is never answered."""


class Health:
    """Compares what the worker believes with what the network really does."""

    def __init__(self, sim: "Simulation") -> None:
        self._sim = sim
        self._interval = parse_duration(sim.schedule.gateway.extend_lease_interval)
        self._served: Link | None = None
        """The link that the worker uses for new requests."""
        self._since: float | None = None
        """Since when the worker could have extended a lease."""
        self._active_by: float | None = None
        """When the worker has to be ACTIVE; decided when nothing is wrong any more."""
        self._sound_attempt_at: float | None = None
        """When the first attempt began that nothing can have disturbed."""

    def check(self) -> None:
        """Look at the connection after something has happened."""
        sim = self._sim
        current = sim.core.connections.current
        link = sim.network.links.get(current.number) if current is not None else None
        self._served = link
        if link is None or link.broken or sim.network.is_slow(link):
            self._since = None
            return
        now, network = sim.now, sim.network
        if (
            now < sim.worker_frozen_until
            or now < network.stopped.until
            or now < network.losing_until
            or now < link.held_until
            or link.unwritten is not None
            or now < sim.faults.stores_from + LONGEST_BEAT
        ):
            self._since = None
        elif self._since is None:
            self._since = now

    def attempt_begins(self, key_is_accepted: bool) -> None:
        """The worker asks the API for a gateway. A key that was replaced is refused for ever."""
        now = self._sim.now
        if (
            key_is_accepted
            and self._sound_attempt_at is None
            and now >= self._sim.schedule.quiet_from + ECHOES
        ):
            self._sound_attempt_at = now

    def aborted(self, link: Link | None) -> None:
        """The worker has dropped a connection, which must not have been a sound one."""
        sim = self._sim
        if link is None or link is not self._served or link.number not in sim.network.numbers:
            return
        # A process that was stopped for long cannot know; to connect again is the safe side.
        thawed = sim.worker_frozen_until > 0.0 and sim.now <= sim.worker_frozen_until
        # What a peer that goes on again has to answer takes a moment.
        gateway = sim.schedule.gateway
        handling = max(gateway.handling_delay, gateway.control_delay or 0.0)
        moment = 2 * sim.schedule.delay + 2 * handling + 0.5
        sound = self._since is not None and self._since <= sim.now - moment
        if not thawed and sound and not sim.core.machine.is_shutting_down():
            text = f"connection {link.generation} is given up although it is sound"
            raise InvariantViolated(text)

    def request_ended(self, action: RequestEnded) -> None:
        """A lease may expire only if the worker could not extend it in time."""
        sim = self._sim
        record = sim.model.ledger.records[action.request_id]
        if record.outcome != "expired" or not record.acknowledged_by or is_anothers(record):
            return
        sim.note("executor", f"gives {action.request_id} up: {action.failure}")
        schedule, lease_until = sim.schedule, record.expired_at
        if lease_until is None:  # the executor does not wait for longer, whatever the worker does
            sim.invariants.excuse(action.request_id)
            return
        slack = 4 * schedule.delay + 2 * schedule.gateway.handling_delay + 0.5
        needed = self._interval + UNANSWERED_RETRY + slack
        self.check()
        # A request that is routed late has little of its lease left when it is acknowledged.
        acknowledged_at = record.acknowledged_at or 0.0
        since = None if self._since is None else max(self._since, acknowledged_at)
        in_time = since is not None and since <= lease_until - needed
        sim.journal.left_to_its_lease(action.request_id, lease_until)
        if action.request_id not in sim.core.shutdown.abandoned:
            sim.invariants.expired(record, lease_until, self._since if in_time else None)
        sim.invariants.excuse(action.request_id)

    def recover(self, looks: int) -> None:
        """Nothing is wrong any more: the worker must become ACTIVE, and end when it is asked to.

        ``looks`` counts how often this was checked; the next check is planned here.
        """
        sim, core = self._sim, self._sim.core
        if core.finished:
            return
        active = core.machine.external_state is ConnectionState.ACTIVE
        attempts = core.connections.attempts
        if self._active_by is None:
            self._active_by = sim.now + RECOVERY
        # An attempt that began when something was wrong may still fail, in a way that makes the
        # worker wait for long. The next one succeeds.
        if self._sound_attempt_at is not None:
            self._active_by = max(self._active_by, self._sound_attempt_at + RECOVERY)
        elif attempts.retry_at is not None:
            self._active_by = max(self._active_by, attempts.retry_at + sim.slept + RECOVERY)
        if not active and not core.machine.is_shutting_down() and sim.now >= self._active_by:
            state = core.machine.state.value
            raise InvariantViolated(f"not ACTIVE although nothing is wrong: {state}")
        served = self._served is not None and self._served.number in sim.network.numbers
        if active and looks and not served:
            raise InvariantViolated("the worker believes in a connection that has ended")
        # Four round trips of a slow line after the last message, a lost connection is noticed.
        close_at = sim.functions.end_by + 15.0
        if not core.machine.is_shutting_down():
            if not active:
                sim.later(self._active_by, self.recover, looks + 1)
                return
            if sim.now < close_at:
                sim.later(max(close_at, sim.now + 1.0), self.recover, looks + 1)
                return
        sim.deliver(inputs.CloseRequested())
        sim.later(max(sim.now, sim.functions.end_by) + RECOVERY, sim.end)
