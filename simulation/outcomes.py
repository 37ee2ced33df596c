"""Outcomes: situations that only show when a schedule is over."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .simulation import Simulation


def count_outcomes(sim: "Simulation") -> None:
    """Count what became of each request."""
    counts, shutdown = sim.counts, sim.core.shutdown
    if shutdown.forced and not shutdown.abandoned and len(sim.core.buffer):
        counts.situation("a shutdown is forced when only replies are left")
    if sim.api.most_in_a_minute > 8:
        counts.situation("the API is called more than eight times in a minute")
    for record in sim.model.ledger.records.values():
        if record.late_extensions:
            counts.situation("an extension arrives after the lease ran out, and is accepted")
        if record.outcome == "expired":
            counts.situation("a lease expires")
            if record.refused_extensions:
                counts.situation("an extension arrives after the request has failed")
            if record.replies or record.flushes:
                counts.situation("a reply arrives after the request has failed")
        if record.flushes and record.replies:
            counts.situation("a reply arrives both ways")
        if len(set(record.acknowledged_by)) > 1:
            counts.situation("a request is acknowledged on two connections")
        if record.outcome == "unroutable" and record.forwards:
            counts.situation("a request is given up without an acknowledgement")
