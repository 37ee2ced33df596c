"""The drawing of the state machine has everything that the table has, and nothing else."""

import itertools
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from inngest_connect.state_machine import TRANSITIONS, ConnectionEvent, ConnectionState
from inngest_connect.status.diagram import arrows, describe, draw, states

pytestmark = pytest.mark.unit

CHANGES = {(s.value, t.value) for (s, _), t in TRANSITIONS.items() if s is not t}


def drawing(current: ConnectionState = ConnectionState.ACTIVE) -> ET.Element:
    return ET.fromstring(draw(current))


def having(root: ET.Element, attribute: str) -> list[ET.Element]:
    return [element for element in root.iter() if attribute in element.attrib]


def events_of(text: str) -> set[str]:
    return {event.value for event in ConnectionEvent if event.value in text}


class Items(HTMLParser):
    """The attributes and text of each list item."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "li":
            self._inside = True
            self.found.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "li"

    def handle_data(self, data: str) -> None:
        if self._inside:
            attributes, text = self.found[-1]
            self.found[-1] = (attributes, text + data)


def listed() -> list[tuple[dict[str, str | None], str]]:
    parser = Items()
    parser.feed(describe())
    return parser.found


def test_every_state_of_the_table_is_a_box_and_one_is_lit() -> None:
    boxes = having(drawing(ConnectionState.CLOSING), "data-state")

    used = {s.value for (state, _), target in TRANSITIONS.items() for s in (state, target)}
    assert {box.attrib["data-state"] for box in boxes} == used
    assert len(boxes) == 6
    assert [b.attrib["data-state"] for b in boxes if "now" in b.attrib["class"]] == ["CLOSING"]
    assert all("".join(b.itertext()).count(b.attrib["data-state"]) >= 1 for b in boxes)


def test_every_change_of_state_in_the_table_is_an_arrow_with_its_events() -> None:
    drawn = having(drawing(), "data-from")

    assert {(a.attrib["data-from"], a.attrib["data-to"]) for a in drawn} == CHANGES
    for (source, event), target in TRANSITIONS.items():
        if source is target:
            continue
        (arrow,) = (
            a
            for a in drawn
            if (a.attrib["data-from"], a.attrib["data-to"]) == (source.value, target.value)
        )
        assert event.value in events_of("".join(arrow.itertext()))


def test_the_list_beside_it_has_every_entry_of_the_table() -> None:
    found = set()
    for attributes, text in listed():
        stays = attributes.get("data-stays")
        source, target = attributes.get("data-from", stays), attributes.get("data-to", stays)
        found |= {(source, event, target) for event in events_of(text)}

    assert found == {(s.value, e.value, t.value) for (s, e), t in TRANSITIONS.items()}


def test_the_numbers_of_drawing_and_list_agree() -> None:
    def key(attributes: dict[str, str | None]) -> tuple[str | None, ...]:
        return tuple(attributes[name] for name in ("data-arrow", "data-from", "data-to"))

    drawn = {key({**a.attrib}) for a in having(drawing(), "data-arrow")}

    assert drawn == {key(attributes) for attributes, _ in listed() if "data-arrow" in attributes}
    assert [arrow.number for arrow in arrows()] == list(range(1, len(CHANGES) + 1))


def test_boxes_do_not_overlap_and_all_is_inside() -> None:
    root = drawing()
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    sides = [
        [float(rect.attrib[name]) for name in ("x", "y", "width", "height")]
        for rect in root.iter("rect")
    ]

    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in sides)
    for (x1, y1, w1, h1), (x2, y2, w2, h2) in itertools.combinations(sides, 2):
        assert x1 + w1 < x2 or x2 + w2 < x1 or y1 + h1 < y2 or y2 + h2 < y1


def test_a_state_without_a_place_is_noticed() -> None:
    table = {**TRANSITIONS, (ConnectionState.PAUSED, ConnectionEvent.GATEWAY_READY): states()[0]}

    with pytest.raises(KeyError):
        draw(ConnectionState.ACTIVE, table)


def test_it_has_no_inline_style_which_the_policy_forbids() -> None:
    assert " style=" not in draw(ConnectionState.ACTIVE) + describe()
