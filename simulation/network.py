"""Network: the WebSockets between the worker and the model gateways, in virtual time.

Messages on one link arrive in order or not at all, as over TCP; only links overtake one another.
The two ends learn of the end of a link at different times, or never. ``links`` holds what the
worker still uses, ``numbers`` what a gateway still uses.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from inngest_connect.core import inputs

from .faults import is_acknowledgement
from .send_queue import SendQueue
from .short_lives import ShortLives
from .stopped_gateways import StoppedGateways

if TYPE_CHECKING:
    from .simulation import Simulation


@dataclass(slots=True, eq=False)
class Link:
    """One WebSocket between a worker's generation and a gateway. Times are virtual seconds."""

    generation: int
    number: int
    """The gateway model's number for it."""
    gateway: str
    accepted: bool = False
    """The gateway has seen it open."""
    broken: bool = False
    """Nothing passes any more, whether or not one of the ends has noticed."""
    delivers_rest: bool = False
    """Broken, but what was sent before still arrives: it is in the worker's own buffers."""
    refuses_writes: bool = False
    """Broken, and the worker's own end knows, although it has not reported it yet."""
    closed_by_worker: bool = False
    up_at: float = 0.0
    """When the last message to the gateway arrives; the next one not before."""
    down_at: float = 0.0
    """When the last message to the worker arrives; the next one not before."""
    held_until: float = 0.0
    """A black hole: what is sent arrives afterwards, if the link is still open then."""
    waiting_up: deque[Any] = field(default_factory=deque, repr=False)
    waiting_down: deque[Any] = field(default_factory=deque, repr=False)
    """What has arrived meanwhile, in its order: calls and their arguments."""
    unwritten: list[bytes] | None = None
    """What its gateway cannot write, because the line takes nothing; None while it takes all."""
    moved: bool = False
    """Bytes that waited were taken since the worker was told so last."""
    queue: SendQueue | None = None
    """What waits to be sent by the worker on a slow line; None on a fast one."""


class Network:
    """All links. Draws each delay from the simulation's random source."""

    def __init__(self, sim: "Simulation") -> None:
        self._sim = sim
        self._last_number = 0
        self.links: dict[int, Link] = {}
        """By generation: those whose end the worker has not noticed."""
        self.numbers: dict[int, Link] = {}
        """By the gateway model's number: those whose end the gateway has not noticed."""
        self.stopped = StoppedGateways(sim, self)
        self.losing_until = 0.0
        """Acknowledgements can be lost, or delivered twice, before."""
        self.short_lives = ShortLives(sim, self)
        self.slow_until = 0.0
        """Links are slow before; 0 if none ever was."""

    def is_slow(self, link: Link) -> bool:
        """Whether what the worker writes waits for longer than any lease can be sure of."""
        return link.queue is not None

    def delay(self) -> float:
        """Seconds that one message takes."""
        return self._sim.schedule.delay * self._sim.draw.random()

    def open_sockets(self) -> int:
        """How many sockets the worker has open."""
        opened = 0
        for link in self.links.values():  # asked after every step, where a generator costs more
            opened += link.accepted
        return opened

    # --- what the worker does ------------------------------------------------------------------

    def dial(self, generation: int, gateway: str) -> None:
        """Begin to open a WebSocket; the worker receives SocketOpened or SocketClosed."""
        self._last_number += 1
        link = Link(generation, self._last_number, gateway)
        self.links[generation] = link
        self._sim.later(self._sim.now + self.delay(), self._accept, link)

    def _accept(self, link: Link) -> None:
        sim = self._sim
        if self.links.get(link.generation) is not link:
            return
        if sim.now < self.stopped.until:
            sim.later(self.stopped.until, self._accept, link)
            return
        if link.gateway in sim.faults.dead:
            del self.links[link.generation]
            sim.deliver(inputs.SocketClosed(link.generation, 1006, "", "connection refused"))
            return
        link.accepted = True
        self.numbers[link.number] = link
        sim.deliver(inputs.SocketOpened(link.generation))
        if link.number in self.numbers:
            sim.gateway_does(sim.model.opened(link.number, link.gateway, sim.now))

    def write(
        self, generation: int, data: bytes, reply_to: str | None = None, request_id: str = ""
    ) -> bool | None:
        """Return whether the worker's own end of the socket takes it: all that a worker learns.

        None when it waits in the queue of a slow line, which will report the acknowledgement of
        ``request_id``.
        """
        link = self.links.get(generation)
        if link is None or not link.accepted or link.closed_by_worker or link.refuses_writes:
            return False
        if link.queue is not None:
            link.queue.put(data, reply_to, request_id)
            return None
        self.transmit(link, data)
        return True

    def transmit(self, link: Link, data: bytes) -> None:
        """The kernel has taken a message of the worker."""
        link.up_at = max(link.up_at, self._sim.now + self.delay())
        self._sim.later(link.up_at, self._gateway_receives, link, data)

    def close(self, generation: int, code: int) -> None:
        """Send a close frame. The gateway answers it, which ends the socket."""
        link = self.links.get(generation)
        if link is None or link.closed_by_worker:
            return
        link.closed_by_worker = True
        if link.queue is not None:
            link.queue.close(code)
        elif not link.broken:
            self.transmit_close(link, code)

    def transmit_close(self, link: Link, code: int) -> None:
        """The kernel has taken the worker's close frame."""
        if not link.broken:
            link.up_at = max(link.up_at, self._sim.now + self.delay())
            self._sim.later(link.up_at, self._gateway_answers_close, link, code)

    def abort(self, generation: int) -> Link | None:
        """Forget the worker's end without a close frame; returns the link."""
        link = self.links.pop(generation, None)
        if link is not None:
            if link.queue is not None:
                link.queue.end()
            self._gateway_loses(link)
        return link

    def abort_all(self) -> None:
        """The worker's process ends, and its sockets with it."""
        for generation in list(self.links):
            self.abort(generation)

    # --- in their order ------------------------------------------------------------------------

    def _waits(
        self, link: Link, queue: deque[Any], action: Callable[..., None], *arguments: Any
    ) -> bool:
        """Whether what arrives has to wait; ``action`` is called later then."""
        until = self._held_until(link, queue)
        if self._sim.now >= until and not queue:
            return False
        queue.append((action, arguments))
        if len(queue) == 1:
            self._sim.later(until, self._release, link, queue)
        return True

    def _release(self, link: Link, queue: deque[Any]) -> None:
        until = self._held_until(link, queue)
        if self._sim.now < until:
            self._sim.later(until, self._release, link, queue)
            return
        waiting = list(queue)
        queue.clear()
        for action, arguments in waiting:
            action(*arguments)

    def _held_until(self, link: Link, queue: deque[Any]) -> float:
        to_gateway = queue is link.waiting_up
        return max(self.stopped.until if to_gateway else 0.0, link.held_until)

    # --- what a gateway does -------------------------------------------------------------------

    def _gateway_receives(self, link: Link, data: bytes) -> None:
        sim = self._sim
        if link.broken or link.number not in self.numbers:
            return
        if self._waits(link, link.waiting_up, self._gateway_receives, link, data):
            return
        if sim.now < self.short_lives.until and self.short_lives.refuses(link):
            return
        sim.gateway_does(sim.model.received(link.number, data, sim.now))
        if sim.now < self.short_lives.until:
            self.short_lives.handled(link)

    def _gateway_answers_close(self, link: Link, code: int) -> None:
        if link.broken or link.number not in self.numbers:
            return
        if self._waits(link, link.waiting_up, self._gateway_answers_close, link, code):
            return
        self.gateway_forgets(link)
        self._sim.later(self._sim.now + self.delay(), self._end, link, code, "")

    def send_down(self, link: Link, data: bytes) -> None:
        """Send a message of a gateway; acknowledgements are lost or doubled during that fault."""
        sim = self._sim
        if link.broken:
            return
        if link.unwritten is not None:
            link.unwritten.append(data)
            return
        if sim.now < self.losing_until and is_acknowledgement(data):
            chance = sim.draw.random()
            if chance < 0.6:
                return
            if chance < 0.8:
                sim.later(sim.now + self.delay(), self._worker_receives, link, data)
        self._travels_down(link, self._worker_receives, data)

    def _travels_down(self, link: Link, arrives: Callable[..., None], *what: Any) -> None:
        # A gateway whose process is stopped writes when it goes on.
        written_at = max(self._sim.now, self.stopped.until)
        link.down_at = max(link.down_at, written_at + self.delay())
        self._sim.later(link.down_at, arrives, link, *what)

    def gateway_closes(self, link: Link, code: int, reason: str) -> None:
        """Close the gateway's end; what it has sent before still arrives."""
        self.gateway_forgets(link)
        if link.unwritten is not None:
            code, reason = 1006, ""  # the close frame waits behind the rest, and is lost with it
        if not link.broken:
            self._travels_down(link, self._end, code, reason)

    def gateway_forgets(self, link: Link) -> None:
        """The gateway notices that the connection has ended."""
        if self.numbers.pop(link.number, None) is not None:
            self._sim.gateway_does(self._sim.model.closed(link.number, self._sim.now))

    # --- what reaches the worker ---------------------------------------------------------------

    def _worker_receives(self, link: Link, data: bytes) -> None:
        lost = link.broken and not link.delivers_rest
        if lost or self.links.get(link.generation) is not link:
            return
        if self._waits(link, link.waiting_down, self._worker_receives, link, data):
            return
        self._sim.deliver(inputs.MessageReceived(link.generation, data))

    def _end(self, link: Link, code: int, reason: str) -> None:
        sim = self._sim
        if self.links.get(link.generation) is not link:
            return
        if sim.now < sim.worker_frozen_until:
            sim.later(sim.worker_frozen_until, self._end, link, code, reason)
            return
        if not link.broken and self._waits(link, link.waiting_down, self._end, link, code, reason):
            return
        del self.links[link.generation]
        if link.queue is not None:
            link.queue.end()
        error = "connection reset" if code == 1006 else None
        sim.deliver(inputs.SocketClosed(link.generation, code, reason, error))

    # --- faults --------------------------------------------------------------------------------

    def break_link(self, link: Link) -> None:
        """Reset the connection. Each end notices later; what is on the way is lost."""
        link.broken = True
        link.delivers_rest = self._sim.draw.random() < 0.5
        link.refuses_writes = self._sim.draw.random() < 0.5
        self._sim.later(self._sim.now + self.delay(), self._end, link, 1006, "")
        self._gateway_loses(link)

    def hold(self, until: float) -> None:
        """A black hole swallows what is sent; it arrives at ``until`` if the link is still open.

        In its order: what was on the way when the hole began comes before what was sent into it.
        """
        for link in self.links.values():
            link.held_until = max(link.held_until, until)

    def half_open(self) -> None:
        """The machines of all gateways disappear, and no packet reports it to the worker."""
        for link in list(self.links.values()):
            link.broken = True
            self.gateway_forgets(link)

    def refuse_handshakes(self, until: float, end: tuple[int, str] | str | None) -> None:
        """See ``ShortLives.refuse``."""
        self.short_lives.refuse(until, end)

    def end_young(self, until: float, how: str) -> None:
        """See ``ShortLives.end_young``."""
        self.short_lives.end_young(until, how)

    def slow_down(self, until: float, stalled: bool) -> None:
        """What the worker writes on its connections waits; with ``stalled`` nobody reads it."""
        self.slow_until = max(self.slow_until, until)
        for link in self.links.values():
            if link.accepted and not link.broken and link.queue is None:
                link.queue = SendQueue(self._sim, link, self.slow_until, stalled)

    def observe_lines(self) -> None:
        """Tell the worker what moved on its lines, as it is told before each Tick."""
        for link in list(self.links.values()):
            if link.accepted:
                waits = link.queue is not None and link.queue.waits
                moved, link.moved = link.moved, False
                observed = True if moved else (False if waits else None)
                self._sim.deliver(inputs.LineObserved(link.generation, observed))

    def withdraw(self, generation: int, request_id: str) -> None:
        """Take a reply out of a queue."""
        link = self.links.get(generation)
        if link is not None and link.queue is not None:
            link.queue.withdraw(request_id)

    def lose_acknowledgements(self, until: float) -> None:
        """Lose or double acknowledgements of replies and extensions."""
        self.losing_until = max(self.losing_until, until)

    def _gateway_loses(self, link: Link) -> None:
        # The worker's end is closed. The gateway notices, except on a half-open link.
        if not link.broken or link.number in self.numbers:
            self._sim.later(self._sim.now + self.delay(), self.gateway_forgets, link)
