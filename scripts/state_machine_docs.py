"""Write docs/state-machine.md from the transition table. ``--check`` only says if it is stale."""

import sys
from pathlib import Path

from inngest_connect.state_machine import TRANSITIONS, ConnectionEvent, ConnectionState

TARGET = Path(__file__).parents[1] / "docs" / "state-machine.md"


def render() -> str:
    """The whole page."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, event), target in TRANSITIONS.items():
        if state is not target:
            arrows.setdefault((state.value, target.value), []).append(event.value)
    diagram = [
        f"    {source} --> {target}: {', '.join(events)}"
        for (source, target), events in arrows.items()
    ]
    states = [s for s in ConnectionState if s is not ConnectionState.PAUSED]
    rows = [
        f"| `{event.value}` | " + " | ".join(_cell(state, event) for state in states) + " |"
        for event in ConnectionEvent
    ]
    return "\n".join(
        [
            "# The state machine",
            "",
            "Generated from `src/inngest_connect/state_machine.py` by `make docs`; do not edit.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            "    [*] --> CONNECTING",
            *diagram,
            "    CLOSED --> [*]",
            "```",
            "",
            "`DRAINING_RECONNECTING` is reported as `ACTIVE` outside. `PAUSED` exists because the",
            "official SDKs name it; nothing enters it.",
            "",
            "A cell is the state that follows; `·` is valid and changes nothing; an empty cell is",
            "refused with `InvalidTransition`.",
            "",
            "| event | " + " | ".join(state.value for state in states) + " |",
            "| --- " * (len(states) + 1) + "|",
            *rows,
            "",
        ]
    )


def _cell(state: ConnectionState, event: ConnectionEvent) -> str:
    target = TRANSITIONS.get((state, event))
    if target is None:
        return " "
    return "·" if target is state else target.value


def main() -> int:
    page = render()
    if "--check" in sys.argv:
        return 0 if TARGET.exists() and TARGET.read_text() == page else 1
    TARGET.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
