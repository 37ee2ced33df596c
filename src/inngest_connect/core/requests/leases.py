"""LeaseTable: the requests that the server has leased to this worker, and their next extensions.

One table per worker, not per socket, because an extension may go over any connection. There is at
most one outstanding extension per request; without an answer it is repeated with the *same* lease
id, and the server answers as before (docs/protocol.md#leases). An answer does not carry the old id,
so of two ids the greater ULID wins: it expires later, and a late answer from a dying socket cannot
replace it.

The server extends a lease once for each id, and answers a repetition with what it granted then. So
an answer that brings no newer id has granted nothing, and delays nothing; and what a repetition is
answered with may have been granted when the extension was sent first. Older servers refuse the
repetition instead, which says nothing about the lease that they have just extended.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..deadlines import Deadlines

# Seconds after which an extension without an answer is sent again.
UNANSWERED_RETRY: Final = 5.0

# Seconds from an answer to the next extension, at least. Of two ids from one millisecond the later
# one can be the smaller one, which would not be taken for newer.
SHORTEST_PAUSE: Final = 0.1


@dataclass(slots=True)
class Lease:
    """The server's promise that no other worker runs this request before it expires."""

    request_id: str
    lease_id: str
    extended_at: float
    outstanding: bool = False
    asked_at: float | None = None
    """When an extension with this id was sent first, None while none was."""
    sent: int = 0
    """How often an extension with this id was sent."""
    answerable: int = 0
    """How many of those went over a connection that is still there."""
    stale: int = 0
    """How many answers may still come to extensions with an older id."""

    def adopt(self, lease_id: str, stale: int) -> bool:
        """Take an id if it is newer, and how many are ``stale`` then. Returns whether it is."""
        if lease_id <= self.lease_id:
            return False
        self.lease_id, self.stale = lease_id, stale
        self.asked_at, self.sent, self.answerable = None, 0, 0
        return True


class LeaseTable:
    """Times are monotonic seconds; ``interval`` is seconds between extensions."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._leases: dict[str, Lease] = {}
        self.deadlines = Deadlines()

    def __len__(self) -> int:
        return len(self._leases)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._leases

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._leases.values())

    def get(self, request_id: str) -> Lease | None:
        """The lease of a request, None without one."""
        return self._leases.get(request_id)

    def next_extension(self, request_id: str) -> float | None:
        """When this lease is extended next."""
        return self.deadlines.get(request_id)

    def grant(self, request_id: str, lease_id: str, now: float) -> None:
        """Start to extend a lease; for a known request, take the id if it is newer."""
        lease = self._leases.get(request_id)
        if lease is not None:
            lease.adopt(lease_id, lease.stale + lease.answerable)
            return
        self._leases[request_id] = Lease(request_id, lease_id, now)
        self.deadlines.set(request_id, now + self.interval)

    def release(self, request_id: str) -> bool:
        """Forget a lease. Returns whether it was there."""
        self.deadlines.discard(request_id)
        return self._leases.pop(request_id, None) is not None

    def extended(self, request_id: str, lease_id: str, now: float) -> bool:
        """The server granted ``lease_id``. Returns False when there is no lease to extend."""
        lease = self._leases.get(request_id)
        if lease is None:
            return False
        since = lease.asked_at if lease.sent > 1 and lease.asked_at is not None else now
        # Those with a still older id were sent, and therefore answered, before the one that this
        # answers; or never.
        if not lease.adopt(lease_id, max(lease.answerable - 1, 0)):
            lease.stale = max(lease.stale - 1, 0)
            return True
        lease.outstanding = False
        lease.extended_at = since
        self.deadlines.set(request_id, max(since + self.interval, now + SHORTEST_PAUSE))
        return True

    def refused(self, request_id: str) -> bool:
        """The server refused an extension. Returns whether that has ended a lease."""
        lease = self._leases.get(request_id)
        if lease is None:
            return False
        if lease.stale:
            # Of a repetition whose first was granted. If not, the next extension will show it.
            lease.stale -= 1
            return False
        return self.release(request_id)

    def set_interval(self, interval: float, now: float) -> None:
        """A new connection asked for another interval: no lease may wait longer than that."""
        self.interval = interval
        for request_id in self._leases:
            at = self.deadlines.get(request_id)
            # Only brought forward: a lease that is due earlier was granted with a shorter interval.
            if at is None or at > now + interval:
                self.deadlines.set(request_id, now + interval)

    def connection_changed(self, now: float, *, replaced: bool) -> None:
        """Answers that were outstanding may be lost with their socket: extend those again now.

        All others keep their times, or every reconnect would extend all leases in one burst.
        ``replaced``: the last connection is drained, and can still bring answers.
        """
        for lease in self._leases.values():
            if not replaced:
                # Or a refusal would be taken for one of these answers, and again with each that
                # follows: a function whose lease is lost would not be cancelled for minutes.
                lease.stale = lease.answerable = 0
            if lease.outstanding:
                lease.outstanding = False
                self.deadlines.set(lease.request_id, now)

    def next_deadline(self) -> float | None:
        """When the next extension is due, or None without leases."""
        return self.deadlines.earliest()

    def take_due(self, now: float, limit: int) -> list[Lease]:
        """Up to ``limit`` leases to extend now; each counts as sent."""
        due: list[Lease] = []
        # Each is due again before its answer can be expected, so an answer that never comes costs
        # one repetition and not the lease. It is repeated with the same id until an answer comes.
        while len(due) < limit and (request_id := self.deadlines.pop_due(now)) is not None:
            lease = self._leases[request_id]
            lease.outstanding = True
            lease.sent += 1
            lease.answerable += 1
            if lease.asked_at is None:
                lease.asked_at = now
            self.deadlines.set(request_id, now + min(UNANSWERED_RETRY, self.interval))
            due.append(lease)
        return due
