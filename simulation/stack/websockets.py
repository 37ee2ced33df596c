"""WebSockets with the semantics of picows on asyncio, over the links of the simulated network.

What arrives before the loop's next turn is one read: as many calls of ``on_ws_frame``. A write goes
to the kernel as far as it has room; the rest waits in the transport until the kernel has sent some.
A write that fails is silent: the end of the connection is reported in a later turn.
"""

import asyncio
import struct
import weakref
from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import picows
from multidict import CIMultiDict

if TYPE_CHECKING:
    from .stack import StackSimulation

_OVERHEAD: Final = 8
"""Bytes of a frame beside its payload."""


class Frame(NamedTuple):
    """The part of ``picows.WSFrame`` that this package reads."""

    msg_type: Any
    payload: bytes
    last_in_buffer: bool
    fin: bool = True
    rsv1: bool = False
    rsv2: bool = False
    rsv3: bool = False

    @property
    def payload_size(self) -> int:
        """Bytes of the payload."""
        return len(self.payload)

    def get_payload_as_bytes(self) -> bytes:
        """The payload."""
        return self.payload


class Transport:
    """``picows.WSTransport`` and the asyncio transport below it. Sizes are bytes."""

    def __init__(
        self,
        sim: "StackSimulation",
        loop: asyncio.AbstractEventLoop,
        listener: picows.WSListener,
        generation: int,
    ) -> None:
        self._sim = sim
        self._loop = loop
        self._listener: Any = listener
        self.generation = generation
        self.response: Any = SimpleNamespace(headers=CIMultiDict[str](), status=101)
        self.underlying_transport = self
        self.is_close_frame_sent = False
        self.is_disconnected = False
        self.close_handshake: Any = SimpleNamespace(sent=None, received=None)
        self.kernel_room = sim.kernel_buffer
        self._closing = False
        """As in asyncio: it was closed, aborted, or a write has failed."""
        self._lost_already = False
        self._waits: deque[tuple[bytes, bool]] = deque()
        """Payloads that the kernel has not taken whole, and whether each is the close frame."""
        self._waiting_bytes = 0
        self._inbound: deque[tuple[Any, bytes, bool]] = deque()
        self._reading = False
        self._peer_ended = False
        self._sent_bytes = 0
        self._received_bytes = 0
        self._disconnected: asyncio.Future[None] = loop.create_future()

    # --- called by the worker --------------------------------------------------------------------

    def send(self, kind: Any, data: bytes) -> None:
        """Write a frame. A failure is silent."""
        if self.is_disconnected or self.is_close_frame_sent or self._closing:
            return
        self._write(bytes(data), closes=False)

    def send_pong(self, payload: bytes) -> None:
        """Nothing reads pongs."""

    def send_close(self, code: Any, reason: bytes = b"") -> None:
        """Write a close frame; nothing can be sent after it."""
        if self.is_disconnected or self.is_close_frame_sent or self._closing:
            return
        if self.could_write() and int(code) == 1000:
            self._sim.violated("a close frame is written before what waits")
        self.is_close_frame_sent = True
        self.close_handshake.sent = SimpleNamespace(code=code, reason=reason.decode())
        self._write(int(code).to_bytes(2) + reason, closes=True)

    def disconnect(self, graceful: bool = True) -> None:
        """Close the TCP connection: when all is written, or immediately."""
        if graceful and self._waits and not self._lost_already:
            self._closing = True  # ``_writable`` goes on
        else:
            self._lose()

    async def wait_disconnected(self) -> None:
        """Return when the connection has ended."""
        await asyncio.shield(self._disconnected)

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        """The simulated transport knows no other limits than these."""
        assert (high, low) == (0, 0)

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel has not taken."""
        return self._waiting_bytes

    def is_closing(self) -> bool:
        """Whether the transport has ended, or a write has failed."""
        return self._closing

    def get_extra_info(self, name: str) -> Any:
        """The socket, which is this object too."""
        assert name == "socket"
        return weakref.proxy(self)  # kept for as long as the listener exists, which this refers to

    def setsockopt(self, *_: object) -> None:
        """Corking changes nothing that a peer sees."""

    def getsockopt(self, *_: object) -> bytes:
        """``TCP_INFO``: bytes acknowledged, bytes received, two counts, bytes not sent."""
        unsent = self._sim.kernel_buffer - self.kernel_room
        counters = struct.pack("=QQIII", self._sent_bytes, self._received_bytes, 0, 0, unsent)
        return bytes(120) + counters

    def fileno(self) -> int:
        """No descriptor."""
        return -1

    # --- writing ---------------------------------------------------------------------------------

    def _write(self, data: bytes, *, closes: bool) -> None:
        if self._sim.stack_network.refuses(self.generation):
            # The kernel knows that the connection is reset: the transport drops everything.
            self._lose()
            return
        self._waits.append((data, closes))
        self._waiting_bytes += len(data) + _OVERHEAD
        if len(self._waits) == 1:
            self._push()
            if self._waits:
                self._listener.pause_writing()

    def _push(self) -> None:
        """Give the kernel what it has room for; a frame travels with its last byte."""
        while self._waits and self.kernel_room > 0:
            data, closes = self._waits[0]
            later = sum(len(rest) + _OVERHEAD for rest, _ in list(self._waits)[1:])
            left = self._waiting_bytes - later
            taken = min(left, self.kernel_room)
            self.kernel_room -= taken
            self._waiting_bytes -= taken
            whole = taken == left
            if whole:
                self._waits.popleft()
            self._sim.stack_network.take(self, taken, data if whole else None, closes)

    def sent(self, size: int) -> None:
        """The peer has taken ``size`` bytes out of the kernel's buffer."""
        self.kernel_room += size
        self._sent_bytes += size
        if self._waits:
            self._soon(self._writable)

    def _writable(self) -> None:
        if not self._waits:
            return
        if self._sim.stack_network.refuses(self.generation):
            self._lose()
            return
        self._push()
        if self._waits:
            return
        if self._closing:
            self._lose()
        else:
            self._listener.resume_writing()

    def waits(self) -> bool:
        """Whether anything of the worker has not reached the kernel."""
        queue = self._listener._queue
        queued = queue is not None and (queue._messages or queue._replies)
        return bool(queued or self._waits)

    def could_write(self) -> bool:
        """Whether the worker has something to write, and this transport takes it."""
        queue = self._listener._queue
        if queue is None or queue.blocked or self._closing or self.is_close_frame_sent:
            return False
        return bool(queue._messages or queue._replies) and not self._listener._ended

    # --- reading ---------------------------------------------------------------------------------

    def receive(self, kind: Any, payload: bytes, *, fin: bool = True) -> None:
        """A frame of the peer has arrived in the kernel."""
        if self._closing:
            return  # nothing is read any more
        self._inbound.append((kind, payload, fin))
        self._received_bytes += len(payload) + _OVERHEAD
        self._wake_reader()

    def peer_ended(self) -> None:
        """The peer has closed or reset the TCP connection."""
        self._peer_ended = True
        self._wake_reader()

    def _wake_reader(self) -> None:
        if not self._reading:
            self._reading = True
            self._soon(self._read)

    def _read(self) -> None:
        self._reading = False
        if self.is_disconnected:
            return
        frames, self._inbound = self._inbound, deque()
        while frames:
            # Also after a disconnect: picows delivers what it has read.
            kind, payload, fin = frames.popleft()
            self._listener.on_ws_frame(self, Frame(kind, payload, not frames, fin))
        if self._peer_ended:
            self._lose()

    # --- the end ---------------------------------------------------------------------------------

    def _lose(self) -> None:
        if self._lost_already:
            return
        self._closing = self._lost_already = True
        self._waits.clear()
        self._waiting_bytes = 0
        self._sim.stack_network.left(self.generation)
        self._soon(self._lost)

    def _lost(self) -> None:
        self.is_disconnected = True
        self._listener.on_ws_disconnected(self)
        self._sim.stack_network.lost(self.generation)
        if not self._disconnected.done():
            self._disconnected.set_result(None)

    def _soon(self, callback: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)
