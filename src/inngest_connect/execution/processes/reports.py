"""Reports of a child that are not about a result: they come while its event loop is blocked.

The socket pair of the frames is written by that loop. Reports are written by a thread, so they have
a pair of their own, of datagrams: each is one message, and one that does not fit is dropped.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from typing import Any, Final

from ...aio.fork_guard import keep_from_forks
from ...core.events import ErrorOccurred
from ...core.wire.remote_text import clean

_LARGEST: Final = 16 * 1024
_LONGEST_TEXT: Final = 1000
_LONGEST_ID: Final = 200
_MOST: Final = 1000
"""Reports of one child that are passed on; one that sends more is broken, and is not heard."""
_KINDS: Final = ("loop_blocked", "loop_free")


class Reports:
    """The parent's end; ``receive`` is called on the loop. Close ``theirs`` after the spawn."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, receive: Callable[[ErrorOccurred], None]
    ) -> None:
        """Raises OSError."""
        self._loop = loop
        self._receive = receive
        self._count = 0
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ours.setblocking(False)
        keep_from_forks(self, self._ours)
        loop.add_reader(self._ours, self._read)

    def close(self) -> None:
        """Pass on what was sent, and nothing more. May be called more than once."""
        if self._ours.fileno() >= 0:
            self._read()
            self._loop.remove_reader(self._ours)
            self._ours.close()
        self.theirs.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._ours.recv(_LARGEST):
                self._count += 1
                report = report_from(data)
                if report is not None and self._count <= _MOST:
                    self._receive(report)


def send_report(connection: socket.socket, report: ErrorOccurred) -> None:
    """In the child, on any thread. Never blocks."""
    names = ("kind", "message", "request_id", "run_id", "function_slug", "stack")
    data = json.dumps({name: getattr(report, name) for name in names}).encode()
    with contextlib.suppress(OSError):  # the parent has ended, or reads nothing
        connection.send(data[:_LARGEST], socket.MSG_DONTWAIT)


def report_from(data: bytes) -> ErrorOccurred | None:
    """Decode one; None for what a child should not send."""
    try:
        fields: dict[str, Any] = json.loads(data)
        kind, stack = fields["kind"], fields["stack"]
        ids = (fields[name] for name in ("request_id", "run_id", "function_slug"))
        request_id, run_id, slug = (
            None if each is None else clean(str(each), _LONGEST_ID) for each in ids
        )
        text = clean(str(fields["message"]), _LONGEST_TEXT)
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    if kind not in _KINDS:
        return None
    shown = None if stack is None else "\n".join(map(clean, str(stack).split("\n")))
    return ErrorOccurred(kind, text, request_id, run_id=run_id, function_slug=slug, stack=shown)
