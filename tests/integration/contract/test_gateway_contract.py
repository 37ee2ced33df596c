"""What docs/protocol.md says of the gateway, asked of the model and of a real server alike.

The real one is a development server whose address is in ``INNGEST_DEV_URL``; without it only the
model is asked. What needs minutes, a drain or a second gateway cannot be reached from outside.
"""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inngest_connect.core.wire.durations import parse_duration
from inngest_connect.core.wire.ulid import is_ulid
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import EmbeddedGateway
from tests.integration.contract.contract_worker import SLUG, Closed, ContractWorker

pytestmark = pytest.mark.integration
INVALID = Closed(1008, "connect_worker_hello_invalid_payload")
ULID = "01JZZZZZZZZZZZZZZZZZZZZZZZ"


@pytest.fixture(params=["model", "server"])
async def origin(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    if request.param == "server":
        address = os.environ.get("INNGEST_DEV_URL")
        if not address:
            pytest.skip("INNGEST_DEV_URL is not set, so no real server is asked")
        yield address
    else:
        async with EmbeddedGateway(on_run=lambda _: None) as gateway:
            yield gateway.api_origin


async def test_the_handshake_ends_with_intervals_and_heartbeats_are_answered(origin: str) -> None:
    async with ContractWorker(origin) as worker:
        hello = await worker.receives(pb.GATEWAY_HELLO)
        worker.send(pb.WORKER_CONNECT, worker.introduction())
        ready = pb.GatewayConnectionReadyData.FromString(
            await worker.receives(pb.GATEWAY_CONNECTION_READY)
        )
        worker.send(pb.WORKER_READY)
        worker.send(pb.WORKER_HEARTBEAT)
        await worker.receives(pb.GATEWAY_HEARTBEAT)

    assert hello == b""
    assert parse_duration(ready.heartbeat_interval) > 0
    assert parse_duration(ready.extend_lease_interval) > 0


@pytest.mark.parametrize(
    ("kind", "payload", "close"),
    [
        (pb.WORKER_HEARTBEAT, b"", Closed(1008, "connect_worker_hello_invalid_msg")),
        (pb.WORKER_CONNECT, b"\xff", INVALID),
    ],
)
async def test_another_first_message_is_closed(
    origin: str, kind: int, payload: bytes, close: Closed
) -> None:
    async with ContractWorker(origin) as worker:
        await worker.receives(pb.GATEWAY_HELLO)
        worker.send(kind, payload)

        assert await worker.is_closed() == close


@pytest.mark.parametrize(
    ("changes", "close"),
    [
        ({"connection_id": "no"}, INVALID),
        ({"instance_id": ""}, INVALID),
        ({"apps": []}, INVALID),
        ({"auth_data": pb.AuthData()}, Closed(1008, "connect_authentication_failed")),
        (
            {"apps": [pb.AppConfiguration(app_name=f"{n}", functions=b"[]") for n in range(11)]},
            Closed(1008, "connect_too_many_apps_per_connection"),
        ),
        ({"capabilities": b""}, Closed(1011, "connect_internal_error")),
    ],
)
async def test_a_wrong_introduction_is_closed(
    origin: str, changes: dict[str, Any], close: Closed
) -> None:
    async with ContractWorker(origin) as worker:
        await worker.receives(pb.GATEWAY_HELLO)
        worker.send(pb.WORKER_CONNECT, worker.introduction(**changes))

        assert await worker.is_closed() == close


async def test_bytes_that_are_no_message_are_closed(origin: str) -> None:
    async with ContractWorker(origin) as worker:
        await worker.becomes_ready()
        worker.send_bytes(b"\xff\xff")

        assert await worker.is_closed() == Closed(1007, "failed to unmarshal Protobuf")


@pytest.mark.parametrize(
    ("kind", "payload", "close"),
    [
        (
            pb.WORKER_REQUEST_ACK,
            b"\xff",
            Closed(1008, "connect_worker_request_ack_invalid_payload"),
        ),
        (
            pb.WORKER_REQUEST_EXTEND_LEASE,
            b"\xff",
            Closed(1008, "connect_worker_request_extend_lease_invalid_payload"),
        ),
        (
            pb.WORKER_REQUEST_EXTEND_LEASE,
            pb.WorkerRequestExtendLeaseData(request_id="r", lease_id="no").SerializeToString(),
            Closed(1008, "connect_worker_request_extend_lease_invalid_payload"),
        ),
        (pb.WORKER_REPLY, b"\xff", Closed(1011, "connect_internal_error")),
    ],
)
async def test_a_payload_that_cannot_be_read_is_closed(
    origin: str, kind: int, payload: bytes, close: Closed
) -> None:
    async with ContractWorker(origin) as worker:
        await worker.becomes_ready()
        worker.send(kind, payload)

        assert await worker.is_closed() == close


async def test_a_message_above_the_limit_is_closed(origin: str) -> None:
    async with ContractWorker(origin) as worker:
        await worker.becomes_ready()
        worker.send(pb.WORKER_STATUS, b"0" * (8 * 1024 * 1024))
        closed = await worker.is_closed()

    assert closed.code == 1009


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (pb.WORKER_REQUEST_ACK, pb.WorkerRequestAckData(request_id="r").SerializeToString()),
        (99, b""),
        (pb.WORKER_STATUS, b"\xff"),
        (pb.WORKER_READY, b""),
        (pb.WORKER_PAUSE, b""),
    ],
)
async def test_what_is_unknown_or_needs_no_answer_ends_nothing(
    origin: str, kind: int, payload: bytes
) -> None:
    async with ContractWorker(origin) as worker:
        await worker.becomes_ready()
        worker.send(kind, payload)
        worker.send(pb.WORKER_HEARTBEAT)

        await worker.receives(pb.GATEWAY_HEARTBEAT)


async def test_an_extension_of_an_unknown_request_is_refused(origin: str) -> None:
    data = pb.WorkerRequestExtendLeaseData(request_id="r", lease_id=ULID)
    async with ContractWorker(origin) as worker:
        await worker.becomes_ready()
        worker.send(pb.WORKER_REQUEST_EXTEND_LEASE, data.SerializeToString())
        answer = pb.WorkerRequestExtendLeaseAckData.FromString(
            await worker.receives(pb.WORKER_REQUEST_EXTEND_LEASE_ACK)
        )

    assert answer.request_id == "r"
    assert not answer.HasField("new_lease_id")


async def test_a_request_is_leased_extended_and_answered(origin: str) -> None:
    async with ContractWorker(origin) as worker:
        await worker.becomes_ready()
        await worker.triggers()
        request = pb.GatewayExecutorRequestData.FromString(
            await worker.receives(pb.GATEWAY_EXECUTOR_REQUEST)
        )
        request_id = request.request_id
        ack = pb.WorkerRequestAckData(request_id=request_id)
        worker.send(pb.WORKER_REQUEST_ACK, ack.SerializeToString())
        first = await extended(worker, request, request.lease_id)
        replayed = await extended(worker, request, request.lease_id)
        second = await extended(worker, request, first)
        response = pb.SDKResponse(
            request_id=request_id,
            status=pb.SDKResponseStatus.DONE,
            body=b"1",
            sdk_version="inngest-py:v0",
            system_trace_ctx=request.system_trace_ctx,
        ).SerializeToString()
        acknowledged = []
        for _ in range(2):
            worker.send(pb.WORKER_REPLY, response)
            payload = await worker.receives(pb.WORKER_REPLY_ACK)
            acknowledged.append(pb.WorkerReplyAckData.FromString(payload).request_id)

    assert request.app_name == "contract"
    assert request.function_slug == SLUG
    assert is_ulid(request.lease_id)
    assert first not in ("", request.lease_id)
    assert replayed in ("", first)  # servers before August 2026 refuse it
    assert second not in ("", first)
    assert acknowledged == [request_id, request_id]


async def extended(
    worker: ContractWorker, request: pb.GatewayExecutorRequestData, lease_id: str
) -> str:
    """The new lease id; empty for a refusal."""
    data = pb.WorkerRequestExtendLeaseData(request_id=request.request_id, lease_id=lease_id)
    worker.send(pb.WORKER_REQUEST_EXTEND_LEASE, data.SerializeToString())
    payload = await worker.receives(pb.WORKER_REQUEST_EXTEND_LEASE_ACK)
    return pb.WorkerRequestExtendLeaseAckData.FromString(payload).new_lease_id


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (pb.SDKResponse(request_id="r", system_trace_ctx=b"{}").SerializeToString(), 200),
        (pb.SDKResponse(request_id="r", system_trace_ctx=b"").SerializeToString(), 400),
        (b"\xff", 400),
        (b"", 400),
    ],
)
async def test_a_flush_stores_a_reply_with_a_trace_context(
    origin: str, body: bytes, status: int
) -> None:
    async with ContractWorker(origin) as worker:
        answer = await worker.flushes(body)

    assert answer.status_code == status
    if status == 200:
        assert pb.FlushResponse.FromString(answer.content).request_id == "r"
