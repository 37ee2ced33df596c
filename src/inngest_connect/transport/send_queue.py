"""SendQueue: what waits to be written on one WebSocket, and what of it the kernel has taken.

The transport's own buffer is kept empty: as soon as the kernel does not take a message whole, no
more is written until it has. So a heartbeat or an extension waits behind at most one message, not
behind every reply before it, and it is known of each message whether it is still in this process.
That matters for acknowledgements: a request belongs to this worker only when its acknowledgement
was handed to the kernel, and one that is dropped with a buffer was never given.
"""

import socket
import struct
from collections import OrderedDict, deque
from typing import Final

import picows

from ..core.requests.delivery import WRITTEN_AT_ONCE

LONGEST_QUEUE: Final = WRITTEN_AT_ONCE
"""Bytes that may wait, of replies and of everything else separately."""

_TCP_INFO_COUNTERS: Final = struct.Struct("=QQIII")
_TCP_INFO_OFFSET: Final = 120
"""Linux ``struct tcp_info``: bytes acknowledged, bytes received, two counts, bytes not sent."""


class SendQueue:
    """Belongs to one open transport and its event loop."""

    def __init__(self, transport: picows.WSTransport) -> None:
        self.blocked = False
        """Whether the transport still holds a part of a message that the kernel did not take."""
        self.pong: bytes | None = None
        """The payload of the last ping; only that has to be answered (RFC 6455 section 5.5.3)."""
        self._transport = transport
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
        self._unwritten: list[str] = []
        self._given = 0
        self._seen: tuple[int, int, int] = (0, 0, 0)
        self._was_waiting = False

    def put(self, data: bytes, acknowledges: str | None = None) -> bool:
        """Queue a message; False when so much waits already that the peer does not read."""
        if self._message_bytes > LONGEST_QUEUE:
            return False
        self._message_bytes += len(data)
        self._messages.append((data, acknowledges))
        return True

    def put_reply(self, data: bytes, request_id: str) -> bool:
        """Queue a message that everything else may overtake; False when there is no room."""
        if request_id in self._replies:
            return True  # the first reply of a request is its only one
        if self._reply_bytes and self._reply_bytes + len(data) > LONGEST_QUEUE:
            return False
        self._reply_bytes += len(data)
        self._replies[request_id] = data
        return True

    def withdraw_reply(self, request_id: str) -> None:
        """Write this reply no more, if it still waits."""
        self._reply_bytes -= len(self._replies.pop(request_id, b""))

    def flush(self) -> list[str]:
        """Write what the kernel takes; returns the acknowledgements that it has taken whole."""
        messages, replies, transport = self._messages, self._replies, self._transport
        if not messages and not replies and self.pong is None:
            return []
        if self.blocked or transport.is_close_frame_sent or transport.is_disconnected:
            return []
        if self.pong is not None:
            transport.send_pong(self.pong)
            self.pong = None
            self.blocked = self._buffered() > 0
        written: list[str] = []
        # One packet for all of them: each costs more than everything else about it.
        corked = len(messages) + len(replies) > 1 and _cork(self._socket, True)
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
            _cork(self._socket, False)
        if self._is_closing():
            # A failed write empties the transport's buffer: what was in it did not reach anybody.
            self._unwritten += written
            return []
        return written

    def drained(self) -> str | None:
        """The transport's buffer is empty again; returns the acknowledgement that was in it."""
        self.blocked = False
        held, self._held = self._held, None
        return held

    def drop(self) -> list[str]:
        """Forget what waits; returns the acknowledgements that the kernel has not taken."""
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
        one while no frame is complete; ``frames`` is how many there have been.
        """
        taken, received, unsent = self._counters()
        was_waiting, self._was_waiting = self._was_waiting, unsent > 0
        taken_before, received_before, frames_before = self._seen
        self._seen = (taken, received, frames)
        if was_waiting and taken != taken_before:
            return True
        if frames == frames_before and received != received_before:
            return True
        return False if was_waiting and unsent else None

    def _counters(self) -> tuple[int, int, int]:
        """Bytes that the peer has taken, bytes that came from it, and bytes that wait."""
        buffered = self._buffered()
        option = getattr(socket, "TCP_INFO", None)
        if option is not None and _HAS_LINUX_TCP_INFO:
            try:
                info = self._socket.getsockopt(socket.IPPROTO_TCP, option, 192)
                taken, received, _, _, unsent = _TCP_INFO_COUNTERS.unpack_from(
                    info, _TCP_INFO_OFFSET
                )
            except (OSError, struct.error):
                pass
            else:
                return taken, received, buffered + unsent
        return self._given - buffered, 0, buffered


_HAS_LINUX_TCP_INFO: Final = hasattr(socket, "TCP_CORK")


def _cork(connection: socket.socket, corked: bool) -> bool:
    """Whether the kernel holds packets back, or lets them go. Linux only."""
    option = getattr(socket, "TCP_CORK", None)
    if option is None:
        return False
    try:
        connection.setsockopt(socket.IPPROTO_TCP, option, corked)
    except OSError:
        return False
    return True
