"""The drawings of the status page in place of the mermaid diagrams of docs/state-machine.md."""

import re
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[1] / "src/inngest_connect/status/page"
DRAWINGS: Final = {
    "The worker": "state_machine.svg",
    "One connection": "phases.svg",
    "A shutdown": "stages.svg",
}
"""The titles of the diagrams, and the files that ``scripts/diagrams.py`` writes."""

ARROW: Final = re.compile(
    r'data-arrow="(\d+)" data-from="(\w+)" data-to="(\w+)" data-events="(.*?)"'
)


def drawing(title: str) -> str:
    """A figure in HTML, and a list in Markdown of what its numbered arrows mean."""
    svg = (PAGE / DRAWINGS[title]).read_text("utf-8")
    meanings = [
        f"{number}. {source} → {target}: {causes}"
        for number, source, target, causes in ARROW.findall(svg)
    ]
    return f'<figure class="states">\n{svg}</figure>\n\n' + "\n".join(meanings)
