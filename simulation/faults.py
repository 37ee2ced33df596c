"""Faults: what each entry of a schedule does to the world."""

from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from inngest_connect.core import inputs
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing.model.malformed import MALFORMED

from .schedule import Entry

if TYPE_CHECKING:
    from .world import World

_CAN_BE_LOST: Final = frozenset({pb.WORKER_REPLY_ACK, pb.WORKER_REQUEST_EXTEND_LEASE_ACK})


def is_acknowledgement(data: bytes) -> bool:
    """Return whether this is one of the messages that can be lost, or delivered twice."""
    try:
        return pb.ConnectMessage.FromString(data).kind in _CAN_BE_LOST
    except DecodeError:
        return False


class Faults:
    """Carries out entries, and starts and stops gateways."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.dead: set[str] = set()
        """Gateways that do not listen any more."""
        self._gateways = 0

    def happen(self, entry: Entry) -> None:
        """Carry out one entry, unless the worker has ended before."""
        world = self._world
        if world.core.finished:
            return
        world.note("fault" if entry.kind != "request" else "executor", entry)
        # Nothing lasts into the quiet part of the schedule.
        until = world.now + min(entry.amount, world.schedule.quiet_from - entry.at)
        match entry.kind:
            case "request":
                world.functions.dispatch(entry.amount, entry.detail == "async")
            case "drain":
                self._drain(until)
            case "kill_gateway":
                self._kill_gateway()
            case "reset":
                for link in list(world.network.links.values()):
                    world.network.break_link(link)
            case "black_hole":
                world.network.hold(until)
            case "half_open":
                world.network.half_open()
            case "api":
                world.api.fail(entry.detail, until)
            case "freeze_worker":
                world.freeze_worker(until)
            case "freeze_gateway":
                world.network.freeze_gateway(until)
            case "lose_acknowledgements":
                world.network.lose_acknowledgements(until)
            case "deliver_again":
                self._deliver_again()
            case "revoke_lease":
                for request_id in list(world.model.requests)[:1]:
                    world.model.executor.revoke(request_id)
            case "garbage":
                for link in list(world.network.numbers.values()):
                    for data in MALFORMED.values():
                        world.network.send_down(link, data)
            case "close_code":
                for link in list(world.network.numbers.values()):
                    world.network.gateway_closes(link, *entry.detail)
            case "crash":
                world.crash()
            case "close":
                world.deliver(inputs.CloseRequested())
            case "abort":
                world.deliver(inputs.AbortRequested("second signal"))
            case _:
                raise ValueError(f"unknown kind of entry: {entry}")
        world.health.check()

    def add_gateway(self) -> None:
        """Start another gateway, which the API names from now on."""
        self._world.api.gateways.append(f"gateway-{self._gateways}")
        self._gateways += 1

    def _take_away_gateway(self) -> str | None:
        # The gateway that serves the worker if the API names it, else the newest one.
        named = self._world.api.gateways
        links = self._world.network.links.values()
        candidates = [link.gateway for link in links if link.gateway in named] or named
        if not candidates:
            return None
        name = candidates[-1]
        named.remove(name)
        return name

    def _drain(self, replaced_at: float) -> None:
        world = self._world
        name = self._take_away_gateway()
        if name is None:
            return
        if replaced_at > world.now:
            world.later(replaced_at, self.add_gateway)
        else:
            self.add_gateway()
        world.gateway_does(world.model.drain(name, world.now))

    def _kill_gateway(self) -> None:
        name = self._take_away_gateway()
        if name is None:
            return
        self.dead.add(name)
        self.add_gateway()
        for link in list(self._world.network.numbers.values()):
            if link.gateway == name:
                self._world.network.break_link(link)

    def _deliver_again(self) -> None:
        world = self._world
        for request_id, request in list(world.model.requests.items()):
            for number in request.record.forwards[-1:]:
                if number in world.model.connections:
                    actions = world.model.forward_again(request_id, number, world.now)
                    world.gateway_does(actions)
