"""AnsweredRequests: requests whose reply the server has stored, and that reply.

The gateway forwards a request again when it has not seen the acknowledgement: the same request id,
on any connection. Such a repetition is answered from here and never executed again.
"""

from collections import OrderedDict
from typing import Final

# Seconds for which an answered request is remembered. The gateway waits 125 s for an
# acknowledgement before it forwards again, and its own call is limited to 130 s.
REPEAT_WINDOW: Final = 150.0

# For ids: about 200,000, which is 1,400 requests a second during the whole window.
IDS_BYTES: Final = 64 * 1024 * 1024

REPLIES_BYTES: Final = 16 * 1024 * 1024

# What one remembered id costs beside its text: strings, tuples and links of the interpreter.
ENTRY_BYTES: Final = 300


class AnsweredRequests:
    """Bounded by time and by bytes. Times are monotonic seconds, oldest entries first.

    A process that was stopped reads afterwards what came meanwhile, and that may be a repetition
    from within the window. So a window ends when a turn on time shows that all of it was read.

    ``forgotten`` counts the ids that were given up before their window had passed.
    """

    def __init__(self, ids_bytes: int = IDS_BYTES, replies_bytes: int = REPLIES_BYTES) -> None:
        self.forgotten = 0
        self._ids_limit = ids_bytes
        self._replies_limit = replies_bytes
        self._ids: OrderedDict[str, float] = OrderedDict()
        self._ids_bytes = 0
        self._oldest_at = 0.0
        """No request was answered before. It may be too early: that costs one look."""
        self._read_until = 0.0
        """What has come before this was read."""
        self._replies: OrderedDict[str, bytes] = OrderedDict()
        self._replies_bytes = 0

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def reply(self, request_id: str) -> bytes | None:
        """The reply, as long as it is kept."""
        return self._replies.get(request_id)

    def turned_on_time(self, now: float) -> None:
        """The process was not stopped before ``now``."""
        self._read_until = now

    def remember(self, request_id: str, reply: bytes, now: float) -> int:
        """Start the window of a request, again if it is known.

        Returns how many younger requests had to be forgotten for it.
        """
        # Entries are in order of time, so one that is renewed moves to the end.
        if request_id in self._ids:
            self._forget(request_id)
        self._ids[request_id] = now
        self._ids_bytes += len(request_id) + ENTRY_BYTES
        self._replies[request_id] = reply
        self._replies_bytes += len(reply)
        while self._replies_bytes > self._replies_limit and len(self._replies) > 1:
            # The id stays: without its reply a repetition is refused, not executed.
            _, dropped = self._replies.popitem(last=False)
            self._replies_bytes -= len(dropped)
        # The first condition is cheap and may be true too early, because ``_oldest_at`` is not
        # moved when its entry is forgotten: then the loop looks once and stops.
        early = 0
        while (
            self._read_until - self._oldest_at > REPEAT_WINDOW or self._ids_bytes > self._ids_limit
        ):
            oldest, self._oldest_at = next(iter(self._ids.items()))
            expired = self._read_until - self._oldest_at > REPEAT_WINDOW
            if oldest == request_id or (not expired and self._ids_bytes <= self._ids_limit):
                break
            self._forget(oldest)
            early += not expired
        self.forgotten += early
        return early

    def _forget(self, request_id: str) -> None:
        del self._ids[request_id]
        self._ids_bytes -= len(request_id) + ENTRY_BYTES
        self._replies_bytes -= len(self._replies.pop(request_id, b""))
