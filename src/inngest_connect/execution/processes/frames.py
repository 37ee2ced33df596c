"""The protocol between the parent and a child process, over a socket pair.

A frame is the length of what follows it (4 bytes, big-endian), one byte of kind, and a body. The
child sends READY or FAILED. Then the parent sends RUN and CANCEL, and closes its half to have the
child stop; the child sends one RESULT or CANCELLED for each RUN, and a NOTICE when a function does
more than fail. Neither side trusts the other: what does not fit is a MalformedFrame.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ...core.inputs import ExecutionFinished, FunctionMisbehaved
from ...core.wire.messages import ExecutionResult, error_result, reply_payload
from ...core.wire.remote_text import clean
from ...protocol import DECODE_ERRORS
from ...protocol import connect_pb2 as pb

RUN: Final = 1
"""A GatewayExecutorRequestData."""
CANCEL: Final = 2
"""A request id, as is the body of CANCELLED."""
READY: Final = 3
"""App ids with the slugs of their functions, as JSON."""
FAILED: Final = 4
"""Why the child cannot serve: human-readable text."""
RESULT: Final = 5
"""An SDKResponse, of which only the result and the request id are set."""
CANCELLED: Final = 6
NOTICE: Final = 7
"""A FunctionMisbehaved, as JSON."""

_STATUSES: Final = (
    pb.SDKResponseStatus.DONE,
    pb.SDKResponseStatus.NOT_COMPLETED,
    pb.SDKResponseStatus.ERROR,
)

MAX_RESULT_BYTES: Final = 64 * 1024 * 1024
"""Largest frame that a parent accepts. The gateway takes far smaller replies."""
MAX_REQUEST_BYTES: Final = 2**31 - 1
"""Largest frame that a child accepts: ``max_message_bytes`` has limited it already."""

_HEADER: Final = struct.Struct(">IB")
_KINDS: Final = frozenset(range(RUN, NOTICE + 1))


class MalformedFrame(Exception):
    """The other process violates this protocol."""


def frame(kind: int, body: bytes) -> bytes:
    """Encode one frame."""
    return _HEADER.pack(len(body) + 1, kind) + body


class FrameReader:
    """Cuts a stream of bytes into frames of at most ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield kind and body of each frame that is complete. Raises MalformedFrame."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _HEADER.size:
            length, kind = _HEADER.unpack_from(buffer, at)
            if kind not in _KINDS or not 1 <= length <= self._max_bytes:
                raise MalformedFrame(f"a frame of kind {kind} and {length} bytes")
            end = at + 4 + length
            if len(buffer) < end:
                break
            yield kind, bytes(memoryview(buffer)[at + _HEADER.size : end])
            at = end
        del buffer[:at]


def ready_frame(functions: Mapping[str, frozenset[str]]) -> bytes:
    """READY with the functions that the child has."""
    slugs = {app: sorted(names) for app, names in functions.items()}
    return frame(READY, json.dumps(slugs).encode())


def ready_functions(body: bytes) -> dict[str, frozenset[str]]:
    """Decode READY. Raises MalformedFrame."""
    try:
        functions: dict[str, Any] = json.loads(body)
        return {app: frozenset(slugs) for app, slugs in functions.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedFrame("a READY that is not a JSON object of apps") from error


def finished_frame(finished: ExecutionFinished) -> bytes:
    """RESULT or CANCELLED. A result that is too large becomes an error with its size."""
    if finished.result is None:
        return frame(CANCELLED, finished.request_id.encode())
    result = finished.result
    if len(result.body) > MAX_RESULT_BYTES // 2:
        text = f"the function's output has {len(result.body)} bytes; return less, or a reference"
        # An error that Inngest may retry stays one that it may retry.
        final = result.no_retry or result.status != pb.SDKResponseStatus.ERROR
        result = error_result("output_too_large", text, no_retry=final)
    request = pb.GatewayExecutorRequestData(request_id=finished.request_id)
    return frame(RESULT, reply_payload(request, result))


def finished_from(kind: int, body: bytes) -> ExecutionFinished:
    """Decode RESULT or CANCELLED. Raises MalformedFrame."""
    try:
        if kind == CANCELLED:
            return ExecutionFinished(body.decode(), None)
        response = pb.SDKResponse.FromString(body)
    except DECODE_ERRORS as error:
        raise MalformedFrame("a result that cannot be decoded") from error
    if response.status not in _STATUSES:
        # An unknown value of an enum survives decoding, and would fail when it is used.
        raise MalformedFrame(f"a result with the status {response.status}")
    result = ExecutionResult(
        status=response.status,
        body=response.body,
        no_retry=response.no_retry,
        retry_after=response.retry_after if response.HasField("retry_after") else None,
        request_version=response.request_version,
        sdk_version=response.sdk_version,
    )
    return ExecutionFinished(response.request_id, result)


def notice_frame(notice: FunctionMisbehaved) -> bytes:
    """NOTICE of what user code did."""
    fields = {"request_id": notice.request_id, "text": notice.text}
    return frame(NOTICE, json.dumps(fields).encode())


def notice_from(body: bytes) -> FunctionMisbehaved:
    """Decode NOTICE. Raises MalformedFrame."""
    try:
        fields: dict[str, Any] = json.loads(body)
        return FunctionMisbehaved(str(fields["request_id"]), clean(str(fields["text"])))
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise MalformedFrame("a NOTICE that is not a JSON object") from error
