"""The live view of ``inngest-connect run --live``: one worker in a terminal, redrawn in place."""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterator
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..connection import WebSocketWorkerConnection
from ..core.events import Event, RequestCompleted
from ..observability.debug_state import DebugState, InFlightRequest
from ..state_machine import ConnectionState

_REDRAWS_PER_SECOND: Final = 4
_WINDOW: Final = 60.0
_MOST_SAMPLES: Final = 5000
_MOST_REQUESTS: Final = 10
_MOST_EVENTS: Final = 8

_STYLES: Final = {
    ConnectionState.ACTIVE: "bold green",
    ConnectionState.CONNECTING: "bold yellow",
    ConnectionState.RECONNECTING: "bold yellow",
    ConnectionState.CLOSING: "bold cyan",
    ConnectionState.CLOSED: "bold",
}


class _Recent(logging.Handler):
    """Keeps the last records as text, so that none of them tears the view."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=_MOST_EVENTS)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.lines.append(" ".join(self.format(record).split()))
        except Exception:  # noqa: BLE001 - as every handler of the standard library
            self.handleError(record)


class LiveView:
    """``handler`` belongs to the root logger while the view is shown."""

    def __init__(self, console: Console | None = None) -> None:
        self.handler: Final = _Recent()
        self._console = console or Console()
        self._finished: deque[tuple[float, float]] = deque(maxlen=_MOST_SAMPLES)
        """When a request was completed, and how long it took with its wait; monotonic seconds."""
        self._began = time.monotonic()

    @contextlib.contextmanager
    def showing(self, worker: WebSocketWorkerConnection) -> Iterator[None]:
        """Draw ``worker`` until the end of the block, and leave the last picture standing."""
        remove = worker.add_counter(self._observe)
        # The view has a thread of its own: it moves on while a function blocks the event loop.
        live = Live(
            console=self._console,
            get_renderable=lambda: self.render(worker.get_debug_state(), time.monotonic()),
            refresh_per_second=_REDRAWS_PER_SECOND,
        )
        try:
            with live:
                yield
        finally:
            remove()

    def _observe(self, observation: Event) -> None:
        if isinstance(observation, RequestCompleted):
            took = observation.queued_seconds + observation.seconds
            self._finished.append((time.monotonic(), took))

    def render(self, state: DebugState, now: float) -> RenderableType:
        """The picture of one moment."""
        return Group(
            _header(state), self._figures(state, now), _requests(state), *self._recent_events()
        )

    def _figures(self, state: DebugState, now: float) -> RenderableType:
        finished = [sample for sample in tuple(self._finished) if sample[0] > now - _WINDOW]
        took = sorted(seconds for _, seconds in finished)
        line = Text()
        line.append(f"{self._rate(finished, now):.1f}/s", style="bold")
        line.append(f"   p50 {_percentile(took, 0.5)}   p99 {_percentile(took, 0.99)}")
        line.append(f"   running {state.running}   queued {state.queued}")
        line.append(f"   unacknowledged replies {state.unacknowledged_replies}")
        if state.heartbeat_round_trip is not None:
            line.append(f"   heartbeat {state.heartbeat_round_trip * 1000:.0f} ms")
        return line

    def _rate(self, finished: list[tuple[float, float]], now: float) -> float:
        """A second, over the time that the samples cover."""
        begun = finished[0][0] if len(finished) == _MOST_SAMPLES else self._began
        return len(finished) / min(max(now - begun, 1.0), _WINDOW)

    def _recent_events(self) -> Iterator[RenderableType]:
        for line in tuple(self.handler.lines):
            text = Text(line, style="dim", no_wrap=True, overflow="ellipsis")
            yield text


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
    oldest_first = sorted(state.in_flight, key=lambda request: -request.attempt_age)
    for request in oldest_first[:_MOST_REQUESTS]:
        table.add_row(*_row(request))
    more = len(state.in_flight) - _MOST_REQUESTS
    return Group(table, Text(f"and {more} more", style="dim")) if more > 0 else table


def _row(request: InFlightRequest) -> tuple[Text | str, ...]:
    return (
        Text(request.function_slug),
        Text(request.run_id),
        request.progress,
        _seconds(request.attempt_age),
        _seconds(request.lease_age),
        _seconds(request.next_extension),
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _percentile(ordered: list[float], fraction: float) -> str:
    if not ordered:
        return "-"
    value = ordered[min(int(fraction * len(ordered)), len(ordered) - 1)]
    return f"{value * 1000:.1f} ms"
