"""Faults: what the entries of a schedule do to the world."""

from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from inngest_connect.core import inputs
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing.model.malformed import MALFORMED

from .network import Link
from .schedule import Entry

if TYPE_CHECKING:
    from .world import World

_K = pb.GatewayMessageType
_ACKNOWLEDGEMENTS: Final = frozenset({_K.WORKER_REPLY_ACK, _K.WORKER_REQUEST_EXTEND_LEASE_ACK})


class Faults:
    """One method for each kind of entry."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.dead: set[str] = set()
        """Gateways that do not listen any more."""
        self._gateways = 0

    def happen(self, entry: Entry) -> None:
        world = self.world
        if world.core.finished:
            return
        world.note("fault" if entry.kind != "request" else "executor", entry)
        getattr(self, f"_{entry.kind}")(entry)
        world.health.check()

    def _seconds(self, entry: Entry) -> float:
        """How long it lasts; nothing lasts into the quiet time."""
        return min(entry.amount, self.world.schedule.quiet_from - entry.at)

    def add_gateway(self) -> None:
        self.world.api.gateways.append(f"gateway-{self._gateways}")
        self._gateways += 1

    def _serving_gateway(self) -> str | None:
        """The gateway that serves the worker if the API names it, else the newest one."""
        named = self.world.api.gateways
        serving = [link.gateway for link in self._links() if link.gateway in named]
        candidates = serving or named
        return candidates[-1] if candidates else None

    def _links(self) -> list[Link]:
        return list(self.world.network.links.values())

    def is_acknowledgement(self, data: bytes) -> bool:
        """Whether this is one of the messages that can be lost, or come twice."""
        try:
            kind = pb.ConnectMessage.FromString(data).kind
        except DecodeError:
            return False
        return kind in _ACKNOWLEDGEMENTS

    # --- kinds of entries ----------------------------------------------------------------------

    def _request(self, entry: Entry) -> None:
        self.world.functions.dispatch(entry.amount, entry.detail == "async")

    def _drain(self, entry: Entry) -> None:
        """The serving gateway drains; another one is there at once or after a while."""
        world = self.world
        name = self._serving_gateway()
        if name is None:
            return
        world.api.gateways.remove(name)
        if entry.amount:
            world.later(world.now + self._seconds(entry), self.add_gateway)
        else:
            self.add_gateway()
        world.gateway_does(world.model.drain(name, world.now))

    def _kill_gateway(self, entry: Entry) -> None:
        world = self.world
        name = self._serving_gateway()
        if name is None:
            return
        world.api.gateways.remove(name)
        self.dead.add(name)
        self.add_gateway()
        for link in list(world.network.numbers.values()):
            if link.gateway == name:
                world.network.break_link(link)

    def _reset(self, entry: Entry) -> None:
        for link in self._links():
            self.world.network.break_link(link)

    def _black_hole(self, entry: Entry) -> None:
        for link in self._links():
            link.held_until = max(link.held_until, self.world.now + self._seconds(entry))

    def _half_open(self, entry: Entry) -> None:
        """The gateway's machine is gone without a word; nobody tells the worker."""
        for link in self._links():
            link.broken = True
            self.world.network.gateway_forgets(link)

    def _api(self, entry: Entry) -> None:
        api = self.world.api
        api.fault, api.fault_until = entry.detail, self.world.now + self._seconds(entry)

    def _freeze_worker(self, entry: Entry) -> None:
        until = self.world.now + self._seconds(entry)
        self.world.worker_frozen_until = max(self.world.worker_frozen_until, until)

    def _freeze_gateway(self, entry: Entry) -> None:
        until = self.world.now + self._seconds(entry)
        self.world.gateway_frozen_until = max(self.world.gateway_frozen_until, until)

    def _lose_acknowledgements(self, entry: Entry) -> None:
        until = self.world.now + self._seconds(entry)
        self.world.losing_until = max(self.world.losing_until, until)

    def _deliver_again(self, entry: Entry) -> None:
        world = self.world
        for request_id, request in list(world.model.requests.items()):
            for number in request.record.forwards[-1:]:
                if number in world.model.connections:
                    actions = world.model.forward_again(request_id, number, world.now)
                    world.gateway_does(actions)

    def _revoke_lease(self, entry: Entry) -> None:
        for request_id in list(self.world.model.requests)[:1]:
            self.world.model.executor.revoke(request_id)

    def _garbage(self, entry: Entry) -> None:
        for link in list(self.world.network.numbers.values()):
            for data in MALFORMED.values():
                self.world.network.send_down(link, data)

    def _close_code(self, entry: Entry) -> None:
        code, reason = entry.detail
        for link in list(self.world.network.numbers.values()):
            self.world.network.gateway_closes(link, code, reason)

    def _crash(self, entry: Entry) -> None:
        self.world.crash()

    def _close(self, entry: Entry) -> None:
        self.world.deliver(inputs.CloseRequested())

    def _abort(self, entry: Entry) -> None:
        self.world.deliver(inputs.AbortRequested("second signal"))
