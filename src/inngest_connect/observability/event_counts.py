"""EventCounts: how often each thing that the metrics count has happened to one worker.

Each event is counted once, here or in the core, and every meter provider reads the same numbers.
"""

from collections import defaultdict
from collections.abc import Mapping

from ..core.events import (
    Disconnected,
    ErrorOccurred,
    Event,
    FunctionFailed,
    LeaseLost,
    ReplyAcknowledged,
    RequestCompleted,
    RequestReceived,
    RequestStarted,
)
from . import metric_table as table
from .metric_table import Labels, Values
from .records import LOST_RESULTS


class EventCounts:
    """``count`` runs where an event happens, with every request: it only adds to integers.

    Two threads may count the same thing. ``counts[key] += 1`` on a dict of C code has no point at
    which CPython switches threads, so no count is lost, and a copy is one step as well.
    """

    def __init__(self) -> None:
        self.started: set[str] = set()
        """Slugs of functions that were started. Any other slug is remote text, and no label."""
        self._completed: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._failed: defaultdict[str, int] = defaultdict(int)
        # Series exist before the first event: a rate needs a value before and one after.
        self._errors: defaultdict[str, int] = defaultdict(
            int, dict.fromkeys(table.ALERTED_KINDS, 0)
        )
        self._delivered = {"socket": 0, "flush": 0}
        self._connections_lost = dict.fromkeys(sorted(table.LOSS_REASONS), 0)
        self._leases_lost = 0
        self._dropped: tuple[str | None, str] = None, ""
        """Which connection we have dropped last, and why."""

    def count(self, event: Event) -> None:
        """Count one event, if it is not counted elsewhere."""
        match event:  # the frequent ones first: each comparison takes 20 ns
            case RequestReceived():
                pass  # the core counts it
            case RequestStarted():
                if event.function_slug not in self.started:
                    self.started.add(event.function_slug)
            case RequestCompleted():
                self._completed[self._label(event.function_slug), event.status] += 1
            case ReplyAcknowledged():
                self._delivered[event.via] += 1
            case Disconnected(expected=False):
                dropped, kind = self._dropped
                ours = kind if dropped == event.connection_id else None
                reason = ours or table.loss_reason(event.code, event.reason)
                self._connections_lost[reason] += 1
            case FunctionFailed():
                self._failed[self._label(event.function_slug)] += 1
            case LeaseLost():
                self._leases_lost += 1
            case ErrorOccurred(kind=kind):
                self._errors[kind] += 1
                if kind in (table.SILENT, table.VIOLATION):
                    # The connection ends next, which looks like any other end.
                    self._dropped = event.connection_id, kind

    def _label(self, function_slug: str) -> str:
        return function_slug if function_slug in self.started else table.OTHER

    def values(self) -> Values:
        """What was counted, as metrics. May be called from any thread."""
        errors, completed = self._errors.copy(), self._completed.copy()
        return {
            table.REQUESTS_COMPLETED: {
                (("function", function), ("status", status)): count
                for (function, status), count in completed.items()
            },
            table.FUNCTIONS_FAILED: _by("function", self._failed.copy()),
            table.REQUESTS_REFUSED: {(): errors.get("request_refused", 0)},
            table.REPLIES_DELIVERED: _by("via", self._delivered),
            table.REPLIES_LOST: _by(
                "reason",
                {kind.removeprefix("reply_"): errors.get(kind, 0) for kind in LOST_RESULTS},
            ),
            table.LEASES_LOST: {(): self._leases_lost},
            table.CONNECTIONS_LOST: _by("reason", self._connections_lost),
            table.ERRORS: _by("kind", errors),
        }


def _by(label: str, counts: Mapping[str, int]) -> dict[Labels, float]:
    return {((label, value),): count for value, count in counts.items()}
