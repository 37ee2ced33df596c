"""StackNetwork: the links of the core's simulation, with the real shells of the worker on them."""

import asyncio
import urllib.parse
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import picows

from inngest_connect.core import inputs
from inngest_connect.core.worker_core import WorkerCore
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.transport.tcp import DialProgress

from ..invariants import InvariantViolated
from ..network import Link, Network
from .websockets import Transport

if TYPE_CHECKING:
    from .stack import StackSimulation

_LARGE: Final = 1_000_000
_LONGEST_WAIT: Final = 5.0
"""Seconds; a line on which something waits for longer is slower than what is written on it."""
_SOON: Final = 1.0
"""Seconds until the core knows what the shells know."""


class Socket:
    """What ``tcp.connect`` returns: of a TCP connection only its end matters here."""

    def __init__(self, network: "StackNetwork") -> None:
        self._network = network
        self.generation = 0

    def shutdown(self, _: int) -> None:
        """The attempt was given up while picows may have the socket already."""
        self._network.shut_down(self.generation)


@dataclass(slots=True)
class _Upgrade:
    listener: picows.WSListener
    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[Transport]"


class StackNetwork(Network):
    """``connect`` and ``ws_connect`` take the place of ``tcp.connect`` and of picows's function."""

    def __init__(self, sim: "StackSimulation") -> None:
        super().__init__(sim)
        self._stack = sim
        self._upgrades: dict[int, _Upgrade] = {}
        self.transports: dict[int, Transport] = {}
        """By generation: those that the worker has not closed."""
        self._waiting_since: dict[int, float] = {}
        """By generation: since when something waits to be written whenever it is looked at."""
        self.acknowledged: set[str] = set()
        """Requests whose acknowledgement a kernel has taken whole."""

    # --- dialing ---------------------------------------------------------------------------------

    async def connect(self, host: str, port: int, progress: DialProgress) -> Socket:
        """Resolve and connect; raises OSError for a gateway that is gone."""
        progress.stage, progress.offline = f"waiting for the address of {host}", True
        stalled = self._stack.stack_faults.stalled_until - self._sim.now
        await asyncio.sleep(max(stalled, self.delay()))
        progress.stage, progress.offline = f"connecting to {host}:{port}", False
        if host in self._stack.faults.dead:
            raise ConnectionRefusedError(f"{host} refuses connections")
        return Socket(self)

    async def ws_connect(
        self, make_listener: Any, url: str, *, socket_factory: Any, **_: Any
    ) -> tuple[Transport, picows.WSListener]:
        """Raises what picows raises for a failed upgrade."""
        listener = make_listener()
        address = urllib.parse.urlsplit(url)
        socket = await socket_factory(SimpleNamespace(host=address.hostname, port=80))
        generation = socket.generation = listener._generation
        loop = asyncio.get_running_loop()
        upgrade = _Upgrade(listener, loop, loop.create_future())
        self._upgrades[generation] = upgrade
        self.dial(generation, str(address.hostname))
        return await upgrade.answer, listener

    def opened(self, generation: int) -> None:
        """The gateway has answered the upgrade with 101."""
        upgrade = self._upgrades.pop(generation)
        transport = Transport(self._stack, upgrade.loop, upgrade.listener, generation)
        self.transports[generation] = transport

        def open_it() -> None:
            upgrade.listener.on_ws_connected(transport)  # type: ignore[arg-type]
            if not upgrade.answer.done():
                upgrade.answer.set_result(transport)

        upgrade.loop.call_soon_threadsafe(open_it)

    def arrived(self, generation: int, data: bytes) -> None:
        """A message of the gateway is in the worker's kernel."""
        transport = self.transports.get(generation)
        if transport is None:
            return
        if self._sim.now >= self._stack.stack_faults.fragments_until:
            transport.receive(picows.WSMsgType.BINARY, data)
            return
        middle = self._sim.draw.randrange(len(data) + 1)
        transport.receive(picows.WSMsgType.BINARY, data[:middle], fin=False)
        transport.receive(picows.WSMsgType.PING, b"ping")
        transport.receive(picows.WSMsgType.CONTINUATION, data[middle:])

    def ended(self, closed: inputs.SocketClosed) -> None:
        """The gateway has refused the upgrade, or closed or reset the connection."""
        upgrade = self._upgrades.pop(closed.generation, None)
        if upgrade is not None:

            def fail() -> None:
                if not upgrade.answer.done():
                    upgrade.answer.set_exception(ConnectionResetError(str(closed.error)))

            upgrade.loop.call_soon_threadsafe(fail)
            return
        transport = self.transports.pop(closed.generation, None)
        if transport is not None:
            if closed.code != 1006:
                payload = closed.code.to_bytes(2) + closed.reason.encode()
                transport.receive(picows.WSMsgType.CLOSE, payload)
            transport.peer_ended()

    def shut_down(self, generation: int) -> None:
        """The worker's machine closes a connection that its program may still hold."""
        if generation in self.transports:
            self.transports[generation].peer_ended()
        elif self._upgrades.pop(generation, None) is not None:
            self.abort(generation)

    def lost(self, generation: int) -> None:
        """The worker's shells know that a connection has ended; its core has to know it soon."""
        stack = self._stack
        self._sim.later(stack.now + _SOON, self._is_known, stack.core, generation)

    def _is_known(self, core: WorkerCore, generation: int) -> None:
        stack = self._stack
        if stack.now < stack.worker_frozen_until + _SOON:
            stack.later(stack.worker_frozen_until + _SOON, self._is_known, core, generation)
        elif core is stack.core and core.connections.get(generation) is not None:
            stack.violated(f"connection {generation} has ended, and the core does not know it")

    def is_slow(self, link: Link) -> bool:
        """See ``Network.is_slow``."""
        transport = self.transports.get(link.generation)
        if transport is None or not transport.waits():
            self._waiting_since.pop(link.generation, None)
            return False
        since = self._waiting_since.setdefault(link.generation, self._sim.now)
        return self._sim.now - since > _LONGEST_WAIT

    # --- writing ---------------------------------------------------------------------------------

    def refuses(self, generation: int) -> bool:
        """Whether the worker's kernel knows that the connection has ended."""
        link = self.links.get(generation)
        return link is None or link.refuses_writes

    def take(self, transport: Transport, size: int, data: bytes | None, closes: bool) -> None:
        """The kernel takes ``size`` bytes; ``data`` is a frame that is complete with them."""
        link = self.links.get(transport.generation)
        if link is None:
            return
        if closes and data is not None:
            self.close(transport.generation, int.from_bytes(data[:2]))
        elif data is not None:
            message = pb.ConnectMessage.FromString(data)
            if message.kind == pb.WORKER_REQUEST_ACK:
                request_id = pb.WorkerRequestAckData.FromString(message.payload).request_id
                self.acknowledged.add(request_id)
            self.write(transport.generation, data)
        if self._stack.kernel_buffer >= _LARGE:
            transport.sent(size)
        else:
            at = max(link.up_at, self._sim.now + self.delay())
            self._sim.later(at, self._acknowledged, link, transport, size)

    def _acknowledged(self, link: Link, transport: Transport, size: int) -> None:
        # The peer's kernel takes nothing while its process does not read, to keep this simple.
        if link.broken:
            return
        until = max(self.stopped.until, link.held_until)
        if self._sim.now < until:
            self._sim.later(until, self._acknowledged, link, transport, size)
        else:
            transport.sent(size)

    def left(self, generation: int) -> None:
        """The worker has closed its end of the TCP connection."""
        self.transports.pop(generation, None)
        self.abort(generation)

    def abort_all(self) -> None:
        """The worker's process ends, and its sockets with it."""
        super().abort_all()
        self.transports.clear()
        self._waiting_since.clear()
        self._upgrades.clear()

    def nothing_waits(self) -> None:
        """No thread can go on: what may be written has been. Raises InvariantViolated."""
        for transport in self.transports.values():
            if transport.could_write():
                raise InvariantViolated(f"connection {transport.generation} could write, and waits")
