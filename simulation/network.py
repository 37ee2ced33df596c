"""Link: one WebSocket of the simulated network, between a worker's generation and a gateway.

Messages arrive in their order or not at all, as over TCP; only links overtake one another.
"""

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Link:
    generation: int
    number: int
    """The gateway model's number for it."""
    gateway: str
    accepted: bool = False
    """The gateway has seen it open."""
    broken: bool = False
    """Nothing passes any more, whether or not somebody has noticed."""
    delivers_rest: bool = False
    """Broken, but what had been sent before still arrives: it is in the worker's own buffers."""
    refuses_writes: bool = False
    """Broken, and the worker's own end knows, though it has not said so yet."""
    closed_by_worker: bool = False
    up_at: float = 0.0
    """When the last message to the gateway arrives; the next one not before."""
    down_at: float = 0.0
    held_until: float = 0.0
    """A black hole: what is sent arrives afterwards, if the link still stands then."""
