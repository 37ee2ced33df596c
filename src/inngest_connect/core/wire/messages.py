"""What is written to the gateway, as bytes. One function per kind that has a payload."""

import functools
import json
from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.message import Message

from ...protocol import connect_pb2 as pb
from ..frozen import frozen
from ..settings import WorkerIdentity

_K = pb.GatewayMessageType

# Upper bound of what ConnectMessage adds around a payload of a few megabytes.
ENVELOPE_BYTES: Final = 16


@frozen
class ExecutionResult:
    """What a function returned, before it is a reply. ``status`` is an SDKResponseStatus."""

    status: pb.SDKResponseStatus
    body: bytes
    no_retry: bool = False
    retry_after: str | None = None
    request_version: int = 0
    sdk_version: str = ""


def error_result(
    code: str,
    message: str,
    *,
    name: str = "ConnectError",
    stack: str | None = None,
    no_retry: bool = False,
    retry_after: str | None = None,
    sdk_version: str = "",
) -> ExecutionResult:
    """An ERROR in the shape of the SDK's own errors."""
    error = {"code": code, "message": message, "name": name}
    if stack is not None:
        error["stack"] = stack
    body = json.dumps(error).encode()
    return ExecutionResult(
        pb.SDKResponseStatus.ERROR, body, no_retry, retry_after, sdk_version=sdk_version
    )


def envelope(kind: pb.GatewayMessageType, payload: bytes = b"") -> bytes:
    """Return one binary WebSocket message."""
    if not payload:
        return pb.ConnectMessage(kind=kind).SerializeToString()
    # What protobuf would write, in less than half of the time and without two copies of a large
    # payload: its length goes before it in groups of seven bits, the lowest first.
    rest, length = len(payload), bytearray()
    while rest > 0x7F:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    length.append(rest)
    return b"".join((_before_length(kind), length, payload))


@functools.cache
def _before_length(kind: pb.GatewayMessageType) -> bytes:
    """The field of the kind, and the tag of the payload: field 2, with a length."""
    return pb.ConnectMessage(kind=kind).SerializeToString() + b"\x12"


def _encode(kind: pb.GatewayMessageType, payload: Message) -> bytes:
    return envelope(kind, payload.SerializeToString())


# Looked up once: reading a member of a protobuf enum costs as much as creating a small message.
_WORKER_REQUEST_ACK: Final = _K.WORKER_REQUEST_ACK
_WORKER_REPLY: Final = _K.WORKER_REPLY

# Without a payload, so they are the same bytes every time.
HEARTBEAT: Final = envelope(_K.WORKER_HEARTBEAT)
READY: Final = envelope(_K.WORKER_READY)
PAUSE: Final = envelope(_K.WORKER_PAUSE)


def worker_connect(
    identity: WorkerIdentity, connection_id: str, session_token: str, sync_token: str
) -> bytes:
    """WORKER_CONNECT. Its manual readiness keeps requests away until WORKER_READY is sent."""
    data = pb.WorkerConnectRequestData(
        connection_id=connection_id,
        instance_id=identity.instance_id,
        auth_data=pb.AuthData(session_token=session_token, sync_token=sync_token),
        capabilities=identity.capabilities,
        apps=[
            pb.AppConfiguration(app_name=a.name, app_version=a.version, functions=a.functions)
            for a in identity.apps
        ],
        worker_manual_readiness_ack=True,
        system_attributes=pb.SystemAttributes(
            cpu_cores=identity.cpu_cores,
            mem_bytes=identity.memory_bytes,
            os=identity.operating_system,
        ),
        environment=identity.environment,
        framework=identity.framework,
        platform=identity.platform,
        sdk_version=identity.sdk_version,
        sdk_language=identity.sdk_language,
        max_worker_concurrency=identity.max_worker_concurrency,
    )
    data.started_at.FromNanoseconds(int(identity.started_at * 1e9))
    return _encode(_K.WORKER_CONNECT, data)


def without_payload(request: pb.GatewayExecutorRequestData) -> pb.GatewayExecutorRequestData:
    """A copy that holds the names of a request alone.

    A copy, because a cleared field keeps its memory until the whole message is freed.
    """
    return pb.GatewayExecutorRequestData(
        **_names(request), app_name=request.app_name, lease_id=request.lease_id
    )


def request_ack(request: pb.GatewayExecutorRequestData) -> bytes:
    """WORKER_REQUEST_ACK."""
    return _encode(_WORKER_REQUEST_ACK, pb.WorkerRequestAckData(**_names(request)))


def extend_lease(request: pb.GatewayExecutorRequestData, lease_id: str) -> bytes:
    """WORKER_REQUEST_EXTEND_LEASE."""
    return _encode(
        _K.WORKER_REQUEST_EXTEND_LEASE,
        pb.WorkerRequestExtendLeaseData(**_names(request), lease_id=lease_id),
    )


def _names(request: pb.GatewayExecutorRequestData) -> dict[str, Any]:
    """What every message about a request repeats of it."""
    return {
        "request_id": request.request_id,
        "account_id": request.account_id,
        "env_id": request.env_id,
        "app_id": request.app_id,
        "function_slug": request.function_slug,
        # Optional in the protocol: to set it empty is not the same as not to set it.
        "step_id": request.step_id if request.HasField("step_id") else None,
        "system_trace_ctx": request.system_trace_ctx,
        "user_trace_ctx": request.user_trace_ctx,
        "run_id": request.run_id,
    }


def reply_payload(request: pb.GatewayExecutorRequestData, result: ExecutionResult) -> bytes:
    """The SDKResponse alone, as the flush endpoint takes it.

    ``system_trace_ctx`` is echoed in every reply, errors too: the flush endpoint refuses a reply
    without it (docs/protocol.md#replies).
    """
    return pb.SDKResponse(
        request_id=request.request_id,
        account_id=request.account_id,
        env_id=request.env_id,
        app_id=request.app_id,
        status=result.status,
        body=result.body,
        no_retry=result.no_retry,
        retry_after=result.retry_after,
        sdk_version=result.sdk_version,
        # The field is unsigned, and a negative number would raise.
        request_version=max(result.request_version, 0),
        system_trace_ctx=request.system_trace_ctx,
        user_trace_ctx=request.user_trace_ctx,
        run_id=request.run_id,
    ).SerializeToString()


def reply(payload: bytes) -> bytes:
    """WORKER_REPLY around an SDKResponse."""
    return envelope(_WORKER_REPLY, payload)


def worker_status(in_flight_request_ids: Iterable[str], shutdown_requested: bool) -> bytes:
    """WORKER_STATUS."""
    return _encode(
        _K.WORKER_STATUS,
        pb.WorkerStatusData(
            in_flight_request_ids=in_flight_request_ids, shutdown_requested=shutdown_requested
        ),
    )
