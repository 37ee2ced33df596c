"""SendQueue: what a worker has written on a slow line, and the kernel has not taken yet."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from inngest_connect.protocol import connect_pb2 as pb

from .invariants import InvariantViolated

if TYPE_CHECKING:
    from .network import Link
    from .simulation import Simulation

SLOWEST: Final = 1.5
"""Seconds until the kernel takes the next message, at most."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    data: bytes
    reply_to: str | None
    request_id: str
    """The request that it acknowledges, if any."""


class SendQueue:
    """Replies are written last. Until ``until`` the line is slow, or takes nothing at all."""

    def __init__(self, sim: "Simulation", link: "Link", until: float, stalled: bool) -> None:
        self._sim = sim
        self._link = link
        self._waiting: list[_Waiting] = []
        self._close_code: int | None = None
        self._ended = False
        if not stalled:
            self._pump_later()
        sim.counts.situation("a peer that never reads" if stalled else "a slow line")
        sim.later(until, self._recover)

    def put(self, data: bytes, reply_to: str | None, request_id: str) -> None:
        """Take a message of the worker."""
        if any(entry.request_id for entry in self._waiting):
            kind = pb.ConnectMessage.FromString(data).kind
            if kind == pb.WORKER_PAUSE:
                raise InvariantViolated("WORKER_PAUSE waits right behind an acknowledgement")
        self._waiting.append(_Waiting(data, reply_to, request_id))
        if len(self._waiting) == 10:
            self._sim.counts.situation("ten messages wait on a slow line")

    def withdraw(self, request_id: str) -> None:
        """Take a reply out that was not written."""
        left = [entry for entry in self._waiting if entry.reply_to != request_id]
        if len(left) < len(self._waiting):
            self._sim.counts.situation("a reply is withdrawn")
        self._waiting = left

    def close(self, code: int) -> None:
        """Write a close frame behind everything else."""
        self._close_code = code

    @property
    def waits(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def end(self) -> None:
        """The worker's end of the connection is gone: what waits is never written."""
        sim, self._ended = self._sim, True
        self._link.queue = None
        for entry in self._waiting:
            if entry.request_id:
                sim.counts.situation("an acknowledgement waits when its connection ends")
                failed = sim.taken(self._link.generation, entry.request_id, False)
                sim.worker_later(0.0, failed)

    def _pump_later(self) -> None:
        sim = self._sim
        sim.later(sim.now + SLOWEST * sim.draw.random(), self._pump)

    def _pump(self) -> None:
        if self._ended:
            return
        self._take()
        self._pump_later()

    def _recover(self) -> None:
        sim = self._sim
        if self._ended or self._link.refuses_writes:
            return
        if sim.now < sim.worker_frozen_until:
            sim.later(sim.worker_frozen_until, self._recover)
            return
        while self._waiting:
            self._take()
            if self._ended:
                return
        self._ended = True
        self._link.queue = None
        if self._close_code is not None:
            self._sim.network.transmit_close(self._link, self._close_code)

    def _take(self) -> None:
        sim, link = self._sim, self._link
        if not self._waiting or sim.now < sim.worker_frozen_until or link.refuses_writes:
            return
        first = next((e for e in self._waiting if e.reply_to is None), self._waiting[0])
        self._waiting.remove(first)
        link.moved = True
        sim.network.transmit(link, first.data)
        if first.request_id:
            sim.counts.situation("an acknowledgement is written late")
            sim.deliver(sim.taken(link.generation, first.request_id, True))
