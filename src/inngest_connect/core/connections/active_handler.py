"""ActiveHandler: what is received on a connection that has been ACTIVE, until it is RETIRED."""

from typing import Final

from ...protocol import connect_pb2 as pb
from .generation import Generation
from .inbound import (
    GatewayClosing,
    HeartbeatAcked,
    Inbound,
    LeaseAnswered,
    Malformed,
    ReplyAcked,
    RequestArrived,
)

_K = pb.GatewayMessageType
# Looked up once: reading a member of a protobuf enum costs as much as parsing a small message.
_GATEWAY_EXECUTOR_REQUEST: Final = _K.GATEWAY_EXECUTOR_REQUEST
_WORKER_REPLY_ACK: Final = _K.WORKER_REPLY_ACK
_WORKER_REQUEST_EXTEND_LEASE_ACK: Final = _K.WORKER_REQUEST_EXTEND_LEASE_ACK
_GATEWAY_HEARTBEAT: Final = _K.GATEWAY_HEARTBEAT

# Characters of an id or a name. They are kept for minutes, and are keys of tables.
LONGEST_NAME: Final = 1024
# Bytes of a trace context. It is echoed in the acknowledgement, in each extension and in the reply,
# which must not become too large for the gateway because of it.
LONGEST_TRACE: Final = 1024 * 1024


class ActiveHandler:
    """Reads what the phases ACTIVE, DRAINING, REPLACED and CLOSING receive."""

    def receive(
        self, generation: Generation, kind: int, payload: bytes, now: float
    ) -> Inbound | None:
        """Read one message. Raises one of DECODE_ERRORS for a payload that cannot be read."""
        if kind == _GATEWAY_EXECUTOR_REQUEST:
            request = pb.GatewayExecutorRequestData.FromString(payload)
            if not request.request_id:
                return Malformed("request_without_id")
            # Only a long message can hold a long name; a short one costs one comparison here.
            if len(payload) > LONGEST_NAME and _has_oversized_name(request):
                return Malformed("request_with_oversized_name")
            return RequestArrived(request)
        if kind == _WORKER_REPLY_ACK:
            return ReplyAcked(pb.WorkerReplyAckData.FromString(payload).request_id)
        if kind == _WORKER_REQUEST_EXTEND_LEASE_ACK:
            # Without a new id it is a refusal. An empty id is one too: nothing could be extended
            # with it.
            answer = pb.WorkerRequestExtendLeaseAckData.FromString(payload)
            return LeaseAnswered(answer.request_id, answer.new_lease_id or None)
        if kind == _GATEWAY_HEARTBEAT:
            assert generation.heartbeat is not None
            round_trip = generation.heartbeat.answered(now)
            return HeartbeatAcked(round_trip) if round_trip is not None else None
        return GatewayClosing()


def _has_oversized_name(request: pb.GatewayExecutorRequestData) -> bool:
    names = (
        request.request_id,
        request.account_id,
        request.env_id,
        request.app_id,
        request.app_name,
        request.function_id,
        request.function_slug,
        request.step_id,
        request.run_id,
        request.lease_id,
        request.job_id,
    )
    traces = request.system_trace_ctx, request.user_trace_ctx
    return any(len(name) > LONGEST_NAME for name in names) or any(
        len(trace) > LONGEST_TRACE for trace in traces
    )
