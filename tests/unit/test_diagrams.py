"""The drawing of the state machine has everything that the table has, and nothing else."""

import itertools
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import inngest_connect.status
from inngest_connect.state_machine import TRANSITIONS
from scripts.diagrams import (
    BENDS,
    PHASE_TRANSITIONS,
    PLACES,
    STAGE_TRANSITIONS,
    WORKER_TRANSITIONS,
    draw,
    draw_svg,
)

pytestmark = pytest.mark.unit

PAGE = Path(inngest_connect.status.__file__).parent / "page"
FILE = PAGE / "state_machine.svg"
TABLE = {(s.value, e.value, t.value) for (s, e), t in TRANSITIONS.items()}


@pytest.fixture
def drawing() -> ET.Element:
    return ET.fromstring(FILE.read_text("utf-8"))


def having(root: ET.Element, attribute: str) -> list[ET.Element]:
    return [element for element in root.iter() if attribute in element.attrib]


def test_every_state_of_the_table_is_a_box_with_its_name_and_none_is_lit(
    drawing: ET.Element,
) -> None:
    boxes = having(drawing, "data-state")

    assert {box.attrib["data-state"] for box in boxes} == {s for a, _, b in TABLE for s in (a, b)}
    assert len(boxes) == 6
    assert {box.attrib["class"] for box in boxes} == {"state"}
    for box in boxes:
        name = box.attrib["data-state"]
        assert "".join(box.itertext()) == name + name  # the title, and the text in the box


def test_it_has_every_entry_of_the_table_and_no_other(drawing: ET.Element) -> None:
    changes = {
        (arrow.attrib["data-from"], event, arrow.attrib["data-to"])
        for arrow in having(drawing, "data-arrow")
        for event in arrow.attrib["data-events"].split(", ")
    }
    stays = {
        (box.attrib["data-state"], event, box.attrib["data-state"])
        for box in having(drawing, "data-state")
        for event in box.attrib["data-stays"].split(", ")
        if event
    }

    assert changes | stays == TABLE


def test_arrows_are_numbered_and_the_number_is_drawn(drawing: ET.Element) -> None:
    arrows = having(drawing, "data-arrow")

    assert [int(arrow.attrib["data-arrow"]) for arrow in arrows] == list(range(1, len(arrows) + 1))
    for arrow in arrows:
        assert "".join(arrow.itertext()).endswith(arrow.attrib["data-arrow"])


@pytest.mark.parametrize(
    ("file", "boxes"), [("state_machine.svg", 6), ("phases.svg", 9), ("stages.svg", 6)]
)
def test_boxes_do_not_overlap_and_all_is_inside(file: str, boxes: int) -> None:
    drawing = ET.fromstring((PAGE / file).read_text("utf-8"))
    _, _, width, height = map(float, drawing.attrib["viewBox"].split())
    sides = [
        [float(rect.attrib[name]) for name in ("x", "y", "width", "height")]
        for rect in drawing.iter("{http://www.w3.org/2000/svg}rect")
    ]

    assert len(sides) == boxes
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in sides)
    for (x1, y1, w1, h1), (x2, y2, w2, h2) in itertools.combinations(sides, 2):
        assert x1 + w1 < x2 or x2 + w2 < x1 or y1 + h1 < y2 or y2 + h2 < y1


def test_a_state_without_a_place_is_noticed() -> None:
    with pytest.raises(KeyError):
        draw_svg([*WORKER_TRANSITIONS, ("PAUSED", "GATEWAY_READY", "ACTIVE")], PLACES, BENDS)


def test_no_drawing_has_an_inline_style_which_the_policy_forbids() -> None:
    assert not [file.name for file in PAGE.glob("*.svg") if " style=" in file.read_text("utf-8")]


@pytest.mark.parametrize(
    ("file", "transitions"), [("phases.svg", PHASE_TRANSITIONS), ("stages.svg", STAGE_TRANSITIONS)]
)
def test_the_other_tables_are_drawn_with_every_entry(
    file: str, transitions: list[tuple[str, str, str]]
) -> None:
    arrows = having(ET.fromstring((PAGE / file).read_text("utf-8")), "data-arrow")
    drawn = {
        (arrow.attrib["data-from"], arrow.attrib["data-to"]): arrow.attrib["data-events"]
        for arrow in arrows
    }

    assert set(drawn) == {(source, target) for source, _, target in transitions}
    assert all(cause in drawn[source, target] for source, cause, target in transitions)


def test_any_table_is_drawn_for_the_documentation() -> None:
    drawn = draw(
        "A door",
        ["OPEN", "SHUT", "BRICKED_UP"],
        [
            ("OPEN", "push", "SHUT"),
            ("OPEN", "wind", "SHUT"),
            ("OPEN", "look", "OPEN"),
            ("SHUT", "wall", "BRICKED_UP"),
        ],
    )

    assert drawn.splitlines() == [
        "```mermaid",
        "---",
        "title: A door",
        "---",
        "stateDiagram-v2",
        "    [*] --> OPEN",
        "    OPEN --> SHUT: push, wind",
        "    SHUT --> BRICKED_UP: wall",
        "    BRICKED_UP --> [*]",
        "```",
    ]
