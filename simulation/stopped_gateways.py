"""StoppedGateways: gateways whose processes are stopped, and gateways that cannot write."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .network import Link, Network
    from .simulation import Simulation


class StoppedGateways:
    """What a gateway would have written is written when it can, if its connection exists then."""

    def __init__(self, sim: "Simulation", network: "Network") -> None:
        self._sim = sim
        self._network = network
        self.until = 0.0
        """No gateway process runs before."""

    def stop(self, until: float) -> None:
        """Stop the processes of all gateways, which the router notices after a while."""
        sim = self._sim
        self.until = max(self.until, until)
        stopped = sim.model.executor.router.stopped
        for gateway in (*sim.api.gateways, *sim.api.former):
            stopped.setdefault(gateway, sim.now)
        sim.later(until, self._go_on)

    def _go_on(self) -> None:
        sim = self._sim
        if sim.now < self.until:
            return
        stopped, patience = sim.model.executor.router.stopped, sim.schedule.gateway.gateway_patience
        if any(sim.now - since > patience for since in stopped.values()):
            sim.counts.situation("the router passes over gateways that stopped")
        stopped.clear()
        sim.gateway_does(sim.model.tick(sim.now))

    def block_writes(self, until: float) -> None:
        """No line takes anything of what the gateways write, which ends it after a time limit."""
        sim = self._sim
        for link in self._network.numbers.values():
            if link.unwritten is None and not link.broken:
                link.unwritten = []
                sim.model.blocked(link.number, sim.now)
                sim.later(until, self._write_again, link)
        sim.gateway_does([])

    def _write_again(self, link: "Link") -> None:
        waiting, link.unwritten = link.unwritten or [], None
        if link.number in self._network.numbers:
            self._sim.model.unblocked(link.number)
            for data in waiting:
                self._network.send_down(link, data)
            self._sim.gateway_does([])
