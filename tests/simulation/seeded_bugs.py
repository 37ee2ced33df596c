"""Bugs to be found: each is one mistake that somebody could make in the core."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from inngest_connect.core.connections.attempts import Attempts
from inngest_connect.core.connections.connections import Connections
from inngest_connect.core.connections.heartbeat import HeartbeatMonitor
from inngest_connect.core.connections.phases import Phase
from inngest_connect.core.events import Reconnecting
from inngest_connect.core.requests.delivery import ReplyDelivery
from inngest_connect.core.requests.leases import LeaseTable
from inngest_connect.core.requests.request_table import Progress, RequestTable
from inngest_connect.core.retry import ScheduleRetry
from inngest_connect.core.shutdown import Shutdown, Stage
from inngest_connect.core.worker_core import WorkerCore
from inngest_connect.state_machine import TRANSITIONS, ConnectionEvent, ConnectionState

Bug = Callable[[], Any]


def replaced(owner: type, name: str, make: Callable[[Any], Any]) -> Bug:
    """The method ``name`` is what ``make`` makes of the right one."""
    return lambda: mock.patch.object(owner, name, make(getattr(owner, name)))


def extensions_stay_on_the_drained_socket(right: Any) -> Any:
    def extend_due(self: RequestTable, carrier: Any, now: float) -> None:
        first = self.__dict__.setdefault("first_carrier", carrier)
        right(self, first if first.phase is not Phase.RETIRED else carrier, now)

    return extend_due


def a_reconnect_forgets_replies(right: Any) -> Any:
    def connection_ready(self: ReplyDelivery, carrier: Any, now: float) -> None:
        for reply in list(self.buffer):
            self.buffer.remove(reply.request_id)

    return connection_ready


def the_old_socket_is_closed_early(right: Any) -> Any:
    def gateway_closing(self: WorkerCore, generation: Any, now: float) -> None:
        right(self, generation, now)
        current = self.connections.current
        if current is not None and generation is current:
            self._drop(current, "closed early", now)

    return gateway_closing


def nothing_is_flushed(right: Any) -> Any:
    return lambda self, now: None


def a_failed_flush_drops_the_reply(right: Any) -> Any:
    def flush_failed(self: ReplyDelivery, request_id: str, *rest: Any) -> bool:
        self._flush_ended(request_id, failed=True)
        self.buffer.remove(request_id)
        return True

    return flush_failed


def a_request_runs_although_it_was_not_acknowledged(right: Any) -> Any:
    def acknowledgement_failed(self: RequestTable, request_id: str) -> None:
        self.acknowledgement_written(request_id, None, 0.0)

    return acknowledgement_failed


def a_repeated_request_runs_again(right: Any) -> Any:
    def arrived(self: RequestTable, request: Any, *rest: Any) -> bool:
        entry = self._requests.pop(request.request_id, None)
        if entry is not None and entry.progress is not Progress.ANSWERED:
            self.unfinished -= 1
        return bool(right(self, request, *rest))

    return arrived


def silence_is_not_noticed(right: Any) -> Any:
    return lambda self, now: False


def it_stops_to_retry(right: Any) -> Any:
    def delay(self: ScheduleRetry, failures: int, random: Any) -> float:
        return 1e9 if failures >= 5 else float(right(self, failures, random))

    return delay


def the_lease_id_is_not_rotated(right: Any) -> Any:
    def extended(self: LeaseTable, request_id: str, lease_id: str, now: float) -> bool:
        lease = self._leases.get(request_id)
        kept = lease.lease_id if lease is not None else lease_id
        done = bool(right(self, request_id, lease_id, now))
        if lease is not None:
            lease.lease_id = kept
        return done

    return extended


def the_shutdown_leaves_replies_behind(right: Any) -> Any:
    def has_what_it_awaits(self: Shutdown) -> bool:
        if self.stage is Stage.CLOSING:
            return not self._connections.closing
        return self.stage is Stage.FLUSHING or bool(right(self))

    return has_what_it_awaits


def the_limit_is_not_kept(right: Any) -> Any:
    def start_ready(self: RequestTable, now: float) -> None:
        running, self.running = self.running, 0
        right(self, now)
        self.running += running

    return start_ready


def a_forgotten_request_keeps_its_lease(right: Any) -> Any:
    def forget(self: RequestTable, request_id: str) -> None:
        entry = self._requests.pop(request_id, None)
        if entry is not None and entry.progress in (Progress.ACKNOWLEDGING, Progress.RUNNING):
            self.unfinished -= 1

    return forget


def a_token_is_told(right: Any) -> Any:
    def dial(self: Connections, attempt: Any, named: Any, now: float) -> None:
        right(self, attempt, named, now)
        self._outbox.put(Reconnecting(0, 0.0, f"dialing with {named.session_token}"))

    return dial


def a_third_socket_is_opened(right: Any) -> Any:
    def begin(self: Connections, now: float) -> None:
        closing, self.closing = self.closing, {}
        right(self, now)
        self.closing = closing

    return begin


def silence_is_computed_in_another_way_than_its_deadline(right: Any) -> Any:
    """What the simulation found first: a difference that rounds to less than the intervals."""

    def dead(self: HeartbeatMonitor, now: float) -> bool:
        if now - self.last_received_at >= 3 * self.interval:
            return True
        return self._due(now) and self.unanswered >= 2

    return dead


@contextmanager
def a_transition_is_missing() -> Iterator[None]:
    pair = (ConnectionState.DRAINING_RECONNECTING, ConnectionEvent.ERROR_OCCURRED)
    target = TRANSITIONS.pop(pair)
    try:
        yield
    finally:
        TRANSITIONS[pair] = target


def a_machine_without_a_network_waits_for_minutes(right: Any) -> Any:
    def failed(self: Attempts, *rest: Any, offline: bool = False) -> None:
        right(self, *rest)

    return failed


def a_sleep_is_noticed_at_the_end_of_a_wait(right: Any) -> Any:
    return lambda self: None


SEEDED_BUGS: dict[str, Bug] = {
    make.__name__: replaced(owner, name, make)
    for owner, name, make in (
        (RequestTable, "extend_due", extensions_stay_on_the_drained_socket),
        (ReplyDelivery, "connection_ready", a_reconnect_forgets_replies),
        (WorkerCore, "_gateway_closing", the_old_socket_is_closed_early),
        (ReplyDelivery, "tick", nothing_is_flushed),
        (ReplyDelivery, "flush_failed", a_failed_flush_drops_the_reply),
        (RequestTable, "acknowledgement_failed", a_request_runs_although_it_was_not_acknowledged),
        (RequestTable, "arrived", a_repeated_request_runs_again),
        (HeartbeatMonitor, "dead", silence_is_not_noticed),
        (ScheduleRetry, "delay", it_stops_to_retry),
        (LeaseTable, "extended", the_lease_id_is_not_rotated),
        (Shutdown, "_has_what_it_awaits", the_shutdown_leaves_replies_behind),
        (RequestTable, "start_ready", the_limit_is_not_kept),
        (RequestTable, "forget", a_forgotten_request_keeps_its_lease),
        (Connections, "dial", a_token_is_told),
        (Connections, "begin", a_third_socket_is_opened),
        (HeartbeatMonitor, "dead", silence_is_computed_in_another_way_than_its_deadline),
        (Attempts, "failed", a_machine_without_a_network_waits_for_minutes),
        (Attempts, "look_at", a_sleep_is_noticed_at_the_end_of_a_wait),
    )
}
SEEDED_BUGS["a_transition_is_missing"] = a_transition_is_missing
