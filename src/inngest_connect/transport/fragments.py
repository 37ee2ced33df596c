"""Fragments: puts the frames of one message together (RFC 6455 section 5.4).

``picows`` delivers frames. The parts of a message are limited in size, number and time.
"""

from typing import Final

import picows

from ..core.connections.heartbeat import LONGEST_MESSAGE
from ..protocol import CLOSE_MESSAGE_TOO_BIG, CLOSE_POLICY_VIOLATION, CLOSE_PROTOCOL_ERROR

_MOST_FRAMES: Final = 65_536
"""Of one message. Frames may be empty, so their size alone limits neither memory nor time."""


class FrameRefused(Exception):
    """The connection has to end, with this code and the text as its reason."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Fragments:
    """Of one connection; ``count`` is how many there are of the message that is under way."""

    def __init__(self, max_message_bytes: int) -> None:
        self.count = 0
        self.is_text = False
        """Whether the last message was text, whose content is not kept."""
        self._max_bytes = max_message_bytes
        self._parts: list[bytes] = []
        self._bytes = 0
        self._begun_at = 0.0

    def add(self, frame: picows.WSFrame, now: float) -> bytes | None:
        """Return the message that is complete with this frame. Raises FrameRefused."""
        begins = frame.msg_type != picows.WSMsgType.CONTINUATION
        if begins == (self.count > 0):
            # What would be put together here was never sent as one message.
            text = "a message within a message" if begins else "a continuation of nothing"
            raise FrameRefused(CLOSE_PROTOCOL_ERROR, text)
        if begins:
            self.is_text = frame.msg_type == picows.WSMsgType.TEXT
            self._bytes = 0
            self._begun_at = now
        self._bytes += frame.payload_size
        self.count += 1
        if self._bytes > self._max_bytes:
            raise FrameRefused(
                CLOSE_MESSAGE_TOO_BIG, f"a message of more than {self._max_bytes} bytes"
            )
        if self.count > _MOST_FRAMES:
            raise FrameRefused(
                CLOSE_MESSAGE_TOO_BIG, f"a message of more than {_MOST_FRAMES} frames"
            )
        if now - self._begun_at > LONGEST_MESSAGE:
            raise FrameRefused(
                CLOSE_POLICY_VIOLATION, f"a message that took more than {LONGEST_MESSAGE:g} s"
            )
        if not self.is_text and frame.payload_size:
            self._parts.append(frame.get_payload_as_bytes())
        if not frame.fin:
            return None
        self.count = 0
        message, self._parts = b"".join(self._parts), []
        return message
