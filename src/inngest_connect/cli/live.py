"""The live view of ``inngest-connect run --live``: one worker in a terminal, redrawn in place."""

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Iterator
from typing import Final

from rich.console import Console, RenderableType
from rich.live import Live

from ..aio.clock import monotonic
from ..connection import WebSocketWorkerConnection
from ..observability.health import judge
from ..observability.recent_activity import RecentActivity
from ..observability.situation import situation
from . import picture

_REDRAWS_PER_SECOND: Final = 4
_MOST_LINES: Final = 8


class _LastLines(logging.Handler):
    """Keeps the last log records as text: a handler that prints them would break the view."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=_MOST_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.lines.append(" ".join(self.format(record).split()))
        except Exception:  # noqa: BLE001 - as every handler of the standard library
            self.handleError(record)


class LiveView:
    """Add ``handler`` to the root logger while the view is shown."""

    def __init__(self, console: Console | None = None) -> None:
        self.handler: Final = _LastLines()
        self._console = console or Console()
        self._recent = RecentActivity()
        self._size = self._console.size

    @contextlib.contextmanager
    def showing(self, worker: WebSocketWorkerConnection) -> Iterator[None]:
        """Draw ``worker`` until the end of the block, and leave the last picture on the screen."""
        slugs = [slug for slugs in worker.functions.values() for slug in slugs]
        self._recent = RecentActivity(function_slugs=slugs)
        remove = worker.add_counter(self._recent.observe)
        live = Live(
            console=self._console,
            get_renderable=lambda: self.render(worker),
            auto_refresh=False,
        )
        ended = threading.Event()
        # On a thread: the view is redrawn while a function blocks the event loop.
        drawing = threading.Thread(
            target=self._redraw, args=(live, ended), daemon=True, name="inngest-connect-live"
        )
        try:
            with live:
                drawing.start()
                try:
                    yield
                finally:
                    ended.set()
                    drawing.join()
                    self._clear_if_resized()
        finally:
            remove()

    def _redraw(self, live: Live, ended: threading.Event) -> None:
        while not ended.wait(1 / _REDRAWS_PER_SECOND):
            self._clear_if_resized()
            live.refresh()

    def _clear_if_resized(self) -> None:
        """Begin with an empty screen after a change of its size.

        The terminal has wrapped the picture anew, or cut it, so where it begins is not known.
        """
        size = self._console.size
        if size != self._size:
            self._size = size
            self._console.clear()

    def render(self, worker: WebSocketWorkerConnection) -> RenderableType:
        """The picture of one moment."""
        state, now = worker.get_debug_state(), monotonic()
        health = judge(state)
        present = situation(state, health, worker.get_state_history(), self._recent, now)
        lines = [
            *picture.header(state, present, health),
            *picture.errors(self._recent.error_kinds, now),
            picture.figures(state, self._recent.lately()[1]),
            *picture.functions(self._recent.functions.rows(now)),
        ]
        return picture.fitted(self._console, lines, state, tuple(self.handler.lines))
