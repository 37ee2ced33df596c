"""What a worker promises about each connection: limits, heartbeats, and what it reports."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core import inputs
from inngest_connect.core.wire.durations import parse_duration
from inngest_connect.protocol import DECODE_ERRORS
from inngest_connect.protocol import connect_pb2 as pb

from .watch import Watch, payload_of

SILENT_INTERVALS: Final = 3
DRAIN_PATIENCE: Final = 30.0
"""Seconds of silence for a draining gateway."""
ROUND_TRIPS: Final = 4
LONGEST_ROUND_TRIP: Final = 10.0
LONGEST_MESSAGE: Final = 120.0
"""Seconds for which moving bytes excuse silence."""


@dataclass(slots=True)
class Line:
    """One connection that has been ready. Times are virtual seconds, intervals seconds."""

    ready_at: float
    interval: float
    status_interval: float
    received_at: float
    gateway: str
    draining: bool = False
    replaced: bool = False
    asked_at: float | None = None
    """When the last heartbeat was sent, if it was not answered."""
    round_trip: float = 0.0
    moved_at: float = float("-inf")


class ConnectionPromises:
    """``serving`` is the number of the connection that serves, None without one."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.lines: dict[int, Line] = {}
        self.serving: int | None = None
        self.replaced: set[int] = set()
        """Drained connections that wait for acknowledgements."""
        self.attempt: int | None = None
        """The generation of the attempt under way."""
        self.closed_serving: int | None = None
        """The serving connection that the worker has closed."""
        self.replaces = False
        """The connection that was ready last has replaced one that is drained."""
        self.extend_lease_interval = watch.settings.extend_lease_interval
        """Seconds that the serving gateway has asked for."""
        self._ready: dict[int, pb.GatewayConnectionReadyData] = {}
        watch.on_command(do.RequestStart, self._start_requested)
        watch.on_command(do.OpenSocket, self._dialed)
        watch.on_input(inputs.SocketOpened, self._opened)
        watch.on_sent(pb.WORKER_CONNECT, self._introduced)
        watch.on_message(pb.GATEWAY_CONNECTION_READY, self._ready_received)
        watch.on_message(None, self._received)
        watch.on_message(pb.GATEWAY_HEARTBEAT, self._heartbeat_answered)
        watch.on_message(pb.GATEWAY_CLOSING, self._drained)
        watch.on_command(seen.Connected, self._connected)
        watch.on_sent(pb.WORKER_HEARTBEAT, self._heartbeat)
        watch.on_sent(pb.WORKER_STATUS, self._status)
        watch.on_command(do.CloseSocket, self._closed)
        watch.on_command(do.AbortSocket, lambda command: self._ended(command.generation))
        watch.on_input(inputs.SocketClosed, lambda closed: self._ended(closed.generation))
        watch.on_input(inputs.StartFailed, lambda failed: self._ended(failed.generation))
        watch.on_input(inputs.LineObserved, self._observed)
        watch.on_missed("limits_silence", self._is_alive)

    # --- attempts ------------------------------------------------------------------------------

    def _start_requested(self, command: do.RequestStart) -> None:
        self.attempt = command.generation
        self._limit_attempt(command.generation, self._watch.settings.start_timeout)

    def _dialed(self, command: do.OpenSocket) -> None:
        self._limit_attempt(command.generation, self._watch.settings.open_timeout)

    def _opened(self, opened: inputs.SocketOpened) -> None:
        if opened.generation == self.attempt:
            self._limit_attempt(opened.generation, self._watch.settings.hello_timeout)

    def _introduced(self, generation: int, data: bytes) -> None:
        self._limit_attempt(generation, self._watch.settings.ready_timeout)

    def _limit_attempt(self, generation: int, seconds: float) -> None:
        self._watch.limits.set(("limits_attempt", generation), self._watch.now + seconds)

    # --- a connection that is ready ------------------------------------------------------------

    def _ready_received(self, generation: int, data: bytes) -> None:
        if generation == self.attempt and (payload := payload_of(data)) is not None:
            try:
                self._ready[generation] = pb.GatewayConnectionReadyData.FromString(payload)
            except DECODE_ERRORS:
                return  # malformed on purpose

    def _connected(self, event: seen.Connected) -> None:
        watch, generation = self._watch, self.attempt
        if generation is None:
            raise watch.broken("reports_outage", f"{event} without an attempt")
        settings, now, limits = watch.settings, watch.now, watch.limits
        limits.clear(("limits_attempt", generation))
        self.replaces = self.serving is not None
        if self.serving is not None:
            self.lines[self.serving].replaced = True
            self.replaced.add(self.serving)
            self._clear(self.serving)
            limits.set(("limits_close", self.serving), now + settings.drain_ack_timeout)
        ready = self._ready.pop(generation)
        interval = _seconds(ready.heartbeat_interval, settings.heartbeat_interval)
        interval = max(min(interval, settings.heartbeat_interval), settings.shortest_interval)
        self.extend_lease_interval = _seconds(
            ready.extend_lease_interval, settings.extend_lease_interval
        )
        status = _seconds(ready.status_interval, 0.0)
        status = max(status, settings.shortest_interval) if status else 0.0
        line = Line(now, interval, status, now, event.gateway_group)
        self.lines[generation] = line
        self.serving, self.attempt = generation, None
        limits.set(("heartbeats", generation), now)
        self._silent_from(generation, line)
        if status:
            limits.set(("status", generation), now + line.status_interval)

    def _received(self, generation: int, data: bytes) -> None:
        line = self.lines.get(generation)
        if line is not None and not line.replaced:
            line.received_at = self._watch.now

    def _heartbeat_answered(self, generation: int, data: bytes) -> None:
        line = self.lines.get(generation)
        if line is not None and line.asked_at is not None:
            line.round_trip = self._watch.now - line.asked_at
            line.asked_at = None

    def _observed(self, observed: inputs.LineObserved) -> None:
        line = self.lines.get(observed.generation)
        if line is not None and observed.moved:
            line.moved_at = self._watch.now

    def _heartbeat(self, generation: int, data: bytes) -> None:
        watch, line = self._watch, self.lines[generation]
        watch.tally["heartbeats"] += 1
        at = watch.limits.get(("heartbeats", generation))
        if at is not None and watch.now < at - 1e-6:
            raise watch.broken("heartbeats", f"{at - watch.now:.3f} s early on {generation}")
        line.asked_at = watch.now
        watch.limits.set(("heartbeats", generation), watch.now + line.interval)

    def _status(self, generation: int, data: bytes) -> None:
        watch, line = self._watch, self.lines[generation]
        watch.tally["status"] += 1
        if not line.status_interval:
            raise watch.broken("status", "the gateway did not ask for it")
        payload = payload_of(data) or b""
        named = pb.WorkerStatusData.FromString(payload).shutdown_requested
        if named != (watch.closing_at is not None):
            raise watch.broken("status", f"shutdown_requested is {named}")
        watch.limits.set(("status", generation), watch.now + line.status_interval)

    def _drained(self, generation: int, data: bytes) -> None:
        line = self.lines.get(generation)
        if line is not None and generation == self.serving and not line.draining:
            self._watch.tally["drains"] += 1
            line.draining = True
            line.asked_at = None  # no answer is awaited any more
            self._watch.limits.clear(("heartbeats", generation))
            self._watch.limits.clear(("status", generation))

    # --- ends ----------------------------------------------------------------------------------

    def _silent_from(self, generation: int, line: Line) -> None:
        watch = self._watch
        patience = max(
            SILENT_INTERVALS * line.interval,
            watch.settings.shortest_patience,
            ROUND_TRIPS * min(line.round_trip, LONGEST_ROUND_TRIP),
            DRAIN_PATIENCE if line.draining else 0.0,
        )
        moved_at = min(line.moved_at, line.received_at + LONGEST_MESSAGE)
        at = max(line.received_at, moved_at) + patience
        watch.limits.set(("limits_silence", generation), at)

    def _is_alive(self, key: Hashable) -> bool:
        # Moved when it is looked at, and not with every message.
        generation: int = key[1]  # type: ignore[index]
        line, before = self.lines[generation], self._watch.limits.get(key)
        self._silent_from(generation, line)
        return self._watch.limits.get(key) != before

    def _closed(self, command: do.CloseSocket) -> None:
        generation = command.generation
        if generation == self.serving:
            self.closed_serving = generation
        self._ended(generation)
        limit = self._watch.now + self._watch.settings.close_timeout
        self._watch.limits.set(("limits_close", generation), limit)

    def _ended(self, generation: int) -> None:
        watch = self._watch
        self.replaced.discard(generation)
        if generation == self.serving:
            self.serving = None
        if generation == self.attempt:
            self.attempt = None
        for promise in ("limits_attempt", "limits_silence", "limits_close"):
            at = watch.limits.clear((promise, generation))
            if at is not None and watch.now >= at - 1e-6:
                watch.tally[promise] += 1
        self._clear(generation)

    def _clear(self, generation: int) -> None:
        for promise in ("heartbeats", "status", "limits_silence"):
            self._watch.limits.clear((promise, generation))


def _seconds(text: str, default: float) -> float:
    try:
        return parse_duration(text) if text else default
    except ValueError:
        return default
