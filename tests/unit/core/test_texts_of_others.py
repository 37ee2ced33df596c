"""The texts of peers and of user code are cleaned when they enter the core."""

from typing import Any

import pytest

from inngest_connect.core import inputs
from inngest_connect.core.wire.remote_text import shortened_id

pytestmark = pytest.mark.unit

DIRTY = "a\x1b[31m\r\n\u202e\x9b" + "x" * 100_000
CLEAN = "a\\x1b[31m\\r\\n\\u202e\\x9b" + "x" * 190 + "..."


@pytest.mark.scenario("security-logs")
@pytest.mark.parametrize(
    ("kind", "values", "name"),
    [
        (inputs.StartFailed, (1, 503, DIRTY), "message"),
        (inputs.FlushFailed, ("r1", 503, DIRTY), "message"),
        (inputs.RetryDelayAnswered, (1, None, DIRTY), "problem"),
        (inputs.SocketClosed, (1, 1000, DIRTY), "reason"),
        (inputs.SocketClosed, (1, 1006, "", DIRTY), "error"),
        (inputs.FunctionMisbehaved, ("r1", DIRTY), "text"),
    ],
)
def test_a_text_is_short_and_printable_once_it_is_an_input(
    kind: Any, values: tuple[object, ...], name: str
) -> None:
    assert getattr(kind(*values), name) == CLEAN


def test_what_was_not_said_stays_absent() -> None:
    assert inputs.SocketClosed(1, 1000, "").error is None
    assert inputs.RetryDelayAnswered(1, 1.0).problem is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x" * 64, "x" * 64),
        ("x" * 65, "x" * 16 + "..."),
        ("two\nlines", "two\\nlines"),
    ],
    ids=["usual", "long", "lines"],
)
def test_an_id_is_shown_whole_unless_it_is_longer_than_ids_are(text: str, shown: str) -> None:
    assert shortened_id(text) == shown
