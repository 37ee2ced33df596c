"""Gateway: what a fleet sees of one gateway. It serves handshakes and heartbeats only."""

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Gateway:
    """``named``: the API may name it. It learns of a gateway that died only later."""

    name: str
    alive: bool = True
    draining: bool = False
    named: bool = True
