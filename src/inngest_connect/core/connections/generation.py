"""Generation: one connection, from the call of the API to the end of its socket.

It owns its phase, its time limits and its heartbeats. Each has a number that every input about it
carries, so whatever still arrives on a dying socket cannot affect its successor.
"""

from dataclasses import dataclass, field
from typing import Final

from ...errors import InvalidTransition
from ...protocol import connect_pb2 as pb
from ..commands import Acknowledge, Send
from ..outbox import Outbox
from ..settings import CoreSettings
from ..wire import messages
from .heartbeat import HeartbeatMonitor
from .phases import PHASES, Phase

_K = pb.GatewayMessageType
# Looked up once: reading a member of a protobuf enum costs as much as parsing a small message.
_WORKER_REQUEST_ACK: Final = _K.WORKER_REQUEST_ACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What the API issued for one connection. Valid for five minutes, never reused or logged."""

    session_token: str = field(repr=False)
    sync_token: str = field(repr=False)


class Generation:
    """Times are monotonic seconds. ``key`` is the index of the signing key of this attempt."""

    def __init__(
        self, number: int, key: int, settings: CoreSettings, outbox: Outbox, now: float
    ) -> None:
        self.number = number
        self.key = key
        self.begun_at = now
        self.ready_at = 0.0
        self.connection_id = ""
        self.gateway_group = ""
        self.gateway_url = ""
        self.credentials: Credentials | None = None
        self.heartbeat: HeartbeatMonitor | None = None
        """Exists from GATEWAY_CONNECTION_READY on."""
        self.phase = Phase.STARTING
        self._settings = settings
        self._outbox = outbox
        self._limit_at: float | None = None
        self.status_interval = 0.0
        """Seconds between two WORKER_STATUS, 0 when the gateway wants none."""
        self._status_at: float | None = None
        self._start_limit(now)

    @property
    def opened(self) -> bool:
        """Whether the WebSocket was open at any time."""
        return self.phase not in (Phase.STARTING, Phase.DIALING)

    def _start_limit(self, now: float) -> None:
        # Each phase has its own limit, counted from its beginning. So an attempt is limited as a
        # whole, by the sum, and no step can use up the time of another.
        limit = PHASES[self.phase].limit
        self._limit_at = None if limit is None else now + getattr(self._settings, limit)

    def enter(self, phase: Phase, now: float) -> None:
        """Change the phase, and start its time limit. Raises InvalidTransition, by ``PHASES``."""
        # A refusal is a bug in the core. It ends the worker loudly: to go on in a phase that the
        # table does not allow could acknowledge a request on a socket that nobody reads.
        if phase not in PHASES[self.phase].follows:
            raise InvalidTransition(f"{phase.value} cannot follow {self.phase.value}")
        self.phase = phase
        self._start_limit(now)
        if phase is Phase.DRAINING and self.heartbeat is not None:
            # A heartbeat would end the grace in which the gateway still serves this socket.
            self.heartbeat.stop()
            self._status_at = None

    def named(
        self, connection_id: str, gateway_group: str, credentials: Credentials, now: float
    ) -> None:
        """The API has named a gateway, which is dialed now."""
        self.connection_id = connection_id
        self.gateway_group = gateway_group
        self.credentials = credentials
        self.enter(Phase.DIALING, now)

    def introduced(self, now: float) -> None:
        """WORKER_CONNECT was sent: the tokens in it are of no use any more."""
        # Dropped, so that no snapshot or traceback of a long-lived connection can show them.
        self.credentials = None
        self.enter(Phase.AWAITING_READY, now)

    def serve(self, heartbeat: HeartbeatMonitor, status_interval: float, now: float) -> None:
        """The handshake is complete. ``status_interval`` is seconds, 0 for no WORKER_STATUS."""
        self.heartbeat = heartbeat
        self.ready_at = now
        self.status_interval = status_interval
        self._status_at = now + status_interval if status_interval else None
        self.enter(Phase.ACTIVE, now)

    # --- sending ----------------------------------------------------------------------------

    def send(self, kind: int, data: bytes, *, reply_to: str | None = None) -> None:
        """Write one message. Raises InvalidTransition when the phase does not send this kind."""
        if kind not in self.phase.sends:
            raise InvalidTransition(
                f"{_K.Name(pb.GatewayMessageType.ValueType(kind))} is not sent in phase "
                f"{self.phase.value}"
            )
        self._outbox.put(Send(self.number, data, reply_to=reply_to))

    def acknowledge(self, request: pb.GatewayExecutorRequestData) -> None:
        """Write WORKER_REQUEST_ACK. Raises as ``send``."""
        if _WORKER_REQUEST_ACK not in self.phase.sends:
            raise InvalidTransition(f"WORKER_REQUEST_ACK is not sent in phase {self.phase.value}")
        data = messages.request_ack(request)
        self._outbox.put(Acknowledge(self.number, request.request_id, data))

    # --- time -------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do, None when time alone changes nothing."""
        # A phase has a limit or is watched by heartbeats, never both: on a socket that is being
        # closed silence is not judged, and during a handshake nothing is sent.
        if self._limit_at is not None:
            return self._limit_at
        if self.heartbeat is None or self.phase is Phase.RETIRED:
            return None
        silent_at = self.heartbeat.next_deadline()
        return silent_at if self._status_at is None else min(silent_at, self._status_at)

    def tick(self, now: float) -> str | None:
        """Send the heartbeat that is due. Returns what was waited for in vain, if anything was."""
        if self._limit_at is not None:
            return PHASES[self.phase].awaited if now >= self._limit_at else None
        if self.heartbeat is None or self.phase is Phase.RETIRED:
            return None
        # Death is judged before a heartbeat is sent: one that is due now must not count as one that
        # was left unanswered.
        if self.heartbeat.dead(now):
            return self.heartbeat.cause_of_death(now)
        if self.heartbeat.take_due(now):
            self.send(_K.WORKER_HEARTBEAT, messages.HEARTBEAT)
        return None

    def take_status_due(self, now: float) -> bool:
        """Whether a WORKER_STATUS is to be sent now; if so, it counts as sent."""
        if self._status_at is None or now < self._status_at:
            return False
        self._status_at = now + self.status_interval
        return True
