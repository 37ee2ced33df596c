"""Invariants: what must be true of a worker at every step, and of every request in the end."""

from collections.abc import Collection
from typing import Final

from inngest_connect.core import events as seen
from inngest_connect.core.worker_core import WorkerCore
from inngest_connect.state_machine import ConnectionState
from inngest_connect.testing.model.gateway import GatewayModel
from inngest_connect.testing.model.ledger import RequestRecord

SECRET: Final = "hush"
"""Part of every token and payload of a simulation."""

EXCUSES: Final = frozenset({"execution_cancelled", "reply_evicted", "reply_refused"})
"""Kinds of errors that report, for one request, why it has no reply from this worker."""

_MAY_FOLLOW_ACTIVE: Final = (ConnectionState.CLOSING, ConnectionState.CLOSED)


class InvariantViolated(AssertionError):
    """Something that a worker promises does not hold."""


class Invariants:
    """Watches one incarnation of a worker after another."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.executed: set[str] = set()
        self.acknowledged: set[str] = set()
        self.excused: set[str] = set()
        """Requests whose loss this worker has reported, or that its crash explains."""
        self._lost_connection = False
        self._undelivered: set[str | None] = set()
        self._acknowledged_replies: list[str] = []

    def crashed(self, journalled: Collection[str] = ()) -> None:
        """What this incarnation had in memory is lost, which the crash explains.

        What is in the journal has to be answered by its successors.
        """
        self.excused |= self.acknowledged.difference(journalled)
        self.running.clear()
        self.executed.clear()
        self.acknowledged.intersection_update(journalled)

    # --- what happens to requests --------------------------------------------------------------

    def written(self, request_id: str) -> None:
        """An acknowledgement was written."""
        self.acknowledged.add(request_id)

    def started(self, request_id: str) -> None:
        """A function is started."""
        if request_id not in self.acknowledged:
            raise InvariantViolated(f"{request_id} is executed before it is acknowledged")
        if request_id in self.running:
            raise InvariantViolated(f"{request_id} is executed twice at the same time")
        if request_id in self.executed and request_id not in self.excused:
            raise InvariantViolated(f"{request_id} is executed a second time")
        self.executed.add(request_id)
        self.running.add(request_id)

    def ended(self, request_id: str) -> None:
        """A function has returned, or was cancelled."""
        self.running.discard(request_id)

    def excuse(self, request_id: str) -> None:
        """The request needs no reply any more."""
        self.excused.add(request_id)

    def answered(self, request_id: str) -> None:
        """A reply is sent or flushed."""
        if request_id not in self.acknowledged:
            raise InvariantViolated(f"{request_id} is answered and was not acknowledged")

    def observed(self, event: seen.Event) -> None:
        """The worker emitted an event."""
        match event:
            case seen.StateChanged(previous=ConnectionState.ACTIVE):
                # The external state leaves ACTIVE only for a lost connection or a shutdown.
                if event.state not in _MAY_FOLLOW_ACTIVE and not self._lost_connection:
                    raise InvariantViolated(f"{event} without a lost connection")
                self._lost_connection = False
            case seen.Disconnected():
                self._lost_connection = not event.expected
            case seen.ReplyAcknowledged():
                self._acknowledged_replies.append(event.request_id)
            case seen.LeaseLost():
                self.excuse(event.request_id)
            case seen.ErrorOccurred():
                if event.kind in EXCUSES and event.request_id is not None:
                    self.excuse(event.request_id)
                if event.kind == "reply_undelivered":
                    self._undelivered.add(event.request_id)
        if SECRET in repr(event) or SECRET in getattr(event, "message", ""):
            raise InvariantViolated(f"a secret is shown: {event}")

    # --- after every step ----------------------------------------------------------------------

    def step(self, core: WorkerCore, open_sockets: int, recovered: Collection[str] = ()) -> None:
        """Check the core after it has handled an input.

        ``recovered`` are requests of former processes, whose replies may exceed the buffer.
        """
        if open_sockets > 2:
            raise InvariantViolated(f"{open_sockets} sockets are open")
        if core.counters["invalid_transitions"]:
            raise InvariantViolated("a transition that the table does not have")
        while self._acknowledged_replies:
            request_id = self._acknowledged_replies.pop()
            if request_id not in core.delivery.answered:
                raise InvariantViolated(f"{request_id} is answered and not remembered")
        buffer = core.buffer
        full = buffer.size_bytes > buffer.max_bytes and len(buffer) > 1
        if full and not (recovered and any(reply.request_id in recovered for reply in buffer)):
            raise InvariantViolated(f"the buffer holds {buffer.size_bytes} bytes")
        if len(core.leases) > len(core.requests):
            raise InvariantViolated("a lease is kept for a request that was forgotten")
        limit = core.settings.max_worker_concurrency
        if limit is not None and len(self.running) > limit:
            raise InvariantViolated(f"{len(self.running)} functions run, the limit is {limit}")

    # --- in the end ----------------------------------------------------------------------------

    def expired(self, record: RequestRecord, lease_until: float, needed_from: float | None) -> None:
        """A lease ran out. ``needed_from`` is since when the worker could extend it."""
        if record.request_id in self.excused or needed_from is None:
            return
        raise InvariantViolated(
            f"the lease of {record.request_id} expired at {lease_until:.3f}, although there was a "
            f"connection since {needed_from:.3f}"
        )

    def finally_holds(self, core: WorkerCore, model: GatewayModel) -> None:
        """Check the core and the gateways after the end of the simulation."""
        if not core.finished:
            raise InvariantViolated(f"close() does not end: {core.machine.state.value}")
        if core.machine.state is not ConnectionState.CLOSED:
            raise InvariantViolated(f"the worker has ended in {core.machine.state.value}")
        serious = [e for e in model.protocol_errors if "unknown request" not in e]
        if serious:
            raise InvariantViolated(f"the gateway found errors of the protocol: {serious}")

    def unanswered(self, record: RequestRecord, core: WorkerCore) -> None:
        """An acknowledged request that has ended without a reply has to be explained."""
        request_id = record.request_id
        if request_id in self.excused or request_id in core.shutdown.abandoned:
            return
        if record.answered_at is not None:
            return  # the server has the reply, and only has not collected it yet
        # Only a worker that was forced to stop may end before it has delivered.
        if core.shutdown.forced and request_id in self._undelivered:
            return
        raise InvariantViolated(f"{request_id} was acknowledged and has no reply: {record}")
