"""ShortLives: gateways that end handshakes, and connections right after they were ready."""

from typing import TYPE_CHECKING, Final

from inngest_connect.core.wire.messages import envelope
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing.model.connection import GatewayPhase

if TYPE_CHECKING:
    from .network import Link, Network
    from .simulation import Simulation

HANDSHAKE_ENDS: Final = (
    None,
    (1001, "connect_gateway_closing"),
    (1006, ""),
    (1008, "connect_authentication_failed"),
    (1008, "connect_worker_hello_timeout"),
    (1008, "connect_too_many_apps_per_connection"),
    (1008, "SYNC_FAILED"),
    (1011, "connect_internal_error"),
    (1011, "connect_internal_error"),
)
"""How a gateway ends a handshake; None: it does nothing any more."""

_LONGEST: Final = 2.0
"""Seconds that a connection serves, at most."""


class ShortLives:
    """Asked about each message that a gateway receives before ``until``."""

    def __init__(self, sim: "Simulation", network: "Network") -> None:
        self._sim = sim
        self._network = network
        self.until = 0.0
        self._refuse_until = 0.0
        self._end: tuple[int, str] | str | None = None
        self._young_until = 0.0
        self._how = ""
        self._doomed: set[int] = set()

    def refuse(self, until: float, end: tuple[int, str] | str | None) -> None:
        """End every handshake so: one of HANDSHAKE_ENDS, or "any" of them each time."""
        self._refuse_until, self._end = until, end
        self.until = max(self.until, until)

    def end_young(self, until: float, how: str) -> None:
        """End each connection soon after it was ready: "drop", "close", "drain" or "any"."""
        self._young_until, self._how = until, how
        self.until = max(self.until, until)

    def refuses(self, link: "Link") -> bool:
        """Return whether this message is not handled, because it belongs to a handshake."""
        sim = self._sim
        connection = sim.model.connections.get(link.number)
        if sim.now >= self._refuse_until or connection is None or connection.connect is not None:
            return False
        end = sim.draw.choice(HANDSHAKE_ENDS) if self._end == "any" else self._end
        if not isinstance(end, tuple):
            sim.counts.situation("a handshake stalls")
            return True
        code, reason = end
        sim.counts.situation(f"a handshake ends with {code} {reason}".rstrip())
        if reason == "SYNC_FAILED":
            failure = pb.SystemError(code="connect_sync_failed", message="wrong configuration")
            self._network.send_down(link, envelope(pb.SYNC_FAILED, failure.SerializeToString()))
            reason = "connect_sync_failed"
        if code == 1006:
            self._network.break_link(link)
        else:
            self._network.gateway_closes(link, code, reason)
        return True

    def handled(self, link: "Link") -> None:
        """A message was handled; the connection may be ready now."""
        sim, number = self._sim, link.number
        connection = sim.model.connections.get(number)
        if sim.now >= self._young_until or connection is None or number in self._doomed:
            return
        if connection.phase is GatewayPhase.READY:
            self._doomed.add(number)
            sim.later(sim.now + _LONGEST * sim.draw.random() ** 3, self._end_now, link)

    def _end_now(self, link: "Link") -> None:
        sim = self._sim
        if link.number not in self._network.numbers:
            return
        how = self._how
        if how == "any":
            how = sim.draw.choice(("drop", "close", "drain"))
        sim.counts.situation(f"a young connection ends: {how}")
        if len(self._doomed) == 4:
            sim.counts.situation("four connections in a row die young")
        match how:
            case "drop":
                self._network.break_link(link)
            case "close":
                self._network.gateway_closes(link, 1000, "")
            case _:
                sim.faults.drain(0.0)
