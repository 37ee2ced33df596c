"""The picture of the live view: one moment of a worker as lines that fit a terminal.

No line is wider than the terminal and no picture higher: a terminal that wraps or scrolls a picture
leaves parts of it behind when it is drawn anew.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..core.wire.remote_text import clean
from ..observability.debug_state import DebugState, InFlightRequest
from ..observability.error_figures import ErrorFigures, message_of
from ..observability.function_figures import FunctionRow
from ..observability.health import Health
from ..observability.recent_activity import Rates
from ..observability.situation import Situation
from ..state_machine import ConnectionState

_S = ConnectionState

Line = Text | tuple[Text, ...]
"""A text that may be wrapped, or parts that stay in one piece each."""

_MOST_REQUESTS: Final = 10
_MOST_ERRORS: Final = 3
_MOST_FUNCTIONS: Final = 3
_LOG_LINES: Final = 3
"""Lines of the log for which there is space, whatever else there is to show."""
_MOST_WRAPPED: Final = 3
_GAP: Final = 3
_FAILED_LATELY: Final = 300.0
_WIDE: Final = 100
"""Columns from which on requests are shown with their run and their lease."""

_STYLES: Final = {
    _S.ACTIVE: "bold green",
    _S.DRAINING_RECONNECTING: "bold yellow",
    _S.CONNECTING: "bold red",
    _S.RECONNECTING: "bold red",
    _S.CLOSING: "bold cyan",
    _S.CLOSED: "bold",
}


def header(state: DebugState, situation: Situation, health: Health) -> Iterable[Line]:
    """What is wrong, since when, why, and when the worker tries again."""
    style = _STYLES.get(situation.state, "bold")
    drains = ", its gateway drains" if situation.state is _S.DRAINING_RECONNECTING else ""
    apps = (
        f"{name}@{version}" if version else name for name, version in state.app_versions.items()
    )
    yield (
        Text(f"● {state.external_state.value}{drains}", style=style),
        Text("ready" if health.ready else "not ready", style=style),
        Text(" ".join(apps)),
        Text(state.instance_id),
    )
    if situation.cause is not None:
        yield Text(f"  {clean(situation.cause)}", style="bold")
    yield tuple(Text(f"  {part}") for part in _timing(situation))
    for warning in situation.warnings:
        yield Text(f"  {clean(warning)}", style="red")
    if state.active_connection_id is not None:
        where = f" on {state.gateway_group}" if state.gateway_group else ""
        yield Text(f"  connection {state.active_connection_id}{where}", style="dim")
    for connection_id in state.draining_connection_ids:
        yield Text(f"  draining {connection_id}", style="dim")


def _timing(situation: Situation) -> Iterable[str]:
    if situation.since is not None:
        at = time.strftime("%H:%M:%S", time.localtime(time.time() - situation.since))
        yield f"since {at}, for {span(situation.since)}"
    if situation.failures:
        yield f"{situation.failures} failed attempt(s)"
    if situation.next_attempt is not None:
        due = situation.next_attempt > 0
        yield f"next attempt in {span(situation.next_attempt)}" if due else "attempt under way"


def figures(state: DebugState, rates: Rates) -> Line:
    """The line of figures."""
    return (
        Text(f"{rates.completed:.1f}/s", style="bold"),
        Text(f"failed {rates.failed:.1f}/s", style="bold red" if rates.failed else ""),
        Text(f"p50 {span(rates.p50)}"),
        Text(f"p99 {span(rates.p99)}"),
        Text(f"running {state.running}"),
        Text(f"queued {state.queued}"),
        Text(f"replies waiting {state.unacknowledged_replies}"),
        Text(f"heartbeat {span(state.heartbeat_round_trip)}"),
    )


def errors(kinds: ErrorFigures, now: float) -> Iterable[Text]:
    """The kinds of error that matter now, the last one first."""
    resolved = kinds.resolved(now)
    present = [kind for kind in kinds.kinds() if not resolved(kind)]
    for kind in present[:_MOST_ERRORS]:
        line = Text(f"{kind.kind} x {kind.count}, {span(now - kind.last_at)} ago", style="yellow")
        yield line.append(f"   {message_of(kind.last)}", style="not bold default")


def functions(rows: Iterable[FunctionRow]) -> Iterable[Text]:
    """The functions that failed lately, the one that failed last first."""
    failed = [(row.failure_age, row) for row in rows if row.failure_age is not None]
    lately = sorted((age, row.function_slug, row) for age, row in failed if age < _FAILED_LATELY)
    for age, slug, row in lately[:_MOST_FUNCTIONS]:
        line = Text(f"{slug}: {row.failures} of {row.executions} failed", style="red")
        error = f": {clean(row.last_error)}" if row.last_error else ""
        yield line.append(f", last {span(age)} ago{error}", style="not bold default")


def requests(state: DebugState, width: int, most: int) -> tuple[RenderableType, int]:
    """The oldest requests in flight as a table of at most ``most`` lines, and its lines."""
    total = len(state.in_flight)
    if not total or most < 3:
        return Text(f"{total or 'nothing'} in flight", style="dim"), 1
    shown = min(total, _MOST_REQUESTS, most - 2)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    wide = width >= _WIDE
    table.add_column("in flight", no_wrap=True, overflow="ellipsis")
    if wide:
        table.add_column("run", no_wrap=True, overflow="ellipsis")
    table.add_column("progress", no_wrap=True)
    for name in ("age", "lease age", "next extension") if wide else ("age",):
        table.add_column(name, justify="right", no_wrap=True)
    for request in state.in_flight[:shown]:
        table.add_row(*_cells(request, wide))
    if total == shown:
        return table, shown + 1
    return Group(table, Text(f"and {total - shown} more", style="dim")), shown + 2


def _cells(request: InFlightRequest, wide: bool) -> Iterable[Text]:
    yield Text(request.function_slug)
    if wide:
        yield Text(request.run_id)
    yield Text(request.progress)
    yield Text(span(request.attempt_age))
    if wide:
        yield Text(span(request.lease_age))
        yield Text(span(request.next_extension))


def fitted(
    console: Console, lines: Iterable[Line], state: DebugState, log: Sequence[str]
) -> RenderableType:
    """``lines``, the requests and the log, within the size of the console."""
    width, height = console.size
    height -= 1  # for the cursor, when it is over
    head: list[Text] = []
    for line in lines:
        head += _flowing(line, width) if isinstance(line, tuple) else _wrapped(console, line, width)
    for part in head:
        part.no_wrap, part.overflow = True, "ellipsis"
    left = height - len(head)
    if left <= 0:
        return Group(*head[:height])
    table, used = requests(state, width, left - min(len(log), _LOG_LINES))
    kept = log[-(left - used) :] if left > used else ()
    tail = [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in kept]
    return Group(*head, table, *tail)


def _wrapped(console: Console, line: Text, width: int) -> Sequence[Text]:
    """On at most three lines, with the indent of the first; what is longer ends in dots."""
    indent = len(line.plain) - len(line.plain.lstrip())
    parts = list(line[indent:].wrap(console, max(width - indent, 1)))
    if len(parts) > _MOST_WRAPPED:
        parts = parts[:_MOST_WRAPPED]
        parts[-1].append(" ...")
    return [Text(" " * indent) + part for part in parts]


def _flowing(parts: Iterable[Text], width: int) -> Sequence[Text]:
    """As many parts on a line as have space."""
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + _GAP + part.cell_len <= width:
            lines[-1] += Text(" " * _GAP) + part[len(part.plain) - len(part.plain.lstrip()) :]
        else:
            lines.append(part)
    return lines


def span(seconds: float | None) -> str:
    """A time as people read it."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
