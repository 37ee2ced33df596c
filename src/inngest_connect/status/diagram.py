"""The state machine as a drawing, made from its table.

Only the places of the states and the bends of two long ways are set by hand; boxes, arrows and the
list of events come from ``TRANSITIONS``. Arrows are numbered, and the list beside the drawing says
which events each number stands for, because their names are too long to stand on an arrow.
"""

from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import hypot
from typing import Final

from ..state_machine import TRANSITIONS, ConnectionEvent, ConnectionState

Point = tuple[float, float]
Table = dict[tuple[ConnectionState, ConnectionEvent], ConnectionState]
_S = ConnectionState

_WIDTH, _HEIGHT = 400, 372
_HALF: Final = (73.0, 21.0)
"""Half the width and height of a box."""

_PLACES: Final[dict[ConnectionState, Point]] = {
    _S.CONNECTING: (104, 34),
    _S.RECONNECTING: (296, 34),
    _S.ACTIVE: (104, 154),
    _S.DRAINING_RECONNECTING: (296, 154),
    _S.CLOSING: (200, 258),
    _S.CLOSED: (200, 346),
}
_BENDS: Final[dict[tuple[ConnectionState, ConnectionState], tuple[Point, ...]]] = {
    (_S.CONNECTING, _S.CLOSING): ((14, 34), (14, 258)),
    (_S.RECONNECTING, _S.CLOSING): ((386, 34), (386, 258)),
}
_APART: Final = 11.0
"""From the middle, for two arrows of opposite directions."""


@dataclass(frozen=True, slots=True)
class Arrow:
    """A change of state and the events that cause it."""

    number: int
    source: ConnectionState
    target: ConnectionState
    events: tuple[ConnectionEvent, ...]


def states(table: Table = TRANSITIONS) -> list[ConnectionState]:
    """Those that the table can be in, in their own order."""
    used = {state for (state, _), target in table.items() for state in (state, target)}
    return [state for state in ConnectionState if state in used]


def arrows(table: Table = TRANSITIONS) -> list[Arrow]:
    """The changes of state, numbered from 1."""
    events: dict[tuple[ConnectionState, ConnectionState], list[ConnectionEvent]] = {}
    for (source, event), target in table.items():
        if source is not target:
            events.setdefault((source, target), []).append(event)
    return [
        Arrow(number, source, target, tuple(found))
        for number, ((source, target), found) in enumerate(events.items(), 1)
    ]


def unchanging(state: ConnectionState, table: Table = TRANSITIONS) -> list[ConnectionEvent]:
    """The events that are valid in ``state`` and leave it as it is."""
    return [e for (source, e), target in table.items() if source is target is state]


def draw(current: ConnectionState, table: Table = TRANSITIONS) -> str:
    """An SVG element with ``current`` lit."""
    ways = arrows(table)
    both = {(a.source, a.target) for a in ways} & {(a.target, a.source) for a in ways}
    lines = [_arrow(a, (a.source, a.target) in both) for a in ways]
    boxes = [_box(state, current, table) for state in states(table)]
    return "\n".join(
        [
            f'<svg id="diagram" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
            'aria-labelledby="diagram-title">',
            '<title id="diagram-title">The states of a worker and the ways between them; '
            "the list that follows has them in words</title>",
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" '
            'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">'
            '<path d="M0 0 10 5 0 10z"/></marker></defs>',
            *lines,
            *boxes,
            "</svg>",
        ]
    )


def describe(table: Table = TRANSITIONS) -> str:
    """The list of the drawing's numbers, as HTML, and the events that change nothing."""
    items = [
        f'<li data-arrow="{a.number}" data-from="{a.source.value}" data-to="{a.target.value}">'
        f'<span class="number">{a.number}</span> {a.source.value} → {a.target.value}: '
        f"<code>{escape(', '.join(e.value for e in a.events))}</code></li>"
        for a in arrows(table)
    ]
    stay = [
        f'<li data-stays="{state.value}">{state.value} stays: '
        f"<code>{escape(', '.join(e.value for e in events))}</code></li>"
        for state in states(table)
        if (events := unchanging(state, table))
    ]
    return (
        f'<ol class="arrows">{"".join(items)}</ol>'
        "<details><summary>Events that change nothing</summary>"
        f'<ul class="stays">{"".join(stay)}</ul></details>'
    )


def _box(state: ConnectionState, current: ConnectionState, table: Table) -> str:
    x, y = _PLACES[state]
    words = state.value.split("_")
    first = y - 8 * (len(words) - 1) + 4
    text = "".join(
        f'<tspan x="{x:g}" y="{first + 16 * line:g}">{word}{"_" if line < len(words) - 1 else ""}'
        "</tspan>"
        for line, word in enumerate(words)
    )
    lit = " now" if state is current else ""
    return (
        f'<g class="state{lit}" data-state="{state.value}"><title>{state.value}</title>'
        f'<rect x="{x - _HALF[0]:g}" y="{y - _HALF[1]:g}" width="{2 * _HALF[0]:g}" '
        f'height="{2 * _HALF[1]:g}" rx="9"/><text>{text}</text>'
        f'<path class="mark" d="M{x - _HALF[0] + 6:g} {y - 6:g}l9 6-9 6z"/></g>'
    )


def _arrow(arrow: Arrow, has_opposite: bool) -> str:
    points = _way(arrow, has_opposite)
    path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    x, y = _middle(points)
    names = ", ".join(event.value for event in arrow.events)
    return (
        f'<g class="arrow" data-arrow="{arrow.number}" data-from="{arrow.source.value}" '
        f'data-to="{arrow.target.value}">'
        f"<title>{arrow.source.value} to {arrow.target.value}: {escape(names)}</title>"
        f'<path class="way" d="{path}" marker-end="url(#tip)"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9"/>'
        f'<text x="{x:.1f}" y="{y + 4:.1f}">{arrow.number}</text></g>'
    )


def _way(arrow: Arrow, has_opposite: bool) -> list[Point]:
    source, target = _PLACES[arrow.source], _PLACES[arrow.target]
    bends = _BENDS.get((arrow.source, arrow.target), ())
    if has_opposite and not bends:
        length = hypot(target[0] - source[0], target[1] - source[1])
        # To the left of the direction of travel, so that the opposite one is on the other side.
        dx = (target[1] - source[1]) / length * _APART
        dy = -(target[0] - source[0]) / length * _APART
        source, target = (source[0] + dx, source[1] + dy), (target[0] + dx, target[1] + dy)
    through = [source, *bends, target]
    return [
        _border(_PLACES[arrow.source], through[0], through[1]),
        *bends,
        _border(_PLACES[arrow.target], through[-1], through[-2]),
    ]


def _border(centre: Point, inside: Point, outside: Point) -> Point:
    """Where the line from a point inside a box leaves it."""
    share = 1.0
    for axis in (0, 1):
        step = outside[axis] - inside[axis]
        if step:
            edge = centre[axis] + (_HALF[axis] if step > 0 else -_HALF[axis])
            share = min(share, (edge - inside[axis]) / step)
    return (
        inside[0] + share * (outside[0] - inside[0]),
        inside[1] + share * (outside[1] - inside[1]),
    )


def _middle(points: list[Point]) -> Point:
    """Of the longest piece of the way."""
    (x1, y1), (x2, y2) = max(
        pairwise(points), key=lambda p: hypot(p[1][0] - p[0][0], p[1][1] - p[0][1])
    )
    return (x1 + x2) / 2, (y1 + y2) / 2
