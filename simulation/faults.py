"""Faults: what each entry of a schedule does to the simulation."""

from typing import TYPE_CHECKING, Final

from inngest_connect.core import inputs
from inngest_connect.core.wire.messages import envelope
from inngest_connect.protocol import DECODE_ERRORS
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing.model.malformed import MALFORMED

from .entry import Entry

if TYPE_CHECKING:
    from .simulation import Simulation

_CAN_BE_LOST: Final = frozenset({pb.WORKER_REPLY_ACK, pb.WORKER_REQUEST_EXTEND_LEASE_ACK})


def is_acknowledgement(data: bytes) -> bool:
    """Return whether this is one of the messages that can be lost, or delivered twice."""
    try:
        return pb.ConnectMessage.FromString(data).kind in _CAN_BE_LOST
    except DECODE_ERRORS:
        return False


class Faults:
    """Carries out entries, and starts and stops gateways."""

    def __init__(self, sim: "Simulation") -> None:
        self._sim = sim
        self.dead: set[str] = set()
        """Gateways that do not listen any more."""
        self.stores_from = float("-inf")
        """The server can store nothing before."""
        self._gateways = 0

    def happen(self, entry: Entry) -> None:
        """Carry out one entry, unless the worker has ended before."""
        sim = self._sim
        if sim.core.finished:
            return
        sim.note("fault" if entry.kind != "request" else "executor", entry)
        if entry.kind != "request":
            sim.counts.situation(entry.kind.replace("_", " "))
        # Nothing lasts into the quiet part of the schedule.
        until = sim.now + min(entry.amount, sim.schedule.quiet_from - entry.at)
        match entry.kind:
            case "request":
                sim.functions.request(entry.amount, entry.detail)
            case "drain":
                self.drain(until)
            case "kill_gateway":
                self._kill_gateway()
            case "reset":
                for link in list(sim.network.links.values()):
                    sim.network.break_link(link)
            case "black_hole":
                sim.network.hold(until)
            case "half_open":
                sim.network.half_open()
            case "api":
                sim.api.fail(entry.detail, until)
            case "start_api":
                sim.api.fail(entry.detail, until, "start")
            case "flush_api":
                sim.api.fail(entry.detail, until, "flush")
            case "keys":
                sim.api.accept_keys(entry.detail, until)
            case "stale_advice":
                sim.api.stale_until = until
            case "refuse_handshakes":
                sim.network.refuse_handshakes(until, entry.detail)
            case "die_young":
                sim.network.end_young(until, entry.detail)
            case "slow_line":
                sim.network.slow_down(until, entry.detail)
            case "sleep":
                sim.sleep(until)
            case "pause_application":
                sim.functions.pause(until)
            case "freeze_worker":
                sim.freeze_worker(until)
            case "freeze_gateway":
                sim.network.stopped.stop(until)
            case "lose_acknowledgements":
                sim.network.lose_acknowledgements(until)
            case "deliver_again":
                self._deliver_again()
            case "deliver_answered_again":
                self._deliver_answered_again(entry.amount)
            case "revoke_lease":
                for request_id in list(sim.model.requests)[:1]:
                    sim.model.executor.revoke(request_id)
            case "garbage":
                for link in list(sim.network.numbers.values()):
                    for data in MALFORMED.values():
                        sim.network.send_down(link, data)
            case "close_code":
                for link in list(sim.network.numbers.values()):
                    sim.network.gateway_closes(link, *entry.detail)
            case "block_gateway":
                sim.network.stopped.block_writes(until)
            case "fail_store":
                self.stores_from = max(self.stores_from, until)
                sim.model.fail_store(self.stores_from)
            case "second_worker":
                sim.second_worker.start(until, *entry.detail)
            case "crash":
                sim.crash()
            case "stall_journal":
                sim.journal.stall(until)
            case "close":
                sim.deliver(inputs.CloseRequested())
            case "abort":
                sim.deliver(inputs.AbortRequested("second signal"))
            case _:
                raise ValueError(f"unknown kind of entry: {entry}")
        sim.health.check()

    def add_gateway(self) -> None:
        """Start another gateway, which the API names from now on."""
        sim, name = self._sim, f"gateway-{self._gateways}"
        odd = sim.schedule.odd_gateways
        if odd is not None and self._gateways % 2:
            sim.model.settings_of[name] = odd
        sim.api.gateways.append(name)
        self._gateways += 1

    def _take_away_gateway(self) -> str | None:
        # The gateway that serves the worker if the API names it, else the newest one.
        named = self._sim.api.gateways
        links = self._sim.network.links.values()
        candidates = [link.gateway for link in links if link.gateway in named] or named
        if not candidates:
            return None
        name = candidates[-1]
        named.remove(name)
        self._sim.api.former.append(name)
        return name

    def drain(self, replaced_at: float) -> None:
        """Drain the serving gateway, and start another one at ``replaced_at``."""
        sim = self._sim
        name = self._take_away_gateway()
        if name is None:
            return
        if sim.core.machine.is_shutting_down() and sim.core.connections.current is not None:
            sim.counts.situation("a drain during a shutdown")
        if replaced_at > sim.now:
            sim.later(replaced_at, self.add_gateway)
        else:
            self.add_gateway()
        sim.gateway_does(sim.model.drain(name, sim.now))

    def _kill_gateway(self) -> None:
        name = self._take_away_gateway()
        if name is None:
            return
        self.dead.add(name)
        self.add_gateway()
        for link in list(self._sim.network.numbers.values()):
            if link.gateway == name:
                self._sim.network.break_link(link)
        self._sim.second_worker.gateway_died(name)

    def _deliver_again(self) -> None:
        sim = self._sim
        for request_id, request in list(sim.model.requests.items()):
            for number in request.record.forwards[-1:]:
                if number in sim.model.connections:
                    actions = sim.model.forward_again(request_id, number, sim.now)
                    sim.gateway_does(actions)

    def _deliver_answered_again(self, window: float) -> None:
        sim = self._sim
        current = sim.core.connections.current
        link = sim.network.links.get(current.number) if current is not None else None
        for record in list(sim.model.ledger.records.values()):
            answered_at = record.answered_at
            if link is None or answered_at is None or answered_at < sim.now - window:
                continue
            answered = sim.core.delivery.answered
            if record.request_id in answered:
                kept = "is kept" if answered.reply(record.request_id) is not None else "is not kept"
                sim.counts.situation(f"a request comes again whose reply {kept}")
            message = sim.functions.message(record.request_id).SerializeToString()
            sim.network.send_down(link, envelope(pb.GATEWAY_EXECUTOR_REQUEST, message))
