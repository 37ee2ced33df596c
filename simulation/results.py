"""Results: what the functions of a simulation return, different from request to request."""

from typing import Final

from inngest_connect.core.wire.messages import ExecutionResult
from inngest_connect.protocol import connect_pb2 as pb

from .invariants import SECRET

REPLY_LIMIT: Final = 1_000
"""Bytes of a reply that some schedules allow; ``_LONG`` fits, and not with what a reply adds."""
_SHORT: Final = f'"{SECRET}"'.encode() * 20
_LONG: Final = b'"%s"' % (SECRET.encode() * 225)
_STATUS: Final = pb.SDKResponseStatus
_RESULTS: Final = (
    ExecutionResult(_STATUS.DONE, _SHORT, sdk_version="py"),
    ExecutionResult(_STATUS.NOT_COMPLETED, _SHORT, request_version=2),
    ExecutionResult(_STATUS.ERROR, _SHORT, retry_after="30"),
    ExecutionResult(_STATUS.DONE, _LONG),
    ExecutionResult(_STATUS.ERROR, _SHORT, no_retry=True),
)


def result_of(position: int) -> ExecutionResult:
    """Return what the function of the request at this position of a schedule returns."""
    return _RESULTS[position % len(_RESULTS)]
