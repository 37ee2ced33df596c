"""BlockedLoop: names what blocks the event loop that functions run on, while it is blocked.

The lag of a loop says that something blocks it. The stack of its thread says what: whoever looks
does so from another thread. A stack is only worth something if the loop is late because of what it
runs, and not because the whole process was stopped or native code kept the interpreter lock: then
the one who looks is late, too, and does not judge.
"""

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

from ..aio.loop_watch import LoopWatch
from ..core.events import ErrorOccurred
from ..core.wire.durations import span
from ..core.wire.remote_text import clean
from .user_exits import Origin

BLOCKED_AFTER: Final = 5.0
"""Seconds that a loop may be late before that is reported."""
LOOK_SECONDS: Final = 0.5
_LATE: Final = 1.0
"""Seconds that the one who looks may be late itself."""
_MOST_FRAMES: Final = 20

Report = Callable[[ErrorOccurred], None]


class BlockedLoop:
    """Reports once that the loop is blocked, and once that it is free. ``look`` on any one thread.

    ``thread`` is the identifier of the thread that the loop runs on. ``whose`` begins the text.
    """

    def __init__(
        self, watch: LoopWatch, thread: int, report: Report, whose: str = "the application's"
    ) -> None:
        self._watch = watch
        self._thread = thread
        self._report = report
        self._whose = whose
        self._longest = 0.0
        """How late it has been since it was reported; 0 when it was not."""
        self._blocker = ""

    def look(self) -> None:
        """Judge the loop. Called a few times a second."""
        lag = self._watch.lag()
        if self._longest:
            if lag > BLOCKED_AFTER:
                self._longest = max(self._longest, lag)
                return
            text = f"{self._whose} event loop is free again, after {span(self._longest)}"
            self._report(ErrorOccurred("loop_free", text + self._blocker))
            self._longest = 0.0
        elif lag > BLOCKED_AFTER:
            self._longest = lag
            self._report_blocked(lag)

    def _report_blocked(self, lag: float) -> None:
        frames, origin = _frames(self._thread), None
        for depth, (frame, _) in enumerate(frames):
            origin = _origin(frame)
            if origin is not None:
                frames = frames[:depth]  # what the function has called
                break
        self._blocker = f" in the function {clean(origin.function)!r}" if origin is not None else ""
        if not self._watch.loop_runs():
            frames = []
            text = (
                f"{self._whose} event loop has not run for {span(lag)}, and functions wait until "
                "it does: other code has stopped it, or runs another one meanwhile, as "
                "pytest-asyncio does when the loop_scope of a fixture is not that of the test"
            )
        elif _is_idle(frames):
            frames = []
            text = (
                f"{self._whose} event loop has called no timer for {span(lag)} and runs nothing: "
                "its clock was replaced or put back. With freezegun pass real_asyncio=True to "
                "freeze_time()"
            )
        else:
            text = (
                f"{self._whose} event loop has been blocked for {span(lag)}{self._blocker}"
                f"{_place(frames)}; other async functions wait meanwhile. Make the function a "
                "plain def, which runs in a thread, or move the blocking call with "
                "asyncio.to_thread"
            )
        self._report(
            ErrorOccurred(
                "loop_blocked",
                text,
                request_id=origin.request_id if origin is not None else None,
                run_id=origin.run_id if origin is not None else None,
                function_slug=origin.function if origin is not None else None,
                stack=_stack(frames),
            )
        )


def connection_blocked(lag: float) -> ErrorOccurred:
    """What the loop of the connection reports of itself when it runs again: nobody else could."""
    return ErrorOccurred(
        "loop_blocked",
        f"the connection's event loop was blocked for {span(lag)}: native code kept the "
        "interpreter lock, this process was stopped, or it got no processor time. Run functions "
        "that compute in child processes (docs/processes.md)",
    )


@contextlib.contextmanager
def looking_thread(loop: BlockedLoop) -> Iterator[None]:
    """Until the end of the block a thread looks, where the connection does not have one."""
    ended = threading.Event()

    def look() -> None:
        while True:
            due_at = time.monotonic() + LOOK_SECONDS
            if ended.wait(LOOK_SECONDS):
                return
            if time.monotonic() - due_at < _LATE:
                loop.look()

    # Without another thread nothing is reported; everything else works.
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=look, name="inngest-connect-lookout", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def look_on_a_tick(loop: BlockedLoop, report: Report) -> Callable[[float], None]:
    """For the watch of the connection's own loop: called with how late that is."""

    def tick(lag: float) -> None:
        if lag > BLOCKED_AFTER:
            report(connection_blocked(lag))
        elif lag < _LATE:
            loop.look()

    return tick


def _frames(thread: int) -> list[tuple[FrameType, int]]:
    """The stack of a thread, the innermost frame first; empty when there is no such thread."""
    frame = sys._current_frames().get(thread)
    return list(traceback.walk_stack(frame)) if frame is not None else []


def _is_idle(frames: list[tuple[FrameType, int]]) -> bool:
    """Whether the loop itself, and nothing that it runs, waits for its descriptors."""
    names = [frame.f_globals.get("__name__") for frame, _ in frames[:2]]
    return names == ["selectors", "asyncio.base_events"]


def _origin(frame: FrameType) -> Origin | None:
    # The coroutines around a function, and around each task that it creates, know its request.
    if not frame.f_globals.get("__name__", "").startswith(__package__):
        return None
    found = frame.f_locals.get("origin")
    return found if isinstance(found, Origin) else None


def _shown(frame: FrameType, line: int) -> str:
    code = frame.f_code
    return f'File "{clean(code.co_filename)}", line {line}, in {clean(code.co_name)}'


def _place(frames: list[tuple[FrameType, int]]) -> str:
    return f" ({_shown(*frames[0])})" if frames else ""


def _stack(frames: list[tuple[FrameType, int]]) -> str | None:
    """As a traceback, the innermost call last. Source is not read: a file system may block."""
    if not frames:
        return None
    calls = [f"  {_shown(*each)}" for each in reversed(frames[:_MOST_FRAMES])]
    return "\n".join(["Stack (most recent call last):", *calls])
