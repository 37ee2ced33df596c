"""What is measured: which function, how many in flight, how large, and for how long."""

from dataclasses import dataclass
from typing import Final

MEGABYTES_AT_ONCE: Final = 100
"""In flight. More would measure the memory of this machine."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """``function`` is the id of one of ``worker.py``; it returns the event's payload."""

    function: str
    in_flight: int
    payload_bytes: int

    @property
    def slug(self) -> str:
        return f"bench-{self.function}"

    @property
    def name(self) -> str:
        return f"{self.function}, {self.in_flight} in flight, {self.payload_bytes / 1000:g} kB"


REFERENCE: Final = Scenario("async", 100, 200)
"""The scenario for which goals are set."""


def scenarios(which: str) -> list[Scenario]:
    """Two that fit into a minute ("quick"), those of the table, or all that fit into memory."""
    if which == "quick":
        return [Scenario("async", 1, 200), REFERENCE]
    if which == "table":
        return [
            *(Scenario("async", in_flight, 200) for in_flight in (1, 10, 100, 1_000)),
            Scenario("sync", 100, 200),
            Scenario("steps", 100, 200),
            Scenario("async", 100, 10_000),
            Scenario("async", 10, 1_000_000),
        ]
    return [
        Scenario(function, in_flight, payload)
        for function in ("async", "sync", "steps")
        for payload in (200, 10_000, 1_000_000)
        for in_flight in (1, 10, 100, 1_000)
        if in_flight * payload <= MEGABYTES_AT_ONCE * 1_000_000
    ]
