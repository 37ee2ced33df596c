"""DebugState: the snapshot of a worker, for operators, tests, metrics, health and the status page.

It has ids, ages and counts; no payload, key or token. Ages are seconds before the snapshot.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..core.connections.phases import Phase
from ..core.shutdown import Stage
from ..core.wire.remote_text import shortened_id
from ..core.worker_core import WorkerCore
from ..state_machine import ConnectionState


@dataclass(frozen=True, slots=True)
class InFlightRequest:
    """One request that is not yet delivered. ``progress`` is QUEUED, RUNNING, ANSWERED or LOST."""

    request_id: str
    run_id: str
    function_slug: str
    progress: str
    attempt_age: float
    """Since the request arrived."""
    lease_age: float | None
    """Since the lease was granted or last extended; None without a lease."""
    next_extension: float | None
    """Until the next extension."""


@dataclass(frozen=True, slots=True)
class ChildProcess:
    """One process of ``process_executor``."""

    pid: int
    in_flight: int
    executions: int
    """Requests that it was given."""
    status: str
    """STARTING, SERVING, REPLACED (finishes what it has) or STOPPING."""


@dataclass(frozen=True, slots=True)
class DebugState:
    """The snapshot. ``state`` is the inner state, which can be DRAINING_RECONNECTING."""

    instance_id: str
    app_versions: dict[str, str | None]
    """App id to version."""
    max_worker_concurrency: int | None
    state: ConnectionState
    external_state: ConnectionState
    active_connection_id: str | None
    draining_connection_ids: tuple[str, ...]
    gateway_group: str | None
    phases: tuple[str, ...]
    """Of each connection, the serving one first; see docs/state-machine.md."""
    shutdown_stage: str
    """See docs/state-machine.md."""
    last_heartbeat_sent_age: float | None
    last_heartbeat_received_age: float | None
    heartbeat_round_trip: float | None
    last_message_age: float | None
    shutdown_requested: bool
    in_flight: tuple[InFlightRequest, ...]
    """Oldest first."""
    running: int
    queued: int
    oldest_running_age: float | None
    """Since the start of the function that has run longest; None when none runs."""
    saturated_age: float | None
    """Since all slots are taken and no function has ended; None while a slot is free."""
    unacknowledged_replies: int
    oldest_reply_age: float | None
    """Since the function of the reply that waits longest has ended; None without one."""
    buffer_bytes: int
    consecutive_failures: int
    next_attempt: float | None
    """Seconds until the next attempt to connect; 0 during one, None when none is planned."""
    excluded_gateways: tuple[str, ...]
    counters: dict[str, int]
    journal_path: str | None
    """None without a journal, and before the start."""
    journal_entries: int
    """Requests that another process would find in it."""
    journal_failure: str | None
    """Why the journal is not written at present."""
    journal_lag: float
    """Seconds since the oldest change that the journal does not have."""
    child_processes: tuple[ChildProcess, ...]
    """Empty without ``process_executor``."""
    io_loop_lag: float
    """Seconds that the connection's event loop is late."""
    caller_loop_lag: float
    """Seconds that the application's event loop is late."""


class JournalSource(Protocol):
    """What a snapshot asks a journal for."""

    @property
    def path(self) -> Path: ...  # noqa: D102
    @property
    def failure(self) -> str | None: ...  # noqa: D102
    @property
    def lag(self) -> float: ...  # noqa: D102
    def __len__(self) -> int: ...


def snapshot(
    core: WorkerCore,
    now: float,
    io_loop_lag: float = 0.0,
    caller_loop_lag: float = 0.0,
    shown: Callable[[str], str] = shortened_id,
    journal: JournalSource | None = None,
    child_processes: tuple[ChildProcess, ...] = (),
) -> DebugState:
    """Take the snapshot of ``core`` at ``now``, which is of the clock of the core's inputs.

    From any thread: each table is copied in one step, so it is consistent, but an input that the
    core handles meanwhile may be in one of them and not yet in another. ``shown`` is applied to
    each id and name that came from a peer.
    """
    identity = core.identity
    connections = core.connections
    current = connections.current
    heartbeat = current.heartbeat if current is not None else None
    draining = list(connections.closing.values())
    if current is not None and current.phase is Phase.DRAINING:
        draining.append(current)
    in_flight = []
    for entry in list(core.requests):
        request_id = entry.request.request_id
        lease = core.leases.get(request_id)
        next_at = core.leases.next_extension(request_id)
        in_flight.append(
            InFlightRequest(
                request_id=shown(request_id),
                run_id=shown(entry.request.run_id),
                function_slug=shown(entry.request.function_slug),
                progress=entry.progress.value,
                attempt_age=now - entry.received_at,
                lease_age=_age(lease.extended_at if lease is not None else None, now),
                next_extension=next_at - now if next_at is not None else None,
            )
        )
    return DebugState(
        instance_id=identity.instance_id,
        app_versions={app.name: app.version for app in identity.apps},
        max_worker_concurrency=identity.max_worker_concurrency,
        state=core.machine.state,
        external_state=core.machine.external_state,
        active_connection_id=shown(current.connection_id) if current is not None else None,
        draining_connection_ids=tuple(shown(g.connection_id) for g in draining),
        gateway_group=shown(current.gateway_group) if current is not None else None,
        phases=tuple(
            each.phase.value
            for each in (current, connections.attempt, *list(connections.closing.values()))
            if each is not None
        ),
        shutdown_stage=core.shutdown.stage.value,
        last_heartbeat_sent_age=_age(heartbeat.last_sent_at if heartbeat else None, now),
        last_heartbeat_received_age=_age(heartbeat.last_answered_at if heartbeat else None, now),
        heartbeat_round_trip=heartbeat.round_trip if heartbeat else None,
        last_message_age=_age(heartbeat.last_received_at if heartbeat else None, now),
        shutdown_requested=core.shutdown.stage is not Stage.RUNNING,
        in_flight=tuple(in_flight),
        running=core.requests.running,
        queued=len(core.requests.queue),
        oldest_running_age=core.requests.long_running.oldest_age(now),
        saturated_age=_age(core.requests.long_running.full_since, now),
        unacknowledged_replies=len(core.buffer),
        oldest_reply_age=core.buffer.oldest_age(now),
        buffer_bytes=core.buffer.size_bytes,
        consecutive_failures=connections.attempts.failures,
        next_attempt=_next_attempt(core, now),
        excluded_gateways=tuple(map(shown, connections.attempts.excluded)),
        counters=dict(core.counters),
        journal_path=None if journal is None else str(journal.path),
        journal_entries=0 if journal is None else len(journal),
        journal_failure=None if journal is None else journal.failure,
        journal_lag=0.0 if journal is None else journal.lag,
        child_processes=child_processes,
        io_loop_lag=io_loop_lag,
        caller_loop_lag=caller_loop_lag,
    )


def _next_attempt(core: WorkerCore, now: float) -> float | None:
    if core.connections.attempt is not None:
        return 0.0
    retry_at = core.connections.attempts.retry_at
    return None if retry_at is None else max(retry_at - now, 0.0)


def _age(at: float | None, now: float) -> float | None:
    return None if at is None else now - at
