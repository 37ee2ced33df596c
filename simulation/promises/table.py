"""The table of promises: a name for each, and the situation in which it is checked.

docs/reliability.md says what each promise means to users. ``Tally`` counts how often each situation
has occurred: a promise that is never in question proves nothing.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

PROMISES: Final[Mapping[str, str]] = {
    # Requests.
    "accepts": "a request arrived while there was a connection and no reason to refuse it",
    "acknowledges_again": "a request arrived again on the serving connection",
    "repeats_reply": "a request whose reply is kept arrived again",
    "starts": "a function was started, for which there was a slot and room for its reply",
    "waits_for_slot": "a request was queued although all slots were taken",
    "waits_for_room": "a request was queued although the buffer was above its high-water mark",
    "echoes": "a message about a request was sent",
    "measures": "a function returned, and its durations were reported",
    # Leases.
    "extends": "a lease was due while there was a connection",
    "extends_at_pace": "a lease was extended",
    "newest_lease": "a lease was extended that had been extended before",
    "reports_lost_lease": "an extension was refused before the function had ended",
    "cancels_lost": "an extension was refused for a function that is to be cancelled then",
    # Replies.
    "replies": "a function returned",
    "replies_on_line": "a reply was ready while there was a connection",
    "flushes_offline": "a reply was ready while there was no connection",
    "rewrites_replies": "a connection began or ended while replies waited",
    "flushes_unacknowledged": "a written reply was not acknowledged in time",
    "flushes_again": "a flush had failed and was due again",
    "writes_unflushed": "a flush had failed of a reply that the serving connection had not carried",
    "flushes_once": "a flush began",
    "evicts_oldest": "a reply was evicted from a full buffer",
    "reports_too_large": "a function returned more than fits into a reply",
    "fits": "a message was sent",
    "keeps_result": "a reply was sent for the first time",
    "journals": "a function began or returned, or a reply was stored, while there was a journal",
    "waits_for_commit": "the journal had a reply that waited for it",
    "recovers": "a request of a dead process was found in the journal",
    # Connections.
    "heartbeats": "a heartbeat was due",
    "status": "a WORKER_STATUS was due",
    "limits_attempt": "an attempt had taken too long",
    "limits_silence": "a connection had been silent for too long",
    "limits_close": "a connection was not closed in time",
    "closes_replaced": "a drained connection was replaced and waited for acknowledgements",
    "drains": "a serving connection was drained",
    # Attempts.
    "attempts": "an attempt was due",
    "delay_of_failure": "an attempt had failed",
    "delay_of_loss": "a connection was lost or drained",
    "evidence": "the API answered a flush while attempts failed because it did not answer",
    "continues": "the process continued after it had been stopped, while an attempt was planned",
    "other_key": "the API refused a key while there was another one",
    "retry_after": "the API asked for a pause before the next attempt",
    "excludes": "an attempt began after a gateway had failed",
    "spread_first": "a delay was in the first quarter of its range",
    "spread_second": "a delay was in the second quarter of its range",
    "spread_third": "a delay was in the third quarter of its range",
    "spread_last": "a delay was in the last quarter of its range",
    # Reports.
    "reports": "something happened that has to be reported, once",
    "reports_start_failed": "a start request failed",
    "reports_flush_failed": "a flush failed while its reply was waited for",
    "reports_lost_connection": "a connection ended",
    "reports_malformed": "a malformed message arrived",
    "reports_heartbeat": "a heartbeat was answered",
    "reports_outage": "a connection was ready",
    "reports_long_running": "a function had run for long_running_warning, or twice as long",
    "reports_no_free_slot": "all slots had been taken for too long",
    # The beginning and the end.
    "startup_timeout": "startup_timeout passed without a connection",
    "shutdown_timeout": "shutdown_timeout passed",
    "ends_in_time": "the worker ended after shutdown_timeout or a forced stop",
    "last_flush": "a forced shutdown left replies behind",
    "waits_for_work": "the worker ended without being forced",
    "notices": "a shutdown waited for work",
    "cancels_abandoned": "functions ran after a shutdown was forced",
    "pauses": "the serving connection was closed by a shutdown",
    "names_abandoned": "the worker ended and left work behind",
    "nothing_left": "the worker ended",
}
"""Name and premise of every promise that the simulation checks and counts."""


class Tally(Counter[str]):
    """How often the premise of each promise was true. Names that are not in the table raise."""

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        super().__init__(dict.fromkeys(PROMISES, 0) if counts is None else counts)

    def __missing__(self, name: str) -> int:
        raise KeyError(f"{name} is not in the table of promises")

    def vacuous(self) -> list[str]:
        """Promises whose premise was never true."""
        return [name for name, count in self.items() if not count]
