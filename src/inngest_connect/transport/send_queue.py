"""SendQueue: what waits to be written on one WebSocket, and what of it the kernel has taken.

Theory of operation. A message is *written* when the kernel has taken all of its bytes. That cannot
be asked afterwards, so the transport's own buffer is kept empty: ``send`` of a transport with an
empty buffer passes the bytes to the kernel immediately and buffers the rest. If the buffer is still
empty, the message is written. If not, the queue is *blocked*, and writes nothing until the
transport calls ``resume_writing``, which it does when its buffer is empty again. So

- of each message it is known whether it is still in this process, and whether the kernel has it;
- a heartbeat or a lease extension waits behind at most one message, and not behind every reply that
  was queued before it, because replies are written last;
- a reply that was meanwhile delivered by a flush can be withdrawn.

Why it matters: a request belongs to this worker only when its acknowledgement was written, and a
message that is dropped with a buffer was never sent. Written does not mean received: on a half-open
connection the kernel takes bytes that never arrive. The function then runs here and, because the
server repeats the request, perhaps elsewhere too; the first reply wins, and the heartbeats detect
that connection. Not written does not mean not received either: when a later write of the same flush
fails, an earlier message may have arrived. Its function does not run here, and the server repeats
the request when the lease expires. Neither loses the run.

Everything here runs on the event loop of the transport.
"""

import socket
import struct
from collections import OrderedDict, deque
from typing import Final

import picows

from ..core.requests.delivery import FIRST_BATCH_BYTES

LONGEST_QUEUE: Final = FIRST_BATCH_BYTES
"""Bytes that may wait, of replies and of everything else separately."""

_HAS_LINUX_TCP_INFO: Final = hasattr(socket, "TCP_CORK")
_TCP_INFO_COUNTERS: Final = struct.Struct("=QQIII")
_TCP_INFO_OFFSET: Final = 120
"""Linux ``struct tcp_info``: bytes acknowledged, bytes received, two counts, bytes not sent."""


class SendQueue:
    """Belongs to one open transport."""

    def __init__(self, transport: picows.WSTransport) -> None:
        self.transport = transport
        self.blocked = False
        """Whether the transport still holds a part of a message that the kernel did not take."""
        self.pong: bytes | None = None
        """The payload of the last ping; only that has to be answered (RFC 6455 section 5.5.3)."""
        underlying = transport.underlying_transport
        # resume_writing is called when the buffer is empty, not at a quarter of 64 kB.
        underlying.set_write_buffer_limits(high=0, low=0)
        self._buffered = underlying.get_write_buffer_size
        self._is_closing = underlying.is_closing
        self._socket = underlying.get_extra_info("socket")
        self._messages: deque[tuple[bytes, str | None]] = deque()
        self._replies: OrderedDict[str, bytes] = OrderedDict()
        self._message_bytes = 0
        self._reply_bytes = 0
        self._held: str | None = None
        """The acknowledgement that the transport's buffer holds a part of."""
        self._unwritten: list[str] = []
        self._given = 0
        self._seen = (0, 0, 0)
        self._was_waiting = False

    def put(self, data: bytes, acknowledges: str | None = None) -> bool:
        """Queue a message; False when so much waits already that the peer does not read."""
        if self._message_bytes > LONGEST_QUEUE:
            return False
        self._message_bytes += len(data)
        self._messages.append((data, acknowledges))
        return True

    def put_reply(self, data: bytes, request_id: str) -> bool:
        """Queue a message that every other may overtake; False when too much waits already."""
        if request_id in self._replies:
            return True  # the first reply of a request is its only one
        if self._reply_bytes and self._reply_bytes + len(data) > LONGEST_QUEUE:
            return False
        self._reply_bytes += len(data)
        self._replies[request_id] = data
        return True

    def withdraw_reply(self, request_id: str) -> None:
        """Do not write this reply, unless the transport has a part of it already."""
        self._reply_bytes -= len(self._replies.pop(request_id, b""))

    def flush(self) -> list[str]:
        """Write until nothing waits or the queue is blocked; returns what was acknowledged by it.

        Called once for all messages that one read or one hand-over led to.
        """
        messages, replies, transport = self._messages, self._replies, self.transport
        if not messages and not replies and self.pong is None:
            return []
        if self.blocked or transport.is_close_frame_sent or transport.is_disconnected:
            return []
        if self.pong is not None:
            transport.send_pong(self.pong)
            self.pong = None
            self.blocked = self._buffered() > 0
        written: list[str] = []
        # The kernel collects several messages into full packets, because a packet costs more than
        # the message in it. The cork is removed below, before this returns: it is never left to
        # the kernel, which would remove it after 200 ms only.
        corked = len(messages) + len(replies) > 1 and self._cork(True)
        while (messages or replies) and not self.blocked:
            if messages:
                data, acknowledges = messages.popleft()
                self._message_bytes -= len(data)
            else:
                acknowledges = None
                _, data = replies.popitem(last=False)
                self._reply_bytes -= len(data)
            transport.send(picows.WSMsgType.BINARY, data)
            self._given += len(data)
            if self._buffered():
                self.blocked = True
                self._held = acknowledges
            elif acknowledges is not None:
                written.append(acknowledges)
        if corked:
            self._cork(False)
        if self._is_closing():
            # A failed write empties the transport's buffer too, so an empty one proves nothing, and
            # which of the writes failed is not known: none counts. The transport reports its end in
            # a later turn of the loop, when ``drop`` returns them.
            self._unwritten += written
            return []
        return written

    def drained(self) -> str | None:
        """The transport's buffer is empty; returns the acknowledgement that was in it."""
        self.blocked = False
        held, self._held = self._held, None
        return held

    def drop(self) -> list[str]:
        """Forget what waits; returns the acknowledgements that were not written."""
        lost = self._unwritten + [request_id for _, request_id in self._messages if request_id]
        if self._held is not None:
            lost.append(self._held)
        self._messages.clear()
        self._replies.clear()
        self._held, self._unwritten = None, []
        return lost

    def progress(self, frames: int) -> bool | None:
        """Whether bytes moved since the last call; None when none waited and none came.

        Bytes that the kernel of a peer takes are a sign of life only while more wait behind them:
        a single heartbeat is taken by the kernel of a peer that hangs, too. Bytes that arrive are
        one while no frame is complete; ``frames`` is how many were complete so far.
        """
        # Bytes that the peer has taken, bytes that came from it, and bytes that wait. Without the
        # kernel's counters, only those that leave this process are known.
        unsent = self._buffered()
        taken, received = self._given - unsent, 0
        if _HAS_LINUX_TCP_INFO:
            try:
                info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
                counters = _TCP_INFO_COUNTERS.unpack_from(info, _TCP_INFO_OFFSET)
            except (OSError, struct.error):
                pass
            else:
                taken, received, unsent = counters[0], counters[1], unsent + counters[4]
        was_waiting, self._was_waiting = self._was_waiting, unsent > 0
        taken_before, received_before, frames_before = self._seen
        self._seen = (taken, received, frames)
        if was_waiting and taken != taken_before:
            return True
        if frames == frames_before and received != received_before:
            return True
        return False if was_waiting and unsent else None

    def _cork(self, corked: bool) -> bool:
        """Make the kernel hold packets back that are not full, or send them. Linux only."""
        option = getattr(socket, "TCP_CORK", None)
        if option is None:
            return False
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, option, corked)
        except OSError:
            return False
        return True
