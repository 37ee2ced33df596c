"""SetupHandler: what is received until a connection is ACTIVE.

GATEWAY_HELLO is answered with WORKER_CONNECT; GATEWAY_CONNECTION_READY ends the handshake. See
docs/protocol.md#handshake.
"""

from typing import Final

from ...protocol import MAX_EXTEND_LEASE_INTERVAL
from ...protocol import connect_pb2 as pb
from ..settings import CoreSettings, WorkerIdentity
from ..wire import messages
from ..wire.durations import parse_duration
from ..wire.remote_text import clean
from .generation import Generation
from .heartbeat import HeartbeatMonitor
from .inbound import ConnectionReady, GatewayClosing, Inbound, SyncFailed

_K = pb.GatewayMessageType

# Seconds. A timer with a shorter interval would spin; such a value is unusable.
SHORTEST_INTERVAL: Final = 0.01


class SetupHandler:
    """Reads what the phases AWAITING_HELLO and AWAITING_READY receive."""

    def __init__(self, identity: WorkerIdentity, settings: CoreSettings) -> None:
        self._identity = identity
        self._settings = settings

    def receive(
        self, generation: Generation, kind: int, payload: bytes, now: float
    ) -> Inbound | None:
        """Read one message. Raises one of DECODE_ERRORS for a payload that cannot be read."""
        if kind == _K.GATEWAY_HELLO:
            # The only message that carries the tokens. It is sent after the upgrade was checked, to
            # the address that was checked, and once: the next phase does not receive HELLO.
            credentials = generation.credentials
            assert credentials is not None, "a connection is dialed with credentials"
            data = messages.worker_connect(
                self._identity,
                generation.connection_id,
                credentials.session_token,
                credentials.sync_token,
            )
            generation.send(_K.WORKER_CONNECT, data)
            generation.introduced(now)
            return None
        if kind == _K.GATEWAY_CONNECTION_READY:
            return self._ready(generation, payload, now)
        # The gateway closes the connection after it, and the reason of that close decides about the
        # next attempt. This message has the text that says what is wrong with the functions.
        if kind == _K.SYNC_FAILED:
            failure = pb.SystemError.FromString(payload)
            return SyncFailed(clean(failure.code), clean(failure.message))
        return GatewayClosing()

    def _ready(self, generation: Generation, payload: bytes, now: float) -> ConnectionReady:
        # Intervals are Go durations in text. One that is unusable must not end the connection: the
        # worker continues with its own default and reports it.
        data = pb.GatewayConnectionReadyData.FromString(payload)
        settings = self._settings
        shortest = settings.shortest_interval
        complaints: list[str] = []

        def interval(text: str, default: float, name: str, otherwise: str) -> float:
            """Seconds of a Go duration, ``default`` when there is none or it is unusable."""
            try:
                seconds = parse_duration(text) if text else default
            except ValueError:
                seconds = -1.0
            if seconds >= SHORTEST_INTERVAL or seconds == default:
                return seconds
            complaints.append(f"{name} {clean(text)!r} is unusable, {otherwise}")
            return default

        slowest = settings.heartbeat_interval
        extend = settings.extend_lease_interval
        heartbeat = interval(
            data.heartbeat_interval, slowest, "heartbeat_interval", f"using {slowest:g} s"
        )
        extend = interval(
            data.extend_lease_interval, extend, "extend_lease_interval", f"using {extend:g} s"
        )
        # Zero, as an empty text, means that the gateway wants no WORKER_STATUS.
        status = interval(data.status_interval, 0.0, "status_interval", "sending no status")
        # A gateway may ask for a faster pace than ours, and for none that a line cannot carry.
        monitor = HeartbeatMonitor(
            max(min(heartbeat, slowest), shortest), now, settings.shortest_patience
        )
        generation.serve(monitor, max(status, shortest) if status else 0.0, now)
        return ConnectionReady(
            max(min(extend, MAX_EXTEND_LEASE_INTERVAL), shortest), tuple(complaints)
        )
