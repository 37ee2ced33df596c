"""Lease: the promise that nobody else executes a request (docs/protocol.md#lease-ids)."""

from dataclasses import dataclass
from typing import Literal

from .settings import GatewaySettings

Presented = Literal["extended", "revived", "replayed", "refused"]


@dataclass(slots=True)
class Lease:
    """One lease. ``until`` is the monotonic time of its expiry."""

    lease_id: str
    until: float
    previous_id: str = ""
    extended_by: str = ""
    """The instance whose extension replaced ``previous_id``."""

    def presented(
        self, lease_id: str, instance: str, now: float, settings: GatewaySettings
    ) -> Presented:
        """Say what an extension with this id is answered with; changes nothing."""
        if now >= self.until + settings.lease_key_lifetime:
            return "refused"
        if now >= self.until:
            return "revived"
        if lease_id == self.lease_id:
            return "extended"
        replays = settings.replay_predecessor and instance == self.extended_by
        return "replayed" if replays and lease_id == self.previous_id else "refused"

    def rotate(self, lease_id: str, until: float, instance: str) -> None:
        """Replace the id."""
        self.previous_id, self.lease_id = self.lease_id, lease_id
        self.until = until
        self.extended_by = instance
