"""Bugs of one line, each with the promise that has to find it.

A bug is the source of one function with one text replaced, compiled in its own module.
"""

import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any, Final
from unittest import mock

from inngest_connect.core.connections.attempts import Attempts
from inngest_connect.core.connections.connections import Connections
from inngest_connect.core.connections.generation import Generation
from inngest_connect.core.connections.setup_handler import SetupHandler
from inngest_connect.core.requests.delivery import ReplyDelivery
from inngest_connect.core.requests.leases import LeaseTable
from inngest_connect.core.requests.long_running import LongRunning
from inngest_connect.core.requests.message_buffer import MessageBuffer
from inngest_connect.core.requests.request_table import RequestTable
from inngest_connect.core.shutdown import Shutdown
from inngest_connect.core.worker_core import WorkerCore


def rewritten(owner: type, name: str, right: str, wrong: str) -> Callable[[], Any]:
    """The method ``name`` with ``wrong`` in place of ``right``, which it has to have once."""
    source = textwrap.dedent(inspect.getsource(getattr(owner, name)))
    assert source.count(right) == 1, f"{owner.__name__}.{name} does not have {right!r} once"
    made: dict[str, Any] = {}
    exec(source.replace(right, wrong), vars(sys.modules[owner.__module__]), made)
    return lambda: mock.patch.object(owner, name, made[name])


_BUGS: Final[tuple[tuple[str, str, type, str, str, str], ...]] = (
    ("requests_are_ignored", "accepts",
     WorkerCore, "_request_arrived", "if generation.phase", "if True or generation.phase"),
    ("an_open_socket_meets_startup_timeout", "startup_timeout",
     WorkerCore, "handle", "self._transition(E.WEBSOCKET_OPEN, now)",
     "self._startup_deadline = None"),
    ("an_outage_is_reported_twice", "reports_outage",
     WorkerCore, "_ready", "self._lost_at = self._lost_at, None", "_ = self._lost_at, None"),
    ("extensions_of_a_lost_socket_are_awaited", "extends",
     WorkerCore, "_ready",
     "self.leases.connection_changed(now, replaced=replaced is not None)", "pass"),
    ("a_refusal_is_taken_for_an_answer_of_a_lost_connection", "reports_lost_lease",
     LeaseTable, "connection_changed", "lease.stale = lease.answerable = 0", "lease.stale = 0"),
    ("a_drain_is_not_reported", "reports",
     WorkerCore, "_gateway_closing",
     "self._outbox.put(Draining(generation.connection_id, generation.gateway_group))", "pass"),
    ("the_timer_is_off_with_replies_only", "shutdown_timeout",
     Shutdown, "next_deadline",
     "earliest(self._deadline,",
     "earliest(self._deadline if self._requests.unfinished or self.forced else None,"),
    ("a_forced_shutdown_does_not_flush", "last_flush",
     Shutdown, "force", "now + self._settings.final_flush_timeout", "None"),
    ("a_shutdown_waits_in_silence", "notices",
     Shutdown, "request", "self._notice_at = now + FIRST_NOTICE", "pass"),
    ("failures_are_not_counted", "delay_of_failure",
     Attempts, "failed", "self.failures += 1", "pass"),
    ("nothing_is_excluded", "excludes",
     Attempts, "exclude", "self.excluded[gateway_group] = None", "return"),
    ("a_loss_waits_longer", "delay_of_loss",
     Attempts, "lost", "self._plan_by_schedule(self._young,",
     "self._plan_by_schedule(self._young + 2,"),
    ("closing_connections_have_no_timer", "limits_close",
     Connections, "next_deadline",
     "*[generation.next_deadline() for generation in self.closing.values()]", "None"),
    ("a_status_is_sent_once", "status",
     Generation, "take_status_due", "now + self.status_interval", "None"),
    ("the_lease_interval_is_our_own", "extends",
     SetupHandler, "_ready", "max(min(extend, MAX_EXTEND_LEASE_INTERVAL)", "max(min(30.0, 60.0)"),
    ("a_failed_flush_is_not_reported", "reports",
     ReplyDelivery, "flush_failed", 'self.error("flush_failed", text, reply)', "pass"),
    ("a_written_reply_is_not_written_again", "rewrites_replies",
     ReplyDelivery, "connection_ready", "reply.sent_over != carrier.number",
     "reply.sent_over is None"),
    ("what_a_flush_could_not_deliver_is_not_written", "writes_unflushed",
     ReplyDelivery, "flush_failed", "reply.sent_over != carrier.number", "False"),
    ("patience_with_the_journal_has_no_timer", "waits_for_commit",
     ReplyDelivery, "next_deadline", "earliest(self.patience.earliest(),", "earliest(None,"),
    ("only_the_body_is_limited", "fits",
     RequestTable, "_answer", "len(payload) > limit", "len(result.body) > limit"),
    ("functions_start_above_high_water", "waits_for_room",
     RequestTable, "start_ready", "if self._delivery.buffer.above_high_water()", "if False"),
    ("a_reply_that_is_too_large_is_not_reported", "reports_too_large",
     RequestTable, "_answer", 'self._error("reply_too_large", text, request)', "pass"),
    ("the_newest_reply_is_evicted", "evicts_oldest",
     MessageBuffer, "add", "next(iter(self._replies.values()))",
     "next(reversed(self._replies.values()))"),
    ("what_a_forced_shutdown_gives_up_runs_on", "cancels_abandoned",
     RequestTable, "abandon", "self._outbox.put(CancelExecution(request_id))", "pass"),
    ("shutdown_timeout_does_not_name_what_is_left", "names_abandoned",
     Shutdown, "_time_is_over", "if abandoned:", "if not abandoned:"),
    ("durations_count_from_the_arrival", "measures",
     RequestTable, "_answer", "now - started,", "now - entry.received_at,"),
    ("a_lost_lease_is_not_reported", "reports_lost_lease",
     RequestTable, "_lease_lost", "self._outbox.put(LeaseLost(", "str((request.run_id,"),
    ("a_lost_function_is_not_cancelled", "cancels_lost",
     RequestTable, "_lease_lost", "self._outbox.put(CancelExecution(request_id))", "pass"),
    ("leases_are_extended_too_often", "extends_at_pace",
     LeaseTable, "extended", "since + self.interval", "since + 0.1"),
    ("a_refused_repetition_ends_a_lease", "reports_lost_lease",
     LeaseTable, "refused", "if lease.stale:", "if False:"),
    ("an_extension_is_repeated_late", "extends",
     LeaseTable, "take_due", "now + min(UNANSWERED_RETRY, self.interval)", "now + self.interval"),
    ("flushes_do_not_slow_down", "flushes_again",
     MessageBuffer, "flush_ended", "reply.flush_failures += failed", "reply.flush_failures = 1"),
    ("a_long_function_is_reported_at_one_pace", "reports_long_running",
     LongRunning, "tick", "self._again.set(request_id, now + age)",
     "self._again.set(request_id, now + 60)"),
)  # fmt: skip
"""Name, promise, class, method, what is right and what is wrong."""

ONE_LINE_BUGS: Final = {
    name: (promise, rewritten(owner, method, right, wrong))
    for name, promise, owner, method, right, wrong in _BUGS
}
