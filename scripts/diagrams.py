"""Draw the tables of states that this package decides by; ``make docs`` writes the drawings.

``draw`` is the text of a diagram for the documentation: the reader's browser (GitHub, editors) lays
it out, so it takes any table. ``draw_svg`` is for the status page, which may load nothing from
elsewhere and lights a state by a class: there the places of the boxes are set by hand.

A drawing is an entry of ``FILES``: its path and its content. ``--check`` writes nothing and fails
when a file differs from what would be written.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Final

from inngest_connect.core.connections.phases import PHASES
from inngest_connect.core.shutdown import STAGES
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.state_machine import (
    PERMISSIONS,
    TRANSITIONS,
    ConnectionEvent,
    ConnectionState,
)

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "src/inngest_connect/status/page"

Transition = tuple[str, str, str]
"""Source, cause and target. A cause that leads back to the source is not an arrow."""

# Boxes of the status page; a place is the middle of a box, x + y * 1j.
PLACES: Final = {
    "CONNECTING": 104 + 34j,
    "RECONNECTING": 296 + 34j,
    "ACTIVE": 104 + 154j,
    "DRAINING_RECONNECTING": 296 + 154j,
    "CLOSING": 200 + 258j,
    "CLOSED": 200 + 346j,
}
BENDS: Final = {
    ("CONNECTING", "CLOSING"): [14 + 34j, 14 + 258j],
    ("RECONNECTING", "CLOSING"): [386 + 34j, 386 + 258j],
}
PHASE_PLACES: Final = {
    "STARTING": 104 + 34j,
    "DIALING": 104 + 104j,
    "AWAITING_HELLO": 104 + 174j,
    "AWAITING_READY": 104 + 244j,
    "ACTIVE": 104 + 314j,
    "DRAINING": 104 + 384j,
    "REPLACED": 104 + 454j,
    "CLOSING": 296 + 384j,
    "RETIRED": 296 + 174j,
}
STAGE_PLACES: Final = {
    "RUNNING": 104 + 34j,
    "SETTLING": 104 + 114j,
    "FINISHING": 104 + 194j,
    "FLUSHING": 104 + 274j,
    "CLOSING": 296 + 274j,
    "DONE": 296 + 194j,
}
STAGE_BENDS: Final = {("SETTLING", "FLUSHING"): [14 + 114j, 14 + 274j]}
BOX: Final = 146 + 42j
TITLES: Final = {
    "state": "The states of the worker and the arrows between them",
    "phase": "The phases of one connection and the arrows between them",
    "stage": "The stages of a shutdown and the arrows between them",
}
APART: Final = 11.0
"""How far an arrow is from the middle when there is another one in the opposite direction."""


def draw(name: str, states: Sequence[str], transitions: Iterable[Transition]) -> str:
    """A mermaid diagram for a page of the documentation, fences included.

    ``states`` begins with the initial one; those that no transition leaves are final.
    """
    arrows = _arrows(transitions)
    left = {source for source, _ in arrows}
    return "\n".join(
        [
            "```mermaid",
            "---",
            f"title: {name}",
            "---",
            "stateDiagram-v2",
            f"    [*] --> {states[0]}",
            *(f"    {a} --> {b}: {', '.join(causes)}" for (a, b), causes in arrows.items()),
            *(f"    {state} --> [*]" for state in states if state not in left),
            "```",
        ]
    )


def draw_svg(
    transitions: Sequence[Transition],
    places: Mapping[str, complex],
    bends: Mapping[tuple[str, str], Sequence[complex]],
    name: str = "state",
) -> str:
    """An SVG element that the page's script finds its way in by ``data-`` attributes.

    Arrows are numbered, because the names of their causes are too long to be written beside them.
    """
    arrows = _arrows(transitions)
    high = max(place.imag for place in places.values()) + BOX.imag / 2 + 5
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" id="{name}-diagram" class="diagram" role="img" '
        f'aria-labelledby="{name}-title" viewBox="0 0 400 {high:g}">',
        f'<title id="{name}-title">{TITLES[name]}; the list beside it describes the arrows</title>',
        f'<defs><marker class="tip" id="{name}-tip" viewBox="0 0 10 10" refX="9" refY="5" '
        'markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">'
        '<path d="M0 0 10 5 0 10z"/></marker></defs>',
    ]
    for number, ((source, target), causes) in enumerate(arrows.items(), 1):
        points = [places[source], *bends.get((source, target), ()), places[target]]
        if len(points) == 2 and (target, source) in arrows:
            # To the left of the direction of travel, so that the two are on different sides.
            way = points[1] - points[0]
            points = [point - 1j * APART * way / abs(way) for point in points]
        points[0] = _border(places[source], points[0], points[1])
        points[-1] = _border(places[target], points[-1], points[-2])
        begin, end = max(pairwise(points), key=lambda piece: abs(piece[1] - piece[0]))
        middle = (begin + end) / 2
        names = escape(", ".join(causes))
        path = " L".join(f"{point.real:.1f} {point.imag:.1f}" for point in points)
        parts.append(
            f'<g class="arrow" data-arrow="{number}" data-from="{source}" data-to="{target}" '
            f'data-events="{names}"><title>{source} to {target}: {names}</title>'
            f'<path class="way" d="M{path}" marker-end="url(#{name}-tip)"/>'
            f'<circle cx="{middle.real:.1f}" cy="{middle.imag:.1f}" r="9"/>'
            f'<text x="{middle.real:.1f}" y="{middle.imag + 4:.1f}">{number}</text></g>'
        )
    for state, place in places.items():
        stays = ", ".join(cause for a, cause, b in transitions if a == b == state)
        corner, x, y = place - BOX / 2, place.real, place.imag
        # A long name is broken after its underscore.
        lines = state.replace("_", "_ ").split()
        first = y - 8 * (len(lines) - 1) + 4
        text = "".join(
            f'<tspan x="{x:g}" y="{first + 16 * row:g}">{line}</tspan>'
            for row, line in enumerate(lines)
        )
        parts.append(
            f'<g class="state" data-state="{state}" data-stays="{escape(stays)}">'
            f"<title>{state}</title>"
            f'<rect x="{corner.real:g}" y="{corner.imag:g}" width="{BOX.real:g}" '
            f'height="{BOX.imag:g}" rx="9"/><text>{text}</text>'
            f'<path class="mark" d="M{corner.real + 6:g} {y - 6:g}l9 6-9 6z"/></g>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _arrows(transitions: Iterable[Transition]) -> dict[tuple[str, str], list[str]]:
    """The causes of each change of state."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for source, cause, target in transitions:
        if source != target:
            arrows.setdefault((source, target), []).append(cause)
    return arrows


def _border(centre: complex, inside: complex, outside: complex) -> complex:
    """Where the line from a point in the box at ``centre`` to one outside crosses its border."""
    way, offset = outside - inside, inside - centre
    shares = [
        ((half if step > 0 else -half) - start) / step
        for half, step, start in (
            (BOX.real / 2, way.real, offset.real),
            (BOX.imag / 2, way.imag, offset.imag),
        )
        if step
    ]
    return inside + min(shares) * way


WORKER_STATES: Final = [s.value for s in ConnectionState if s is not ConnectionState.PAUSED]
WORKER_TRANSITIONS: Final = [
    (state.value, event.value, target.value) for (state, event), target in TRANSITIONS.items()
]


PHASE_TRANSITIONS: Final = [
    (phase.value, cause, following.value)
    for phase, row in PHASES.items()
    for following, cause in row.follows.items()
]
STAGE_TRANSITIONS: Final = [
    (stage.value, f"has {row.awaits}", row.next.value) for stage, row in STAGES.items() if row.next
] + [(stage.value, "forced", row.forced.value) for stage, row in STAGES.items() if row.forced]


def permissions_table() -> list[str]:
    """What a worker does in each state, as rows of a table."""
    names = list(PERMISSIONS[ConnectionState.ACTIVE]._fields)
    rows = [
        f"| {state.value} | " + " | ".join("yes" if each else "" for each in may) + " |"
        for state, may in PERMISSIONS.items()
        if state is not ConnectionState.PAUSED
    ]
    heads = " | ".join(name.replace("_", " ") for name in names)
    return [f"| state | {heads} |", "| --- " * (len(names) + 1) + "|", *rows]


def phases_table() -> list[str]:
    """What holds in each phase of a connection, as rows of a table."""

    def kinds(those: frozenset[int]) -> str:
        names = sorted(
            pb.GatewayMessageType.Name(pb.GatewayMessageType.ValueType(k)) for k in those
        )
        return ", ".join(f"`{name}`" for name in names)

    rows = [
        f"| {phase.value} | {kinds(row.receives)} | {kinds(row.sends)} | "
        + (f"`{row.limit}`, then {row.expires_to.value} |" if row.limit else " |")
        for phase, row in PHASES.items()
    ]
    return ["| phase | receives | sends | time limit |", "| --- | --- | --- | --- |", *rows]


def state_machine_page() -> str:
    """The page docs/state-machine.md: the three tables."""
    targets = {(state, event): target for state, event, target in WORKER_TRANSITIONS}

    def cell(state: str, event: str) -> str:
        target = targets.get((state, event), " ")
        return "·" if target == state else target

    rows = [
        f"| `{event.value}` | "
        + " | ".join(cell(state, event.value) for state in WORKER_STATES)
        + " |"
        for event in ConnectionEvent
    ]
    return "\n".join(
        [
            "# The three tables",
            "",
            "Generated from the tables in `src/inngest_connect/` by `make docs`; do not edit.",
            "",
            "## The state of the worker",
            "",
            "`state_machine.py`. What users observe, and what the worker does in each state.",
            "",
            draw("The worker", WORKER_STATES, WORKER_TRANSITIONS),
            "",
            "`DRAINING_RECONNECTING` is reported as `ACTIVE` outside. `PAUSED` exists because the",
            "official SDKs name it; nothing enters it.",
            "",
            "A cell is the state that follows; `·` is valid and changes nothing; an empty cell is",
            "refused with `InvalidTransition`.",
            "",
            "| event | " + " | ".join(WORKER_STATES) + " |",
            "| --- " * (len(WORKER_STATES) + 1) + "|",
            *rows,
            "",
            "What a worker does in each state. In `CLOSING` it makes connections only for work",
            "that is in flight.",
            "",
            *permissions_table(),
            "",
            "## The phase of one connection",
            "",
            "`core/connections/phases.py`. During a drain there are two of them.",
            "",
            draw("One connection", [phase.value for phase in PHASES], PHASE_TRANSITIONS),
            "",
            "A message that is not received in a phase costs the gateway the connection; one that",
            "is not sent raises `InvalidTransition`. `ACTIVE` and `DRAINING` end when the gateway",
            "is silent, which `core/connections/heartbeat.py` decides.",
            "",
            *phases_table(),
            "",
            "## The stages of a shutdown",
            "",
            "`core/shutdown.py`. It is forced by `shutdown_timeout`, a second signal, or the",
            "cancellation of `start()`.",
            "",
            draw("A shutdown", [stage.value for stage in STAGES], STAGE_TRANSITIONS),
            "",
        ]
    )


FILES: Final = {
    ROOT / "docs/state-machine.md": state_machine_page(),
    PAGE / "state_machine.svg": draw_svg(WORKER_TRANSITIONS, PLACES, BENDS),
    PAGE / "phases.svg": draw_svg(PHASE_TRANSITIONS, PHASE_PLACES, {}, "phase"),
    PAGE / "stages.svg": draw_svg(STAGE_TRANSITIONS, STAGE_PLACES, STAGE_BENDS, "stage"),
}


def main() -> int:
    """Write the files, or with ``--check`` return 1 and name those that are stale."""
    stale = [p for p, text in FILES.items() if not p.exists() or p.read_text("utf-8") != text]
    if "--check" in sys.argv:
        sys.stdout.writelines(
            f"{path.relative_to(ROOT)} is stale: run `make docs`\n" for path in stale
        )
        return 1 if stale else 0
    for path in stale:
        path.write_text(FILES[path], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
