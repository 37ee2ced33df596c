"""The live view of ``inngest-connect run --live``: one worker in a terminal, redrawn in place."""

import contextlib
import logging
from collections import deque
from collections.abc import Iterator
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..connection import WebSocketWorkerConnection
from ..observability.debug_state import DebugState
from ..observability.recent_activity import RecentActivity
from ..state_machine import ConnectionState

_REDRAWS_PER_SECOND: Final = 4
_MOST_REQUESTS: Final = 10
_MOST_LINES: Final = 8

_STYLES: Final = {
    ConnectionState.ACTIVE: "bold green",
    ConnectionState.CONNECTING: "bold yellow",
    ConnectionState.RECONNECTING: "bold yellow",
    ConnectionState.CLOSING: "bold cyan",
    ConnectionState.CLOSED: "bold",
}


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

    @contextlib.contextmanager
    def showing(self, worker: WebSocketWorkerConnection) -> Iterator[None]:
        """Draw ``worker`` until the end of the block, and leave the last picture on the screen."""
        remove = worker.add_counter(self._recent.observe)
        # rich draws on its own thread: the view is redrawn while a function blocks the event loop.
        live = Live(
            console=self._console,
            get_renderable=lambda: self.render(worker.get_debug_state()),
            refresh_per_second=_REDRAWS_PER_SECOND,
        )
        try:
            with live:
                yield
        finally:
            remove()

    def render(self, state: DebugState) -> RenderableType:
        """The picture of one moment."""
        lines = [
            Text(line, style="dim", no_wrap=True, overflow="ellipsis")
            for line in tuple(self.handler.lines)
        ]
        return Group(
            _header(state), self._figures(state), *self._failure(), _requests(state), *lines
        )

    def _failure(self) -> list[RenderableType]:
        last = self._recent.last_failure()
        if last is None:
            return []
        failed = last[1]
        text = f"last failure: {failed.function_slug} {failed.error or 'raised'}"
        return [Text(text, style="red", no_wrap=True, overflow="ellipsis")]

    def _figures(self, state: DebugState) -> RenderableType:
        # Whole seconds of the last minute, or since the view is shown when that is less.
        rates = self._recent.last_seconds(min(max(int(self._recent.age()), 1), 60))
        line = Text()
        line.append(f"{rates.completed:.1f}/s", style="bold")
        line.append(f"   p50 {_milliseconds(rates.p50)}   p99 {_milliseconds(rates.p99)}")
        line.append(f"   running {state.running}   queued {state.queued}")
        line.append(f"   unacknowledged replies {state.unacknowledged_replies}")
        if state.heartbeat_round_trip is not None:
            line.append(f"   heartbeat {state.heartbeat_round_trip * 1000:.0f} ms")
        return line


def _header(state: DebugState) -> RenderableType:
    line = Text()
    line.append(f"● {state.state.value}", style=_STYLES.get(state.external_state, "bold"))
    if state.shutdown_requested and state.external_state is not ConnectionState.CLOSED:
        line.append("   shutting down")
    apps = (
        f"{name}@{version}" if version else name for name, version in state.app_versions.items()
    )
    line.append(f"   {' '.join(apps)}   {state.instance_id}")
    for label, connection_id in (
        ("connection", state.active_connection_id),
        *(("draining", each) for each in state.draining_connection_ids),
    ):
        if connection_id is not None:
            line.append(f"\n  {label} {connection_id}", style="dim")
    if state.gateway_group is not None:
        line.append(f" on {state.gateway_group}", style="dim")
    if state.consecutive_failures:
        line.append(f"\n  {state.consecutive_failures} failed attempt(s)", style="yellow")
    return line


def _requests(state: DebugState) -> RenderableType:
    if not state.in_flight:
        return Text("nothing in flight", style="dim")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("in flight", "run", "progress"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for name in ("age", "lease age", "next extension"):
        table.add_column(name, justify="right", no_wrap=True)
    for request in state.in_flight[:_MOST_REQUESTS]:  # the oldest ones
        table.add_row(
            Text(request.function_slug),
            Text(request.run_id),
            request.progress,
            _seconds(request.attempt_age),
            _seconds(request.lease_age),
            _seconds(request.next_extension),
        )
    more = len(state.in_flight) - _MOST_REQUESTS
    return Group(table, Text(f"and {more} more", style="dim")) if more > 0 else table


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms"
