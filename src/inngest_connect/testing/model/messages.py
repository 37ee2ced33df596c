"""WorkerMessages: what a gateway does with each message of a worker that has introduced itself."""

from typing import Final

from ...core.wire.ulid import is_ulid
from ...protocol import DECODE_ERRORS
from ...protocol import connect_pb2 as pb
from .connection import GatewayConnection, GatewayPhase
from .executor import ExecutorModel
from .outgoing import Outgoing

INTERNAL_ERROR: Final = (1011, "connect_internal_error")
_FAILED_UPDATES: Final = 3
"""Heartbeats in a row that the server cannot store, before it closes the connection."""
_INVALID_PAYLOAD: Final[dict[int, tuple[int, str]]] = {
    pb.WORKER_REQUEST_ACK: (1008, "connect_worker_request_ack_invalid_payload"),
    pb.WORKER_REQUEST_EXTEND_LEASE: (1008, "connect_worker_request_extend_lease_invalid_payload"),
    pb.WORKER_REPLY: INTERNAL_ERROR,
}
"""Close code and reason for a payload that cannot be decoded, by the kind of its message."""


class WorkerMessages:
    """Handles the messages in the order in which it is given them. Times are monotonic seconds."""

    def __init__(
        self, executor: ExecutorModel, outgoing: Outgoing, draining_gateways: set[str]
    ) -> None:
        self.store_fails_until = 0.0
        """Nothing can be stored before: neither replies nor extensions nor heartbeats."""
        self._executor = executor
        self._outgoing = outgoing
        self._draining_gateways = draining_gateways

    def handle(self, connection: GatewayConnection, kind: int, payload: bytes, now: float) -> None:
        """Do what follows from one message."""
        # The constants of the module, because the attributes of the enum are slow to look up and a
        # simulation handles millions of messages.
        try:
            match kind:
                case pb.WORKER_HEARTBEAT:
                    self._heartbeat(connection, now)
                case pb.WORKER_REQUEST_EXTEND_LEASE:
                    self._extend_lease(connection, payload, now)
                case pb.WORKER_REQUEST_ACK:
                    request_id = pb.WorkerRequestAckData.FromString(payload).request_id
                    if not self._executor.acknowledged(request_id, connection, now):
                        text = f"acknowledgement of unknown request {request_id}"
                        self._outgoing.protocol_errors.append(text)
                case pb.WORKER_REPLY:
                    self._reply(connection, payload, now)
                case pb.WORKER_READY:
                    if connection.gateway in self._draining_gateways:
                        self._outgoing.close(connection, 1001, "connect_gateway_closing")
                    elif connection.phase is GatewayPhase.HANDSHAKING:
                        connection.phase = GatewayPhase.READY
                case pb.WORKER_PAUSE:
                    connection.paused = True
                    connection.phase = GatewayPhase.DRAINING
                    self._executor.fail_unacknowledged(connection)
                    self._executor.release_held(connection)
                case pb.WORKER_STATUS:
                    pass  # the server only logs it
                case _:
                    self._outgoing.protocol_errors.append(f"unexpected kind {kind}")
        except DECODE_ERRORS:
            self._outgoing.close(connection, *_INVALID_PAYLOAD[kind])

    def _heartbeat(self, connection: GatewayConnection, now: float) -> None:
        if now < self.store_fails_until:
            connection.failed_updates += 1
            if connection.failed_updates >= _FAILED_UPDATES:
                self._outgoing.close(connection, *INTERNAL_ERROR, mistake=False)
            return
        connection.failed_updates = 0
        connection.last_heartbeat_at = now
        connection.heartbeats += 1
        if connection.holds_work:
            self._executor.release_held(connection)
        self._outgoing.answer(connection, pb.GATEWAY_HEARTBEAT)

    def _extend_lease(self, connection: GatewayConnection, payload: bytes, now: float) -> None:
        data = pb.WorkerRequestExtendLeaseData.FromString(payload)
        if not is_ulid(data.lease_id):
            self._outgoing.close(connection, *_INVALID_PAYLOAD[pb.WORKER_REQUEST_EXTEND_LEASE])
            return
        if now < self.store_fails_until:
            self._outgoing.close(connection, *INTERNAL_ERROR, mistake=False)
            return
        new_id = self._executor.extend(data.request_id, data.lease_id, connection.instance, now)
        answer = pb.WorkerRequestExtendLeaseAckData(
            request_id=data.request_id, function_slug=data.function_slug, new_lease_id=new_id
        ).SerializeToString()
        self._outgoing.answer(connection, pb.WORKER_REQUEST_EXTEND_LEASE_ACK, answer)

    def _reply(self, connection: GatewayConnection, payload: bytes, now: float) -> None:
        response = pb.SDKResponse.FromString(payload)
        if self._executor.refuses_reply(response.request_id, connection):
            self._outgoing.protocol_errors.append(
                f"reply without an acknowledgement to {response.request_id}"
            )
            return
        if now < self.store_fails_until:
            self._outgoing.close(connection, *INTERNAL_ERROR, mistake=False)
            return
        self._executor.store(response, now, flushed=False)
        ack = pb.WorkerReplyAckData(request_id=response.request_id)
        self._outgoing.answer(connection, pb.WORKER_REPLY_ACK, ack.SerializeToString())
