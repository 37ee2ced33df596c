"""The parts of one message: its limits begin with it, and end with it."""

from typing import NamedTuple

import picows
import pytest

from inngest_connect.core.connections.heartbeat import LONGEST_MESSAGE
from inngest_connect.transport.fragments import _MOST_FRAMES, Fragments, FrameRefused

pytestmark = pytest.mark.unit
MOST_BYTES = 10


class Frame(NamedTuple):
    """What is read of a frame of picows."""

    msg_type: picows.WSMsgType
    payload: bytes
    fin: bool

    @property
    def payload_size(self) -> int:
        return len(self.payload)

    def get_payload_as_bytes(self) -> bytes:
        return self.payload


def add(parts: Fragments, payload: bytes, *times: float, text: bool = False) -> list[bytes | None]:
    """One message, ``payload`` in each of its frames, which come at ``times``."""
    first = picows.WSMsgType.TEXT if text else picows.WSMsgType.BINARY
    kinds = [first, *[picows.WSMsgType.CONTINUATION] * (len(times) - 1)]
    return [
        parts.add(Frame(kind, payload, number == len(times)), now)  # type: ignore[arg-type]
        for number, (kind, now) in enumerate(zip(kinds, times, strict=True), 1)
    ]


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize(
    ("payload", "frames", "seconds"),
    [
        (b"x" * (MOST_BYTES // 2), 2, 0.0),
        (b"", _MOST_FRAMES, 0.0),
        (b"x", 2, LONGEST_MESSAGE),
    ],
    ids=["bytes", "frames", "seconds"],
)
def test_each_message_of_a_connection_may_take_the_whole_limit(
    payload: bytes, frames: int, seconds: float, text: bool
) -> None:
    parts = Fragments(MOST_BYTES)

    for begun_at in (100.0, 5000.0, 9000.0):
        times = [begun_at] * (frames - 1) + [begun_at + seconds]
        *rest, message = add(parts, payload, *times, text=text)

        assert not any(rest)
        assert message == (b"" if text else payload * frames)
        assert parts.is_text is text


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize(
    ("payload", "frames", "seconds", "code"),
    [
        (b"x" * (MOST_BYTES // 2), 3, 0.0, 1009),
        (b"", _MOST_FRAMES + 1, 0.0, 1009),
        (b"x", 2, LONGEST_MESSAGE + 1.0, 1008),
    ],
    ids=["bytes", "frames", "seconds"],
)
def test_a_later_message_is_limited_as_the_first_one(
    payload: bytes, frames: int, seconds: float, code: int, text: bool
) -> None:
    parts = Fragments(MOST_BYTES)
    add(parts, b"x", 0.0, 0.0)
    times = [5000.0] * (frames - 1) + [5000.0 + seconds]

    with pytest.raises(FrameRefused) as refused:
        add(parts, payload, *times, text=text)

    assert refused.value.code == code


def test_a_text_leaves_nothing_in_the_message_behind_it() -> None:
    parts = Fragments(MOST_BYTES)
    add(parts, b"text", 0.0, 0.0, text=True)

    assert add(parts, b"data", 1.0, 1.0) == [None, b"datadata"]
