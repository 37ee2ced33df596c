"""The frames between a ProcessExecutor and its children."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_connect.core.inputs import ExecutionFinished
from inngest_connect.core.wire.messages import ExecutionResult
from inngest_connect.execution.processes import frames
from inngest_connect.protocol import connect_pb2 as pb

pytestmark = pytest.mark.unit
KINDS = st.integers(frames.RUN, frames.CANCELLED)


def read(data: bytes, max_bytes: int = 1000) -> list[tuple[int, bytes]]:
    return list(frames.FrameReader(max_bytes).feed(data))


@pytest.mark.scenario("security-processes")
@given(st.lists(st.tuples(KINDS, st.binary(max_size=50))), st.lists(st.integers(0, 300)))
def test_frames_arrive_whole_however_the_stream_is_cut(
    sent: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(frames.frame(kind, body) for kind, body in sent)
    reader = frames.FrameReader(1000)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]

    received = [
        frame
        for start, end in itertools.pairwise(edges)
        for frame in reader.feed(stream[start:end])
    ]

    assert received == sent


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x02\x00x",  # no kind has the number 0
        b"\x00\x00\x00\x02\x08x",
        b"\x00\x00\x00\x00\x01x",  # not even a kind
        b"\x00\x00\x03\xe9\x01x",  # 1001 bytes
    ],
)
def test_what_is_no_frame_is_found_before_it_is_buffered(data: bytes) -> None:
    with pytest.raises(frames.MalformedFrame):
        read(data)


def test_the_largest_frame_is_allowed() -> None:
    assert read(frames.frame(frames.RUN, b"x" * 999)) == [(frames.RUN, b"x" * 999)]


RESULTS = [
    ExecutionResult(pb.SDKResponseStatus.DONE, b'"x"', sdk_version="inngest-py:v1"),
    ExecutionResult(pb.SDKResponseStatus.ERROR, b"{}", True, "2026-01-01T00:00:00Z", 2),
    ExecutionResult(pb.SDKResponseStatus.ERROR, b"", retry_after=""),
    None,
]


@pytest.mark.parametrize("result", RESULTS)
def test_a_result_arrives_as_it_was(result: ExecutionResult | None) -> None:
    finished = ExecutionFinished("request", result)
    ((kind, body),) = read(frames.finished_frame(finished))

    assert frames.finished_from(kind, body) == finished


def test_a_result_that_is_too_large_becomes_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames, "MAX_RESULT_BYTES", 1000)
    result = ExecutionResult(pb.SDKResponseStatus.DONE, b"x" * 501)
    ((kind, body),) = read(frames.finished_frame(ExecutionFinished("request", result)))
    received = frames.finished_from(kind, body).result

    assert received is not None
    assert (received.status, received.no_retry) == (pb.SDKResponseStatus.ERROR, True)
    assert json.loads(received.body)["code"] == "output_too_large"
    assert "501 bytes" in json.loads(received.body)["message"]


@pytest.mark.parametrize("no_retry", [False, True])
def test_an_error_that_is_too_large_may_be_retried_as_before(
    no_retry: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MAX_RESULT_BYTES", 1000)
    result = ExecutionResult(pb.SDKResponseStatus.ERROR, b"x" * 501, no_retry)
    ((kind, body),) = read(frames.finished_frame(ExecutionFinished("request", result)))
    received = frames.finished_from(kind, body).result

    assert received is not None
    assert received.no_retry is no_retry


@pytest.mark.parametrize("status", [3, 4, 77])
def test_a_result_with_a_status_that_no_function_has_is_malformed(status: int) -> None:
    """Protobuf decodes any number; it would fail where it is used."""
    body = pb.SDKResponse(request_id="r").SerializeToString() + bytes([5 << 3, status])

    with pytest.raises(frames.MalformedFrame, match=f"status {status}"):
        frames.finished_from(frames.RESULT, body)


@pytest.mark.parametrize(("kind", "body"), [(frames.RESULT, b"\xff"), (frames.CANCELLED, b"\xff")])
def test_a_result_that_cannot_be_decoded_is_malformed(kind: int, body: bytes) -> None:
    with pytest.raises(frames.MalformedFrame):
        frames.finished_from(kind, body)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"app": 1}', b"\xff"])
def test_a_ready_that_cannot_be_decoded_is_malformed(body: bytes) -> None:
    with pytest.raises(frames.MalformedFrame):
        frames.ready_functions(body)


def test_functions_arrive_as_they_were() -> None:
    functions = {"app": frozenset({"app-a", "app-b"}), "empty": frozenset[str]()}
    ((_, body),) = read(frames.ready_frame(functions))

    assert frames.ready_functions(body) == functions
