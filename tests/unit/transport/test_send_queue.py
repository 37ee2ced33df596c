"""What the kernel takes of a WebSocket's messages, in which order, and what is known of it."""

import socket
import struct
from typing import Any

import pytest

from inngest_connect.transport.send_queue import LONGEST_QUEUE, SendQueue

pytestmark = pytest.mark.unit


class Line:
    """A picows transport and what is below it. ``room`` is how many bytes the kernel takes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent: list[bytes] = []
        self.buffered = 0
        self.closing = False
        self.limits: tuple[int, int] | None = None
        self.is_close_frame_sent = self.is_disconnected = False
        self.underlying_transport = self
        self.corks: list[bool] = []
        self.counters: tuple[int, int, int] | None = None
        """Bytes taken, received and unsent, as the kernel counts them; None: it does not say."""

    def send(self, kind: object, data: bytes) -> None:
        self.sent.append(data)
        self.buffered += max(len(data) - self.room, 0)
        self.room = max(self.room - len(data), 0)

    def send_pong(self, data: bytes) -> None:
        self.send(None, b"pong " + data)

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        self.limits = (high, low)

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, name: str) -> Any:
        return self

    def setsockopt(self, level: int, option: int, value: bool) -> None:
        self.corks.append(value)

    def getsockopt(self, *_: Any) -> bytes:
        if self.counters is None:
            raise OSError("not a socket")
        taken, received, unsent = self.counters
        return bytes(120) + struct.pack("=QQIII", taken, received, 0, 0, unsent) + bytes(44)

    def take(self, room: int) -> None:
        """The kernel takes ``room`` bytes more."""
        taken = min(self.buffered, room)
        self.buffered -= taken
        self.room = room - taken


def queue_on(line: Line) -> SendQueue:
    return SendQueue(line)  # type: ignore[arg-type]


def test_what_the_kernel_takes_is_acknowledged() -> None:
    line = Line(100)
    queue = queue_on(line)
    queue.put(b"ack 1", "r1")
    queue.put(b"ack 2", "r2")

    assert queue.flush() == ["r1", "r2"]
    assert line.limits == (0, 0)
    assert queue.drop() == []


def test_an_acknowledgement_in_the_transports_buffer_counts_when_it_has_left_it() -> None:
    line = Line(7)
    queue = queue_on(line)
    for number in (1, 2, 3):
        queue.put(b"ack %d" % number, f"r{number}")

    assert queue.flush() == ["r1"]
    assert queue.flush() == []
    assert line.sent == [b"ack 1", b"ack 2"]
    line.take(100)
    assert queue.drained() == "r2"
    assert queue.flush() == ["r3"]


def test_what_the_kernel_has_not_taken_is_lost_with_the_connection() -> None:
    line = Line(7)
    queue = queue_on(line)
    for number in (1, 2, 3):
        queue.put(b"ack %d" % number, f"r{number}")

    written = queue.flush()

    assert written == ["r1"]
    assert sorted(queue.drop()) == ["r2", "r3"]


def test_a_failed_write_acknowledges_nothing() -> None:
    line = Line(100)
    queue = queue_on(line)
    queue.put(b"ack 1", "r1")
    line.closing = True

    assert queue.flush() == []
    assert queue.drop() == ["r1"]


def test_nothing_is_acknowledged_after_the_close_frame() -> None:
    line = Line(100)
    queue = queue_on(line)
    queue.put(b"ack 1", "r1")
    line.is_close_frame_sent = True

    assert queue.flush() == []
    assert line.sent == []
    assert queue.drop() == ["r1"]


def test_replies_are_overtaken_by_everything_else() -> None:
    line = Line(10)
    queue = queue_on(line)
    for number in range(3):
        queue.put_reply(b"a long reply %d" % number, str(number))
    queue.flush()
    queue.put(b"heartbeat")
    queue.pong = b"x"

    line.take(1000)
    queue.drained()
    queue.flush()

    assert line.sent == [
        b"a long reply 0",
        b"pong x",
        b"heartbeat",
        b"a long reply 1",
        b"a long reply 2",
    ]


def test_what_waits_is_bounded() -> None:
    line = Line(0)
    queue = queue_on(line)
    megabyte = b"x" * 2**20
    queue.put(b"blocked")
    queue.flush()

    replies = sum(queue.put_reply(megabyte, str(number)) for number in range(100))
    others = sum(queue.put(megabyte) for _ in range(100))

    assert replies == 32
    assert others == 33
    assert LONGEST_QUEUE == 32 * 2**20


def test_a_reply_that_was_delivered_otherwise_is_not_written_and_leaves_its_room() -> None:
    line = Line(0)
    queue = queue_on(line)
    queue.put(b"blocked")
    queue.flush()
    half = bytes(LONGEST_QUEUE // 2)
    for name in ("r1", "r2"):
        queue.put_reply(name.encode() + half[2:], name)
    full = queue.put_reply(b"r3", "r3")

    queue.withdraw_reply("r1")
    queue.withdraw_reply("unknown")
    again = queue.put_reply(b"r3", "r3")
    line.take(2 * LONGEST_QUEUE)
    queue.drained()
    queue.flush()

    assert (full, again) == (False, True)
    assert [message[:2] for message in line.sent] == [b"bl", b"r2", b"r3"]


def test_a_reply_that_waits_already_takes_its_room_once() -> None:
    line = Line(10 * LONGEST_QUEUE)
    queue = queue_on(line)
    half = bytes(LONGEST_QUEUE // 2)

    twice = [queue.put_reply(half, "r1") for _ in range(3)]
    queue.flush()
    others = [queue.put_reply(half, name) for name in ("r2", "r3")]

    assert (twice, others) == ([True] * 3, [True] * 2)
    assert line.sent == [half]


def test_one_reply_may_always_wait() -> None:
    queue = queue_on(Line(0))

    assert queue.put_reply(b"x" * (LONGEST_QUEUE + 1), "r1")
    assert not queue.put_reply(b"x", "r2")


@pytest.mark.parametrize(("taken", "moved"), [(5, True), (0, False)])
def test_bytes_that_wait_show_whether_they_move(taken: int, moved: bool) -> None:
    line = Line(0)
    queue = queue_on(line)
    queue.put(b"heartbeat")
    queue.flush()

    assert queue.progress(frames=1) is None
    line.take(taken)
    assert queue.progress(frames=1) is moved


def test_a_line_without_a_backlog_shows_nothing() -> None:
    queue = queue_on(Line(1000))
    queue.progress(frames=0)
    queue.put(b"heartbeat")
    queue.flush()

    assert queue.progress(frames=0) is None


LINUX = pytest.mark.skipif(not hasattr(socket, "TCP_CORK"), reason="Linux only")


@LINUX
@pytest.mark.parametrize("room", [100, 2, 0])
@pytest.mark.parametrize(("messages", "corks"), [(1, []), (3, [True, False])])
def test_the_kernel_holds_packets_back_for_no_longer_than_a_flush(
    messages: int, corks: list[bool], room: int
) -> None:
    """With a forgotten cork the last packet would wait for 200 ms."""
    line = Line(room)
    queue = queue_on(line)
    for number in range(messages):
        queue.put(b"x", str(number))
    queue.put_reply(b"y", "r1") if messages > 1 else None

    queue.flush()

    assert line.corks == corks


@LINUX
@pytest.mark.parametrize(
    ("counters", "frames", "moved"),
    [
        ((0, 500, 0), 0, True),  # a part of a long message
        ((0, 500, 0), 1, None),  # a message that is complete, which is a sign of life by itself
        ((0, 0, 0), 0, None),
        ((500, 0, 0), 0, None),  # the kernel of a peer that hangs takes this, too
    ],
)
def test_bytes_of_a_message_on_its_way_in_are_progress(
    counters: tuple[int, int, int], frames: int, moved: bool | None
) -> None:
    line = Line(100)
    line.counters = (0, 0, 0)
    queue = queue_on(line)
    queue.progress(0)

    line.counters = counters

    assert queue.progress(frames) is moved


@LINUX
@pytest.mark.parametrize(("taken", "moved"), [(300, True), (0, False)])
def test_what_waits_in_the_kernel_shows_whether_it_moves(taken: int, moved: bool) -> None:
    line = Line(100)
    line.counters = (0, 0, 900)
    queue = queue_on(line)
    queue.progress(0)

    line.counters = (taken, 0, 900 - taken)

    assert queue.progress(0) is moved


@LINUX
@pytest.mark.parametrize(("taken", "moved"), [(300, True), (0, False)])
def test_what_waits_in_this_process_only_shows_whether_it_moves(taken: int, moved: bool) -> None:
    """The kernel has sent all that it has, and the peer has not confirmed it."""
    line = Line(0)
    line.counters = (0, 0, 0)
    queue = queue_on(line)
    queue.put(b"x" * 900)
    queue.flush()
    queue.progress(0)

    line.counters = (taken, 0, 0)

    assert queue.progress(0) is moved


def test_replies_that_were_written_leave_room_for_others() -> None:
    line = Line(10 * LONGEST_QUEUE)
    queue = queue_on(line)
    large = bytes(LONGEST_QUEUE - 1)

    taken = [
        (queue.put_reply(large, "r1"), queue.put_reply(large, "r2"), queue.flush())
        for _ in range(3)
    ]

    assert taken == [(True, False, [])] * 3


def test_a_ping_is_answered_once() -> None:
    line = Line(100)
    queue = queue_on(line)
    queue.pong = b"x"

    queue.flush()
    queue.flush()

    assert line.sent == [b"pong x"]


def test_nothing_is_written_behind_a_message_that_the_kernel_has_not_taken_whole() -> None:
    line = Line(3)
    queue = queue_on(line)
    queue.put(b"heartbeat")
    queue.flush()
    queue.put(b"acknowledgement", "r1")
    queue.pong = b"x"

    assert queue.flush() == []
    assert line.sent == [b"heartbeat"]
