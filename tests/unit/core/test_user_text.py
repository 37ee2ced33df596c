"""What is shown of user code's objects: short, on one line, and without running into them."""

import pytest

from inngest_connect.core.wire.user_text import (
    class_name,
    error_message,
    guarded,
    has_method,
    shown_error,
    shown_value,
)

pytestmark = pytest.mark.unit


class Loud(str):
    def isprintable(self) -> bool:
        raise SystemExit(3)


class BadText(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class LoudText(Exception):
    def __str__(self) -> str:
        return Loud("quiet")


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ValueError("wrong"), "ValueError: wrong"),
        (ValueError(), "ValueError"),
        (KeyError("x"), "KeyError: 'x'"),
        (SystemExit(0), "SystemExit: 0"),
        (ValueError("two\nlines\x1b[31m"), "ValueError: two\\nlines\\x1b[31m"),
        (ValueError("x" * 10_000), "ValueError: " + "x" * 188 + "..."),
        (LoudText(), "LoudText: quiet"),
        (BadText(), "BadText, which cannot be shown: its __str__ or __repr__ raises"),
    ],
)
def test_an_exception_is_shown_as_in_the_last_line_of_a_traceback(
    error: BaseException, shown: str
) -> None:
    assert shown_error(error) == shown


def test_the_message_of_an_exception_keeps_its_lines_and_its_length() -> None:
    assert error_message(ValueError("a\n" + "x" * 10_000)) == "a\n" + "x" * 10_000


def test_a_class_is_named_whatever_its_metaclass_does() -> None:
    def raises(_: object) -> str:
        raise SystemExit(3)

    meta = type("Meta", (type,), {"__name__": property(raises)})

    assert class_name(meta("Plain", (), {})()) == "Plain"
    assert class_name(meta("Two\nlines", (), {})()) == "Two\\nlines"


def test_what_is_not_a_text_is_replaced() -> None:
    assert guarded(lambda: 1, "otherwise") == "otherwise"  # type: ignore[arg-type,return-value]
    assert type(guarded(lambda: Loud("x"), "")) is str


class BadRepr:
    def __repr__(self) -> str:
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (-1, "-1"),
        ("two\nlines", "'two\\nlines'"),
        ("x" * 200, "'" + "x" * 99 + "..."),
        ("signkey-prod-0123abc", "'***'"),
        ("https://user:secret@host/path", "'https://***@host/path'"),
        (BadRepr(), "an object of type BadRepr"),
    ],
    ids=["number", "lines", "long", "key", "url", "raises"],
)
def test_a_wrong_value_is_shown_short_and_without_secrets(value: object, shown: str) -> None:
    assert shown_value(value) == shown


class Elusive:
    attribute = 1

    def method(self) -> None: ...

    def __getattr__(self, name: str) -> object:
        if name == "exits":
            raise SystemExit(3)
        raise AttributeError(name)


@pytest.mark.parametrize(
    ("name", "has"), [("method", True), ("attribute", False), ("missing", False), ("exits", False)]
)
def test_a_method_is_looked_for_without_running_into_the_object(name: str, has: bool) -> None:
    assert has_method(Elusive(), name) is has
