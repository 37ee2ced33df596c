"""What is written about a request: errors in the shape of the SDK."""

import json

import pytest

from inngest_connect.core.inputs import FlushFailed
from inngest_connect.core.wire.messages import ExecutionResult, envelope, error_result
from inngest_connect.protocol import connect_pb2 as pb

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("kind", pb.GatewayMessageType.values())
@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_an_envelope_is_what_protobuf_writes(kind: pb.GatewayMessageType, size: int) -> None:
    payload = bytes(size)

    assert envelope(kind, payload) == (
        pb.ConnectMessage(kind=kind, payload=payload).SerializeToString()
    )


def test_an_error_is_retryable_and_has_no_stack_unless_one_is_given() -> None:
    result = error_result("function_not_found", "no such function")

    assert json.loads(result.body) == {
        "code": "function_not_found",
        "message": "no such function",
        "name": "ConnectError",
    }
    assert result == ExecutionResult(pb.SDKResponseStatus.ERROR, result.body)


def test_an_error_of_a_function_has_its_name_and_its_stack() -> None:
    result = error_result(
        "unknown", "wrong", name="ValueError", stack="line 1", no_retry=True, sdk_version="py:v1"
    )

    assert json.loads(result.body) == {
        "code": "unknown",
        "message": "wrong",
        "name": "ValueError",
        "stack": "line 1",
    }
    assert (result.status, result.no_retry) == (pb.SDKResponseStatus.ERROR, True)
    assert result.sdk_version == "py:v1"


def test_inputs_are_values_that_can_be_compared_and_collected() -> None:
    one, same, other = (FlushFailed("r1", 500, text) for text in ("down", "down", "up"))

    assert one == same
    assert one != other
    assert hash(one) == hash(same)
    assert hash(one) != hash(other)
