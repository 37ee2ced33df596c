"""What a worker promises to report: every fault once, when it happens, and nothing else.

What a turn has to report is known from its input and from what was before it. At the end of the
turn both lists have to be the same.
"""

from collections import Counter
from typing import Any, Final

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen
from inngest_connect.core import inputs
from inngest_connect.core.shutdown import Stage
from inngest_connect.protocol import DECODE_ERRORS
from inngest_connect.protocol import connect_pb2 as pb

from .connections import ConnectionPromises
from .replies import PERMANENT, ReplyPromises
from .requests import RequestPromises
from .watch import Watch

COUNTED: Final = frozenset(
    {
        "authentication_failed", "rate_limited", "start_failed", "gateway_endpoint_refused",
        "flush_failed", "reply_refused", "acknowledgement_failed", "malformed_message",
        "connection_failed", "shutdown_forced", "execution_cancelled",
    }
)  # fmt: skip
"""Kinds of errors whose number in each turn is known."""
_GIVEN_UP: Final = frozenset({"gateway_silent", "protocol_violation"})
"""Kinds of errors that say why the worker has ended a connection."""
_ONCE: Final = frozenset({"shutdown_forced", "shutdown_timeout"})
"""Kinds of errors that a worker reports once at most."""
_REMEDIES: Final = {401: "authentication_failed", 403: "authentication_failed", 429: "rate_limited"}
_KINDS: Final = frozenset(pb.GatewayMessageType.values())
_Request: Final = pb.GatewayExecutorRequestData
_PAYLOADS: Final[dict[int, Any]] = {
    pb.GATEWAY_EXECUTOR_REQUEST: _Request,
    pb.WORKER_REPLY_ACK: pb.WorkerReplyAckData,
    pb.WORKER_REQUEST_EXTEND_LEASE_ACK: pb.WorkerRequestExtendLeaseAckData,
}


class ReportPromises:
    """Registered before the watchers that forget what an input has ended."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.connections: ConnectionPromises
        self.requests: RequestPromises
        self.replies: ReplyPromises
        self._expected: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()
        self._ever: Counter[str] = Counter()
        self._lost_at: float | None = None
        self._begun_at = 0.0
        self._opened: set[int] = set()
        self._closes = False
        """The gateway of the attempt has announced in this turn that it closes."""
        watch.on_input(inputs.StartFailed, self._start_failed)
        watch.on_input(inputs.FlushFailed, self._flush_failed)
        watch.on_input(inputs.SocketOpened, self._socket_opened)
        watch.on_input(inputs.SocketClosed, self._socket_closed)
        watch.on_input(inputs.ExecutionFinished, self._execution_finished)
        watch.on_input(inputs.AbortRequested, self._abort_requested)
        watch.on_input(inputs.AcknowledgementFailed, self._acknowledgement_failed)
        watch.on_message(None, self._received)
        watch.on_message(pb.GATEWAY_HEARTBEAT, self._heartbeat)
        watch.on_message(pb.GATEWAY_CLOSING, self._drained)
        watch.on_command(do.AbortSocket, self._aborted)
        watch.on_command(do.RequestStart, self._start_requested)
        watch.on_command(do.Execute, lambda command: self._expect("request_started"))
        watch.on_command(seen.RequestStarted, self._event)
        watch.on_command(seen.ErrorOccurred, self._error)
        watch.on_command(seen.Connected, self._connected)
        for event in (
            seen.Disconnected, seen.Draining, seen.WebSocketOpened, seen.WebSocketClosed,
            seen.HeartbeatAnswered, seen.WebSocketFailed,
        ):  # fmt: skip
            watch.on_command(event, self._event)
        watch.on_turn_end(self._turn_ends)

    def _expect(self, name: str, promise: str = "reports") -> None:
        self._watch.tally[promise] += 1
        self._expected[name] += 1

    # --- what has to be reported ---------------------------------------------------------------

    def _start_failed(self, failed: inputs.StartFailed) -> None:
        if failed.generation != self.connections.attempt:
            return
        kind = _REMEDIES.get(failed.status or 0, "start_failed")
        kind = "gateway_endpoint_refused" if failed.gateway_group else kind
        self._expect(kind, "reports_start_failed")

    def _flush_failed(self, failed: inputs.FlushFailed) -> None:
        waiting = self.replies.waiting.get(failed.request_id)
        if waiting is not None and waiting.flushing:
            kind = "reply_refused" if failed.status in PERMANENT else "flush_failed"
            self._expect(kind, "reports_flush_failed")

    def _socket_opened(self, opened: inputs.SocketOpened) -> None:
        if opened.generation == self.connections.attempt:
            self._opened.add(opened.generation)
            self._expect("websocket_open")

    def _socket_closed(self, closed: inputs.SocketClosed) -> None:
        generation, connections = closed.generation, self.connections
        if self._watch.core.connections.get(generation) is None:
            return
        if closed.error is not None:
            self._expect("websocket_error")
        if generation in self._opened:
            self._expect("websocket_close")
        if generation == connections.attempt:
            self._expect("connection_failed", "reports_lost_connection")
        else:
            self._expect_disconnected(generation)

    def _expect_disconnected(self, generation: int) -> None:
        watch, unexpected = self._watch, generation == self.connections.serving
        if unexpected:
            self._lost_at = watch.now
        unexpected = unexpected and watch.closing_at is None
        name = "disconnected unexpectedly" if unexpected else "disconnected"
        self._expect(name, "reports_lost_connection")

    def _execution_finished(self, finished: inputs.ExecutionFinished) -> None:
        known = self.requests.known.get(finished.request_id)
        if known is not None and finished.result is None and not known.lost:
            self._expect("execution_cancelled")

    def _acknowledgement_failed(self, failed: inputs.AcknowledgementFailed) -> None:
        known = self.requests.known.get(failed.request_id)
        if known is None:
            return
        known.acknowledging -= 1
        abandoned = failed.request_id in self._watch.core.shutdown.abandoned
        if not known.acknowledged and not known.acknowledging and not abandoned:
            self._expect("acknowledgement_failed")

    def _abort_requested(self, abort: inputs.AbortRequested) -> None:
        if not self._watch.core.shutdown.forced:
            self._expect("shutdown_forced")

    def _received(self, generation: int, data: bytes) -> None:
        if self._watch.core.connections.get(generation) is None:
            return
        if self._is_malformed(generation, data):
            self._expect("malformed_message", "reports_malformed")

    def _is_malformed(self, generation: int, data: bytes) -> bool:
        try:
            message = pb.ConnectMessage.FromString(data)
            if message.kind not in _KINDS:
                return True
            if generation != self.connections.attempt and (kind := _PAYLOADS.get(message.kind)):
                payload = kind.FromString(message.payload)
                return isinstance(payload, _Request) and not payload.request_id
        except DECODE_ERRORS:
            return True
        return False

    def _heartbeat(self, generation: int, data: bytes) -> None:
        line = self.connections.lines.get(generation)
        alive = self._watch.core.connections.get(generation) is not None
        if line is not None and alive and line.asked_at is not None and not line.draining:
            self._expect("heartbeat", "reports_heartbeat")

    def _drained(self, generation: int, data: bytes) -> None:
        self._closes = generation == self.connections.attempt
        line = self.connections.lines.get(generation)
        if line is not None and generation == self.connections.serving and not line.draining:
            self._expect("draining")

    # --- what the worker does by itself --------------------------------------------------------

    def _start_requested(self, command: do.RequestStart) -> None:
        self._begun_at = self._watch.now

    def _aborted(self, command: do.AbortSocket) -> None:
        generation, connections = command.generation, self.connections
        if generation in connections.lines:
            if generation == connections.serving:
                self._expect("given up")
            self._expect("websocket_close")
            self._expect_disconnected(generation)
        elif generation == connections.attempt and not self._is_given_up_quietly():
            self._expect("given up")
            if generation in self._opened:
                self._expect("websocket_close")
            self._expect("connection_failed", "reports_lost_connection")

    def _is_given_up_quietly(self) -> bool:
        # An attempt that the shutdown does not need, or whose gateway closes.
        # In one turn an attempt can be too late, which is told first, and the shutdown too.
        if self._seen["given up"] > self._expected["given up"]:
            return False
        stage = self._watch.core.shutdown.stage
        needed = stage in (Stage.RUNNING, Stage.SETTLING, Stage.FINISHING)
        return not needed or self._closes

    # --- what is reported ----------------------------------------------------------------------

    def _event(self, event: seen.Event) -> None:
        name = event.name
        if isinstance(event, seen.Disconnected) and not event.expected:
            name = "disconnected unexpectedly"
        self._seen[name] += 1

    def _error(self, event: seen.ErrorOccurred) -> None:
        self._ever[event.kind] += event.kind in _ONCE
        if self._ever[event.kind] > 1:
            raise self._watch.broken("reports", f"{event.kind} is reported again")
        if event.kind in _GIVEN_UP:
            self._seen["given up"] += 1
        elif event.kind in COUNTED and not event.fatal:
            self._seen[event.kind] += 1

    def _connected(self, event: seen.Connected) -> None:
        watch = self._watch
        watch.tally["reports_outage"] += 1
        outage = None if self._lost_at is None else watch.now - self._lost_at
        shown = event.outage_seconds, event.handshake_seconds
        if not _close(shown[0], outage) or not _close(shown[1], watch.now - self._begun_at):
            text = f"{event}, the outage was {outage} s"
            raise watch.broken("reports_outage", text)
        self._lost_at = None

    def _turn_ends(self) -> None:
        self._closes = False
        if not self._expected and not self._seen:
            return  # most turns; to compare two counters is slow
        if self._expected != self._seen:
            missing, extra = self._expected - self._seen, self._seen - self._expected
            text = f"not reported: {dict(missing)}, without a reason: {dict(extra)}"
            raise self._watch.broken("reports", text)
        self._expected.clear()
        self._seen.clear()


def _close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) < 1e-6
