"""Bugs of the journal: what the core has written down, and what it makes of what was left."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from inngest_connect.core import commands as do
from inngest_connect.core import inputs
from inngest_connect.core.requests.delivery import ReplyDelivery
from inngest_connect.core.requests.request_table import RequestTable
from inngest_connect.core.worker_core import WorkerCore

from .seeded_bugs import Bug, replaced


def _never_asked_for(right: Any, what: Callable[[do.Command], bool]) -> Any:
    def handle(self: WorkerCore, input: inputs.Input, now: float) -> list[do.Command]:
        return [command for command in right(self, input, now) if not what(command)]

    return handle


def requests_are_not_journalled(right: Any) -> Any:
    return _never_asked_for(right, lambda it: isinstance(it, do.JournalRecord) and it.reply is None)


def replies_are_not_journalled(right: Any) -> Any:
    return _never_asked_for(right, lambda it: isinstance(it, do.JournalRecord) and bool(it.reply))


def nothing_is_erased(right: Any) -> Any:
    return _never_asked_for(right, lambda it: isinstance(it, do.JournalErase))


def what_was_left_is_ignored(right: Any) -> Any:
    return lambda self, entries, *rest: right(self, (), *rest)


def only_replies_are_recovered(right: Any) -> Any:
    def recovered(self: RequestTable, entries: Any, *rest: Any) -> None:
        right(self, [entry for entry in entries if entry.reply is not None], *rest)

    return recovered


def what_was_left_can_be_executed(right: Any) -> Any:
    def recovered(self: RequestTable, entries: Any, *rest: Any) -> None:
        before = set(self._requests)
        right(self, entries, *rest)
        for request_id in set(self._requests) - before:
            del self._requests[request_id]

    return recovered


def a_cancelled_function_stays_in_the_journal(right: Any) -> Any:
    def lease_lost(self: RequestTable, entry: Any) -> None:
        journal, self._settings = self._settings, replace(self._settings, journal=None)
        right(self, entry)
        self._settings = journal

    return lease_lost


def a_reply_is_offered_before_its_commit(right: Any) -> Any:
    def add(self: ReplyDelivery, reply: Any, carrier: Any, now: float) -> Any:
        reply.uncommitted = False
        return right(self, reply, carrier, now)

    return add


def a_committed_reply_is_forgotten(right: Any) -> Any:
    return lambda self, request_id, carrier, now: None


def recovered_replies_wait_for_a_connection(right: Any) -> Any:
    def recover(self: ReplyDelivery, reply: Any, carrier: Any, now: float) -> None:
        right(self, reply, carrier, now + 60.0)

    return recover


SEEDED_JOURNAL_BUGS: dict[str, Bug] = {
    make.__name__: replaced(owner, name, make)
    for owner, name, make in (
        (WorkerCore, "handle", requests_are_not_journalled),
        (WorkerCore, "handle", replies_are_not_journalled),
        (WorkerCore, "handle", nothing_is_erased),
        (RequestTable, "recovered", what_was_left_is_ignored),
        (RequestTable, "recovered", only_replies_are_recovered),
        (RequestTable, "recovered", what_was_left_can_be_executed),
        (RequestTable, "_lease_lost", a_cancelled_function_stays_in_the_journal),
        (ReplyDelivery, "add", a_reply_is_offered_before_its_commit),
        (ReplyDelivery, "committed", a_committed_reply_is_forgotten),
        (ReplyDelivery, "recover", recovered_replies_wait_for_a_connection),
    )
}
