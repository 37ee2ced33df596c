"""MessageBuffer: replies that the server has not acknowledged yet.

A reply leaves in three ways only: by the gateway's WORKER_REPLY_ACK, by a flush that the API
accepted, or by an eviction, which ``add`` returns so that it is reported. One buffer per worker:
any connection of the environment may carry any reply.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# Fraction of the limit above which no further function is started.
HIGH_WATER: Final = 0.75


@dataclass(slots=True)
class BufferedReply:
    """One reply, its serialized SDKResponse, and the progress of its delivery."""

    request_id: str
    payload: bytes
    run_id: str | None = None
    function_slug: str | None = None
    sent_over: int | None = None
    """The generation of the socket that carried it last, None if none did."""
    uncommitted: bool = False
    """The journal has to have it first; until then it is not offered."""
    flushing: bool = False
    flush_failures: int = 0
    added_at: float = 0.0
    flush_key: int = 0
    """Index of the signing key that the flush under way uses."""


class MessageBuffer:
    """Bounded by ``max_bytes`` of payload; the oldest reply is evicted only when it must be."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._replies: OrderedDict[str, BufferedReply] = OrderedDict()
        self._carried: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._replies)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._replies

    def __iter__(self) -> Iterator[BufferedReply]:
        return iter(self._replies.values())

    def oldest_age(self, now: float) -> float | None:
        """Since when the oldest reply waits, None without one. For any thread."""
        # A copy, because the next entry of a table that is changed meanwhile cannot be read.
        for reply in tuple(self._replies.values()):
            return now - reply.added_at
        return None

    def get(self, request_id: str) -> BufferedReply | None:
        """The reply to a request, None when none waits."""
        return self._replies.get(request_id)

    def above_high_water(self) -> bool:
        """Whether the start of further functions has to wait for deliveries."""
        return self.size_bytes >= HIGH_WATER * self.max_bytes

    def add(self, reply: BufferedReply) -> list[BufferedReply]:
        """Keep a reply; the first one of a request wins. Returns the replies evicted for it."""
        # A request that came twice can have two replies. The server takes the first one it gets, so
        # two different ones must not be on their way at the same time.
        if reply.request_id in self._replies:
            return []
        self.keep(reply)
        evicted: list[BufferedReply] = []
        # The newest reply stays, even one that is larger than the buffer alone: it can be delivered
        # now, while the oldest has waited in vain for the longest time.
        while self.size_bytes > self.max_bytes and len(self._replies) > 1:
            oldest = next(iter(self._replies.values()))
            self.remove(oldest.request_id)
            evicted.append(oldest)
        return evicted

    def keep(self, reply: BufferedReply) -> None:
        """Keep a reply whatever the limit is, of a request that has none yet."""
        self._replies[reply.request_id] = reply
        self.size_bytes += len(reply.payload)

    def sent(self, reply: BufferedReply, generation: int) -> None:
        """The reply was written on this connection; only the last one counts."""
        if reply.sent_over is not None:
            self._not_carried(reply.sent_over)
        reply.sent_over = generation
        self._carried[generation] = self._carried.get(generation, 0) + 1

    def flush_began(self, reply: BufferedReply, key: int) -> None:
        """The reply is posted to the API, signed with ``key``."""
        reply.flushing = True
        reply.flush_key = key

    def flush_ended(self, reply: BufferedReply, *, failed: bool) -> None:
        """The API has answered, or cannot be reached."""
        reply.flushing = False
        reply.flush_failures += failed

    def carried_by(self, generation: int) -> int:
        """How many replies wait for an acknowledgement over this socket."""
        return self._carried.get(generation, 0)

    def remove(self, request_id: str) -> BufferedReply | None:
        """The server has stored the reply, or the caller gives it up and reports why.

        Returns it, or None when it was not waited for.
        """
        reply = self._replies.pop(request_id, None)
        if reply is not None:
            self.size_bytes -= len(reply.payload)
            if reply.sent_over is not None:
                self._not_carried(reply.sent_over)
        return reply

    def _not_carried(self, generation: int) -> None:
        left = self._carried.pop(generation) - 1
        if left:
            self._carried[generation] = left
