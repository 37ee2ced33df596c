"""Health: whether the worker has a sound connection, keeps it, and comes back to one."""

from typing import TYPE_CHECKING, Final

from inngest_connect.core import inputs
from inngest_connect.core.requests.leases import UNANSWERED_RETRY
from inngest_connect.core.wire.durations import parse_duration
from inngest_connect.state_machine import ConnectionState
from inngest_connect.testing.model.actions import RequestEnded

from .invariants import InvariantViolated
from .network import Link

if TYPE_CHECKING:
    from .world import World

RECOVERY: Final = 90.0
"""Seconds within which a worker is ACTIVE again once nothing is wrong and its retry is due."""


class Health:
    """Compares what the worker believes with what the network really does."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._interval = parse_duration(world.schedule.gateway.extend_lease_interval)
        self._served: Link | None = None
        """The link that the worker uses for new requests."""
        self._since: float | None = None
        """Since when the worker could have extended a lease."""

    def check(self) -> None:
        """Look at the connection after something has happened."""
        world = self._world
        current = world.core.connections.current
        link = world.network.links.get(current.number) if current is not None else None
        held = max(
            world.worker_frozen_until,
            world.network.gateway_frozen_until,
            world.network.losing_until,
        )
        self._served = link
        if link is None or link.broken or world.now < max(held, link.held_until):
            self._since = None
        elif self._since is None:
            self._since = world.now

    def aborted(self, link: Link | None) -> None:
        """The worker has dropped a connection, which must not have been a sound one."""
        world = self._world
        if link is None or link is not self._served or link.number not in world.network.numbers:
            return
        # A process that was stopped for long cannot know; to connect again is the safe side.
        thawed = world.worker_frozen_until > 0.0 and world.now <= world.worker_frozen_until
        if not thawed and self._since is not None and not world.core.machine.is_shutting_down():
            text = f"connection {link.generation} is given up although it is sound"
            raise InvariantViolated(text)

    def request_ended(self, action: RequestEnded) -> None:
        """A lease may expire only if the worker could not extend it in time."""
        world = self._world
        record = world.model.ledger.records[action.request_id]
        if record.outcome != "expired" or not record.acknowledged_by:
            return
        world.note("executor", f"gives {action.request_id} up: its lease has expired")
        schedule = world.schedule
        lease_until = world.now - schedule.gateway.lease_grace
        slack = 4 * schedule.delay + 2 * schedule.gateway.handling_delay + 0.5
        needed = self._interval + UNANSWERED_RETRY + slack
        self.check()
        in_time = self._since is not None and self._since <= lease_until - needed
        if action.request_id not in world.core.shutdown.abandoned:
            world.invariants.expired(record, lease_until, self._since if in_time else None)
        world.invariants.excused.add(action.request_id)

    def recover(self, looks: int) -> None:
        """Nothing is wrong any more: the worker must become ACTIVE, and end when it is asked to.

        ``looks`` counts how often this was checked; the next check is planned here.
        """
        world, core = self._world, self._world.core
        if core.finished:
            return
        state, active = core.machine.state, core.machine.external_state is ConnectionState.ACTIVE
        close_at = world.functions.end_by + 10.0
        if core.machine.is_shutting_down() or world.now >= close_at:
            if not core.machine.is_shutting_down() and state is not ConnectionState.ACTIVE:
                raise InvariantViolated(f"not ACTIVE although nothing is wrong: {state.value}")
            world.deliver(inputs.CloseRequested())
            world.later(max(world.now, world.functions.end_by) + RECOVERY, world.end)
            return
        if not active and looks > 3:
            raise InvariantViolated(f"not ACTIVE although nothing is wrong: {state}")
        served = self._served is not None and self._served.number in world.network.numbers
        if active and looks and not served:
            raise InvariantViolated("the worker believes in a connection that has ended")
        due = max(world.now, core.connections.attempts.retry_at or 0.0) + RECOVERY
        world.later(max(close_at if active else due, world.now + 1.0), self.recover, looks + 1)
