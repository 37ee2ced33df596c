"""Go duration strings (docs/protocol.md#durations)."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_connect.core.wire.durations import parse_duration, span

pytestmark = pytest.mark.unit


@pytest.mark.scenario("J")
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("0s", 0), ("10s", 10), ("1m0s", 60), ("30s", 30), ("2m0s", 120),
        ("1h0m0s", 3600), ("1.5s", 1.5), ("500ms", 0.5), ("1m30.5s", 90.5), ("250\u00b5s", 250e-6),
        ("250\u03bcs", 250e-6), ("250us", 250e-6), ("100ns", 1e-7), ("-1.5h", -5400), ("+5s", 5),
        (".5s", 0.5), ("1.s", 1), ("1h1h", 7200), ("+0", 0), ("-0", 0), ("0" * 62 + "7s", 7),
    ],
)  # fmt: skip
def test_what_go_prints_and_accepts_is_understood(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.scenario("J")
@pytest.mark.parametrize(
    "text", ["", "10", "s", "1x", "1 s", "--1s", "1s ", ".s", "1d", "٣s", "1e3s", "0" * 63 + "7s"]
)
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@given(st.integers(0, 200), st.integers(0, 59), st.integers(0, 59))
def test_hours_minutes_and_seconds_add_up(hours: int, minutes: int, seconds: int) -> None:
    text = f"{hours}h{minutes}m{seconds}s"

    assert parse_duration(text) == hours * 3600 + minutes * 60 + seconds


@given(st.text())
def test_no_text_does_anything_else_than_parse_or_raise_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_duration(text), float)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"), (0.24, "0.2 s"), (9.94, "9.9 s"), (9.96, "10 s"), (119.4, "119 s"),
        (120.0, "2 min"), (7199.0, "120 min"), (9000.0, "2.5 h"),
    ],
)  # fmt: skip
def test_a_duration_is_rounded_for_people(seconds: float, text: str) -> None:
    assert span(seconds) == text
